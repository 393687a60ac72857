package podstatus

import (
	"context"
	"encoding/json"
	"fmt"
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

// pendingEvent is an event that is not written yet.
type pendingEvent struct {
	Event
	count       int
	first, last time.Time
	limiter     *rate.Limiter
	due         bool
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
	if !p.due {
		p.first, p.count = now, 0
	}
	p.Event, p.last, p.due = e, now, true
	p.count++
}

// flush writes what is due and may be written, and returns when to come again
// for the rest; 0 when there is none.
func (r *recorder) flush(ctx context.Context, all map[string]*pendingEvent) (again time.Duration, err error) {
	for _, p := range all {
		if !p.due {
			continue
		}
		now := time.Now()
		reserved := p.limiter.ReserveN(now, 1)
		if wait := reserved.DelayFrom(now); wait > 0 {
			reserved.CancelAt(now)
			if again == 0 || wait < again {
				again = wait
			}
			continue
		}
		if err := r.write(ctx, p); err != nil {
			reserved.CancelAt(now)
			return 0, err
		}
		p.due = false
	}
	return again, nil
}

func (r *recorder) name(reason string) string {
	return r.pod.Name + ".vault-unseal-sidecar." + strings.ToLower(reason)
}

// write makes the Event, or adds to the one that is there.
func (r *recorder) write(ctx context.Context, p *pendingEvent) error {
	uid := r.pod.uid()
	ctx, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	fresh := r.fields(p, uid)
	fresh["apiVersion"], fresh["kind"] = "v1", "Event"
	fresh["metadata"] = map[string]any{"name": r.name(p.Reason), "namespace": r.pod.Namespace}
	fresh["firstTimestamp"], fresh["count"] = timestamp(p.first), int64(p.count)
	_, err := r.api.Create(ctx, &unstructured.Unstructured{Object: fresh}, metav1.CreateOptions{FieldManager: kube.Name})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	// A patch that changes nothing shows what is there: the right to patch is
	// enough.
	there, err := r.patch(ctx, p.Reason, map[string]any{})
	if err != nil {
		return err
	}
	more := r.fields(p, uid)
	was, _, _ := unstructured.NestedString(there.Object, "involvedObject", "uid")
	count, _, _ := unstructured.NestedInt64(there.Object, "count")
	more["count"] = count + int64(p.count)
	if was != uid { // of a pod that had our name
		more["count"], more["firstTimestamp"] = int64(p.count), timestamp(p.first)
	}
	_, err = r.patch(ctx, p.Reason, more)
	return err
}

func (r *recorder) fields(p *pendingEvent, uid string) map[string]any {
	kind := "Normal"
	if p.Warning {
		kind = "Warning"
	}
	return map[string]any{
		"type": kind, "reason": p.Reason, "message": p.Message, "lastTimestamp": timestamp(p.last),
		"source": map[string]any{"component": kube.Name},
		"involvedObject": map[string]any{
			"apiVersion": "v1", "kind": "Pod", "name": r.pod.Name, "namespace": r.pod.Namespace, "uid": uid,
		},
	}
}

func (r *recorder) patch(ctx context.Context, reason string, fields map[string]any) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	return r.api.Patch(ctx, r.name(reason), types.MergePatchType, body, metav1.PatchOptions{FieldManager: kube.Name})
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
