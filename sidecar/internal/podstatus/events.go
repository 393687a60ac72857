package podstatus

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Event is one of the few that are written on the pod.
type Event struct {
	Reason  string
	Warning bool
	Message string
}

// The reasons of Events. The name of an Event is made of the pod's and of its
// reason, so that the right to change them can be limited to these names.
const (
	eventUnsealed      = "Unsealed"
	eventHeld          = "HeldByOperator"
	eventRejected      = "KeyRejected"
	EventRecovered     = "ExternalSecretsRecovered"
	EventNotRecovering = "ExternalSecretsNotRecovering"
)

// pendingEvent is an event that is not written yet, or was.
type pendingEvent struct {
	Event
	count       int // how often it happened since it was written
	first, last time.Time
	due         time.Time // when the limiter lets it be written
	limiter     *rate.Limiter
}

// recordPhase records a phase that begins, where it matters.
func (p *Pod) recordPhase(s unseal.Snapshot) {
	switch {
	case s.Phase.Serving() && s.Last != nil && wasUnsealed(s.Last):
		p.RecordEvent(Event{eventUnsealed, false, fmt.Sprintf("Vault is unsealed, after %s: %s.", kube.Short(s.Last.Took), s.Last)})
	case s.Phase == unseal.Held:
		p.RecordEvent(Event{eventHeld, true, Sentence(s.Message) + " " + Sentence(s.Advice)})
	case s.Phase == unseal.KeyRejected:
		p.RecordEvent(Event{eventRejected, true, Sentence(s.Message) + " " + Sentence(s.Reason) + " " + Sentence(s.Advice)})
	}
}

// RecordEvent has an Event written. It does not block; what does not fit into the queue
// is dropped.
func (p *Pod) RecordEvent(e Event) {
	if p == nil {
		return
	}
	e.Message = safetext.Line(e.Message, kube.MaxOwnText)
	select {
	case p.events <- e:
	default:
	}
}

// writeEvents owns what is pending. What happens again while it is pending, or while the
// limiter holds it back, is one Event of a higher count.
func (p *Pod) writeEvents(ctx context.Context) {
	all := map[string]*pendingEvent{}
	failures := 0
	known := p.known
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-p.events:
			addPending(all, e)
			if failures > 0 || known != nil { // an Event that names no pod is shown nowhere
				continue
			}
		case <-again:
		case <-known:
			known = nil
		}
		wait, err := p.flush(ctx, all)
		if ctx.Err() != nil {
			return
		}
		p.writingEvents.Log(p.log, "writing an Event on our own pod", kube.GrantsGate, err)
		if err == nil {
			failures = 0
		} else {
			failures++
			wait = kube.RetryAfter(failures, 30*time.Second, err)
		}
		again = nil
		if wait > 0 {
			again = time.After(wait)
		}
	}
}

func addPending(all map[string]*pendingEvent, e Event) {
	p := all[e.Reason]
	if p == nil {
		// What repeats is written five times at once, then every five minutes:
		// as the limits of Kubernetes' own recorder (client-go,
		// tools/record/events_cache.go), but for each reason alone.
		p = &pendingEvent{limiter: rate.NewLimiter(rate.Every(5*time.Minute), 5)}
		all[e.Reason] = p
	}
	now := time.Now()
	if p.count == 0 {
		p.first, p.due = now, now.Add(p.limiter.Reserve().Delay())
	}
	p.Event, p.last = e, now
	p.count++
}

// flush writes what is due, and returns when to come again for the rest; 0 when there
// is none.
func (p *Pod) flush(ctx context.Context, all map[string]*pendingEvent) (again time.Duration, err error) {
	for _, e := range all {
		if e.count == 0 {
			continue
		}
		if wait := time.Until(e.due); wait > 0 {
			if again == 0 || wait < again {
				again = wait
			}
			continue
		}
		if err := p.writeEvent(ctx, e); err != nil {
			return 0, err
		}
		e.count = 0
	}
	return again, nil
}

// writeEvent makes the Event, or adds to the one that is there.
func (p *Pod) writeEvent(ctx context.Context, e *pendingEvent) error {
	ctx, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	name, uid := p.Name+".vault-unseal-sidecar."+strings.ToLower(e.Reason), p.seen().uid
	kind := "Normal"
	if e.Warning {
		kind = "Warning"
	}
	event := map[string]any{
		"type": kind, "reason": e.Reason, "message": e.Message, "count": int64(e.count),
		"firstTimestamp": timestamp(e.first), "lastTimestamp": timestamp(e.last),
		"source": map[string]any{"component": kube.Name},
		"involvedObject": map[string]any{
			"apiVersion": "v1", "kind": "Pod", "name": p.Name, "namespace": p.Namespace, "uid": uid,
		},
	}
	fresh := maps.Clone(event)
	fresh["apiVersion"], fresh["kind"] = "v1", "Event"
	fresh["metadata"] = map[string]any{"name": name, "namespace": p.Namespace}
	_, err := p.eventAPI.Create(ctx, &unstructured.Unstructured{Object: fresh}, metav1.CreateOptions{FieldManager: kube.Name})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// A patch that changes nothing shows what is there: the right to patch is
	// enough.
	there, err := kube.Patch(ctx, p.eventAPI, name, types.MergePatchType, map[string]any{})
	if err != nil {
		return err
	}
	// One of a pod that had our name is begun anew.
	if of, _, _ := unstructured.NestedString(there.Object, "involvedObject", "uid"); of == uid {
		count, _, _ := unstructured.NestedInt64(there.Object, "count")
		more := int64(e.count) // a sum beyond its type is refused, and so is each one after it
		event["count"] = min(max(count, 0), math.MaxInt32-more) + more
		delete(event, "firstTimestamp")
	}
	_, err = kube.Patch(ctx, p.eventAPI, name, types.MergePatchType, event)
	return err
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
