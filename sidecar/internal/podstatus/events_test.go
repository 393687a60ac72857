package podstatus

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// eventAPI keeps one Event and counts how often it was written. A real API server
// has no virtual time.
type eventAPI struct {
	dynamic.NamespaceableResourceInterface
	event  map[string]any
	writes int
}

func (l *eventAPI) Create(_ context.Context, o *unstructured.Unstructured, _ metav1.CreateOptions, _ ...string) (*unstructured.Unstructured, error) {
	if l.event != nil {
		return nil, apierrors.NewAlreadyExists(kube.Events.GroupResource(), o.GetName())
	}
	l.event = o.Object
	l.writes++
	return o, nil
}

func (l *eventAPI) Patch(_ context.Context, _ string, _ types.PatchType, body []byte, _ metav1.PatchOptions, _ ...string) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{Object: l.event}
	fields := map[string]any{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return o, nil
	}
	l.writes++
	for key, value := range fields {
		l.event[key] = value
	}
	l.event["count"] = int64(fields["count"].(float64))
	return o, nil
}

func TestPod_LimitsRepeatedEvents(t *testing.T) {
	const loop = time.Hour
	synctest.Test(t, func(t *testing.T) {
		l := &eventAPI{}
		p := &Pod{Config: Config{Name: "vault-0"}, log: kube.NewTelemetry(hclog.NewNullLogger(), nil, kube.Rights{}), known: make(chan struct{}), gate: newKeptCondition(), secrets: newKeptCondition(),
			eventAPI: l, events: make(chan Event, 16)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.writeEvents(ctx)
		p.RecordEvent(Event{eventHeld, true, "held"})
		synctest.Wait()
		assert.Zero(t, l.writes, "an Event that names no pod is shown nowhere")
		p.observe(&unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"uid": "u"}}})
		for range loop / time.Second {
			time.Sleep(time.Second)
			p.RecordEvent(Event{eventHeld, true, "held"})
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		assert.LessOrEqual(t, l.writes, 5+int(loop/(5*time.Minute))+1)
		assert.EqualValues(t, 1+loop/time.Second, l.event["count"], "all are counted")
	})
}
