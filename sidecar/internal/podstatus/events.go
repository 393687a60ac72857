package podstatus

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

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

// recorder writes Events. One goroutine, run's, owns what is pending. What
// happens again while it is pending, or while the limiter holds it back, is
// one Event of a higher count.
type recorder struct {
	api     dynamic.ResourceInterface
	pod     *Pod
	queue   chan Event
	writing kube.ErrorLog
}

// pendingEvent is an event that is not written yet, or was.
type pendingEvent struct {
	Event
	count       int // how often it happened since it was written
	first, last time.Time
	due         time.Time // when the limiter lets it be written
	limiter     *rate.Limiter
}

func newRecorder(p *Pod, api dynamic.Interface) *recorder {
	return &recorder{api: api.Resource(kube.Events).Namespace(p.Namespace), pod: p, queue: make(chan Event, 16)}
}

// phaseEntered writes an Event about a phase that begins, where it matters.
func (r *recorder) phaseEntered(s unseal.State) {
	switch {
	case s.Phase.Serving() && s.Last != nil && wasUnsealed(s.Last):
		r.enqueue(Event{eventUnsealed, false, fmt.Sprintf("Vault is unsealed, after %s: %s.", kube.Short(s.Last.Took), s.Last)})
	case s.Phase == unseal.Held:
		r.enqueue(Event{eventHeld, true, Sentence(s.Message) + " " + Sentence(s.Advice)})
	case s.Phase == unseal.KeyRejected:
		r.enqueue(Event{eventRejected, true, Sentence(s.Message) + " " + Sentence(s.Reason) + " " + Sentence(s.Advice)})
	}
}

// enqueue does not block; what does not fit into the queue is dropped.
func (r *recorder) enqueue(e Event) {
	e.Message = safetext.Line(e.Message, kube.MaxOwnText)
	select {
	case r.queue <- e:
	default:
	}
}

func (r *recorder) run(ctx context.Context) {
	all := map[string]*pendingEvent{}
	failures := 0
	known := r.pod.known
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.queue:
			r.add(all, e)
			if failures > 0 || known != nil { // an Event that names no pod is shown nowhere
				continue
			}
		case <-again:
		case <-known:
			known = nil
		}
		wait, err := r.flush(ctx, all)
		if ctx.Err() != nil {
			return
		}
		r.writing.Log(r.pod.log, "writing an Event on our own pod", kube.GrantsGate, err)
		failures++
		if err == nil {
			failures = 0
		} else {
			wait = kube.RetryAfter(failures, 30*time.Second, err)
		}
		again = nil
		if wait > 0 {
			again = time.After(wait)
		}
	}
}

func (r *recorder) add(all map[string]*pendingEvent, e Event) {
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
func (r *recorder) flush(ctx context.Context, all map[string]*pendingEvent) (again time.Duration, err error) {
	for _, p := range all {
		if p.count == 0 {
			continue
		}
		if wait := time.Until(p.due); wait > 0 {
			if again == 0 || wait < again {
				again = wait
			}
			continue
		}
		if err := r.write(ctx, p); err != nil {
			return 0, err
		}
		p.count = 0
	}
	return again, nil
}

// write makes the Event, or adds to the one that is there.
func (r *recorder) write(ctx context.Context, p *pendingEvent) error {
	ctx, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	name, uid := r.pod.Name+".vault-unseal-sidecar."+strings.ToLower(p.Reason), r.pod.seen().uid
	kind := "Normal"
	if p.Warning {
		kind = "Warning"
	}
	event := map[string]any{
		"type": kind, "reason": p.Reason, "message": p.Message, "count": int64(p.count),
		"firstTimestamp": timestamp(p.first), "lastTimestamp": timestamp(p.last),
		"source": map[string]any{"component": kube.Name},
		"involvedObject": map[string]any{
			"apiVersion": "v1", "kind": "Pod", "name": r.pod.Name, "namespace": r.pod.Namespace, "uid": uid,
		},
	}
	fresh := maps.Clone(event)
	fresh["apiVersion"], fresh["kind"] = "v1", "Event"
	fresh["metadata"] = map[string]any{"name": name, "namespace": r.pod.Namespace}
	_, err := r.api.Create(ctx, &unstructured.Unstructured{Object: fresh}, metav1.CreateOptions{FieldManager: kube.Name})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// A patch that changes nothing shows what is there: the right to patch is
	// enough.
	there, err := kube.Patch(ctx, r.api, name, types.MergePatchType, map[string]any{})
	if err != nil {
		return err
	}
	// One of a pod that had our name is begun anew.
	if of, _, _ := unstructured.NestedString(there.Object, "involvedObject", "uid"); of == uid {
		count, _, _ := unstructured.NestedInt64(there.Object, "count")
		event["count"] = count + int64(p.count)
		delete(event, "firstTimestamp")
	}
	_, err = kube.Patch(ctx, r.api, name, types.MergePatchType, event)
	return err
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
