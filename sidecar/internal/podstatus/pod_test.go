package podstatus

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// podAPI answers patches as an API server without other writers does, and
// keeps when each came: a real one has no virtual time.
type podAPI struct {
	dynamic.ResourceInterface
	refuses    string     // a type of condition, as a policy might
	mu         sync.Mutex // guards what follows
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
	p.mu.Lock()
	for _, c := range patch.Status.Conditions {
		if c["type"] == p.refuses {
			p.mu.Unlock()
			return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "vault-0", errors.New("denied by a policy"))
		}
	}
	for _, c := range patch.Status.Conditions {
		p.conditions[c["type"].(string)] = c
	}
	p.at = append(p.at, time.Since(p.began))
	p.mu.Unlock()
	return p.object(), nil
}

func (p *podAPI) object() *unstructured.Unstructured {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []any
	for _, c := range p.conditions {
		list = append(list, c)
	}
	return &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": list}}}
}

// writingPod is a pod that was seen and whose conditions are written.
func writingPod(t *testing.T) (*Pod, *podAPI) {
	api := &podAPI{conditions: map[string]any{}, began: time.Now()}
	p := New(Config{Name: "vault-0", Namespace: "security", Log: hclog.NewNullLogger()}, &kubetest.API{})
	p.api = api
	p.observe(api.object())
	go p.writeCondition(t.Context(), &p.gate)
	go p.writeCondition(t.Context(), &p.secrets)
	return p, api
}

func writeTimes(t *testing.T, do func(p *Pod)) []time.Duration {
	var at []time.Duration
	synctest.Test(t, func(t *testing.T) {
		p, api := writingPod(t)
		do(p)
		time.Sleep(time.Minute)
		synctest.Wait()
		at = api.writes()
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

// writes is when each write came.
func (p *podAPI) writes() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.at)
}

func (p *podAPI) condition(kind string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, _ := p.conditions[kind].(map[string]any)
	return c
}

func (p *podAPI) status(conditionType string) any {
	return p.condition(conditionType)["status"]
}

// A tenant's store that turns Ready and fails again changes the other condition.
func TestPod_FlappingStoreDelaysNoReadinessGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, api := writingPod(t)
		p.SetCondition(newCondition(kube.True, "vault is active"))
		for i := range 597 { // a minute
			p.SetCondition(kube.Condition{Type: SecretsCondition, Status: []string{kube.True, kube.False}[i%2]})
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		assert.InDelta(t, 40, len(api.writes()), 2, "one in two seconds, after ten at once")
		p.SetCondition(newCondition(kube.False, "vault is away"))
		synctest.Wait()
		assert.Equal(t, kube.False, api.status("gate"))
	})
}

// A policy of the cluster's owner may refuse a condition for its words.
func TestPod_WritesEachConditionThoughTheOtherIsRefused(t *testing.T) {
	for refused, written := range map[string]string{"gate": SecretsCondition, SecretsCondition: "gate"} {
		t.Run(refused, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, api := writingPod(t)
				api.refuses = refused
				for _, status := range []string{kube.True, kube.False, kube.True} {
					for _, kind := range []string{refused, written} {
						p.SetCondition(kube.Condition{Type: kind, Status: status})
					}
					synctest.Wait()
					assert.Equal(t, status, api.status(written), "at once")
				}
			})
		})
	}
}

func TestPod_WritesTheNewestConditionAfterTheLimitersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, api := writingPod(t)
		for i := range 10 {
			p.SetCondition(newCondition([]string{kube.True, kube.False}[i%2], ""))
			synctest.Wait()
		}
		require.Len(t, api.writes(), 10)
		for _, status := range []string{kube.True, kube.False, kube.Unknown} {
			p.SetCondition(newCondition(status, ""))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		require.Len(t, api.writes(), 10)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, kube.Unknown, api.status("gate"))
		assert.Len(t, api.writes(), 11, "what it was meanwhile is not written")
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Len(t, api.writes(), 11)
	})
}

// After a reboot the sidecar starts when the storage is back: its own part is short.
func TestPod_TellsSinceWhenThePodWasNotReady(t *testing.T) {
	const recovered = "Vault is unsealed, active. Recovered in 298ms at noon: unsealing 298ms."
	const since = " The pod was not Ready since 2026-11-24T01:00:00Z."
	for sentence, row := range map[string]struct{ ready, message, want string }{
		"the pod was not Ready":           {kube.False, recovered, recovered + since},
		"it was":                          {kube.True, recovered, recovered},
		"the sidecar alone started again": {kube.False, "Vault is unsealed, active.", "Vault is unsealed, active."},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, api := writingPod(t)
				ready := func(status, since string) {
					api.mu.Lock()
					api.conditions["Ready"] = map[string]any{"type": "Ready", "status": status, "lastTransitionTime": since}
					api.mu.Unlock()
					p.observe(api.object())
				}
				ready(row.ready, "2026-11-24T01:00:00Z")
				p.SetCondition(newCondition(kube.True, row.message))
				synctest.Wait()
				ready(kube.True, "2026-11-24T01:02:00Z")
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, row.want, api.condition("gate")["message"])
				assert.Len(t, api.writes(), 1, "and it stays")
			})
		})
	}
}
