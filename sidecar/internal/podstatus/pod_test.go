package podstatus

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// podAPI answers patches as an API server without other writers does, and
// keeps when each came: a real one has no virtual time.
type podAPI struct {
	dynamic.ResourceInterface
	conditions map[string]any
	began      time.Time
	at         []time.Duration
}

func (p *podAPI) Patch(_ context.Context, _ string, _ types.PatchType, body []byte, _ metav1.PatchOptions, _ ...string) (*unstructured.Unstructured, error) {
	var patch struct {
		Status struct{ Conditions []map[string]any }
	}
	if err := json.Unmarshal(body, &patch); err != nil {
		return nil, err
	}
	for _, c := range patch.Status.Conditions {
		p.conditions[c["type"].(string)] = c
	}
	p.at = append(p.at, time.Since(p.began))
	return p.object(), nil
}

func (p *podAPI) object() *unstructured.Unstructured {
	var list []any
	for _, c := range p.conditions {
		list = append(list, c)
	}
	return &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": list}}}
}

func writeTimes(t *testing.T, do func(p *Pod)) []time.Duration {
	var at []time.Duration
	synctest.Test(t, func(t *testing.T) {
		api := &podAPI{conditions: map[string]any{}, began: time.Now()}
		p := &Pod{Config: Config{Name: "vault-0"}, api: api, log: kube.NewTelemetry(hclog.NewNullLogger(), nil), limiter: rate.NewLimiter(rate.Inf, 1),
			wake: make(chan struct{}, 1), known: make(chan struct{}), refused: make(chan struct{}, 1)}
		p.observe(api.object())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.writeConditions(ctx)
		do(p)
		time.Sleep(time.Minute)
		synctest.Wait()
		at = api.at
	})
	return at
}

func newCondition(status, message string) kube.Condition {
	return kube.Condition{Type: "gate", Status: status, Reason: "Reason", Message: message}
}

func TestPod_DelaysAMessageChangeButNoStatusChange(t *testing.T) {
	const later = 100 * time.Millisecond
	for _, row := range []struct {
		sentence string
		then     kube.Condition
		want     []time.Duration
	}{
		{"the words alone", newCondition(kube.False, "waiting"), []time.Duration{0, debounceDelay}},
		{"words that change on", newCondition(kube.False, "waiting on"), []time.Duration{0, debounceDelay}},
		{"a status while words wait", newCondition(kube.True, "unsealed"), []time.Duration{0, later}},
		{"words that come back", newCondition(kube.False, "sealed"), []time.Duration{0}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, writeTimes(t, func(p *Pod) {
				p.SetCondition(newCondition(kube.False, "sealed"))
				synctest.Wait()
				p.SetCondition(newCondition(kube.False, "waiting"))
				time.Sleep(later)
				p.SetCondition(row.then)
			}))
		})
	}
}
