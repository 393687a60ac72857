package eso

import (
	"context"
	"fmt"
	"strings"
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

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// What is remembered of a list is bounded, whatever the server has listed.
func TestEvictor_BoundsEndlessLists(t *testing.T) {
	object := kubetest.Object(t, fmt.Sprintf(`{"metadata":{"name":"%s","labels":{"app":"vault"}},"spec":{"selector":{"app":"vault"}}}`, strings.Repeat("n", 250)))
	api := endlessList(object)
	api.OnGet = func(kubetest.At, string) *unstructured.Unstructured { return object }
	names, err := newController(t, Config{Namespace: "security", Pod: "vault-0"}, api, nil).vaultHosts(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, names)
	assert.LessOrEqual(t, len(strings.Join(names, "")), maxNames)

	evicted, err := newController(t, Config{}, endlessList(kubetest.Object(t, `{"metadata":{"name":"eso"}}`)), nil).evict(t.Context())
	require.NoError(t, err)
	assert.Len(t, evicted, maxControllers)
}

// endlessList lists an object on each of its pages, which do not end.
func endlessList(o *unstructured.Unstructured) *kubetest.API {
	return &kubetest.API{OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
		return []unstructured.Unstructured{*o}, "more", nil
	}}
}

// evictionMemory is a memory that does not fail.
type evictionMemory struct {
	mu   sync.Mutex
	kept Eviction
}

func (m *evictionMemory) Load(into any) error {
	*into.(*Eviction) = m.at()
	return nil
}

func (m *evictionMemory) Save(of any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = of.(Eviction)
	return nil
}

func (m *evictionMemory) at() Eviction {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept
}

// A power cut ends a run without notice: that the outage goes on must not be kept any
// longer than it does.
func TestEviction_IsSavedUntilTheOutageEnds(t *testing.T) {
	evict := func(t *testing.T) (*Controller, *evictionMemory) {
		memory := &evictionMemory{}
		n, w := controllerWithStore(t, unseal.Active, func(n *Controller) {
			n.config.Memory, n.config.Recovery, n.config.Stores = memory, RecoveryBoth, []StoreName{{"", "home"}}
		})
		n.handle(func() {
			n.handleWatchResult(kindClusterStore, nil, false)
			n.handleWatchResult(kindStore, nil, false)
		})
		during(time.Hour)
		require.Len(t, w.evictions(), 2)
		require.NotZero(t, memory.at().At)
		require.False(t, memory.at().OutageOver, "the store is not Ready")
		return n, memory
	}
	t.Run("by Vault that is away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n, memory := evict(t)
			n.Publish(unseal.Snapshot{Phase: unseal.Unreachable})
			during(time.Second)
			assert.True(t, memory.at().OutageOver)
		})
	})
	t.Run("by stores that are all Ready", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n, memory := evict(t)
			n.handle(func() { n.updateStore(Store{StoreName: StoreName{"", "home"}, uid: "u", Status: kube.True}, false) })
			during(2 * time.Second)
			assert.True(t, memory.at().OutageOver)
		})
	})
}

// controllerOfVault is a controller of which each store named is down and of the Vault beside it.
func controllerOfVault(t *testing.T, w *fakeCluster, names ...string) *Controller {
	n := newController(t, Config{Recovery: RecoveryBoth, Pod: "vault-0", Namespace: "security", ControllerNamespace: "eso", Log: hclog.NewNullLogger()}, w, nil)
	for _, name := range names {
		n.tracked[StoreName{"", name}] = &storeState{Store: Store{StoreName: StoreName{"", name}, Server: "http://vault.security.svc:8200", Vault: true, Status: kube.False}}
	}
	return n
}

func TestEviction_IsSkippedForAStoreThatBecameReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeCluster{t: t}
		n := controllerOfVault(t, w, "home")
		w.asked = func() {
			n.handle(func() {
				n.updateStore(Store{StoreName: StoreName{"", "home"}, Server: "http://vault.security.svc:8200", Vault: true, Status: kube.True}, false)
			})
		}
		working(t, n)
		n.Publish(unseal.Snapshot{Phase: unseal.Active})
		during(time.Hour)
		assert.Empty(t, w.evictions())
	})
}

func TestEviction_HappensOnceForTwoStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeCluster{t: t, asked: func() { time.Sleep(time.Minute) }}
		working(t, func() *Controller {
			n := controllerOfVault(t, w, "home", "other")
			n.Publish(unseal.Snapshot{Phase: unseal.Active})
			return n
		}())
		during(time.Hour)
		assert.Equal(t, []string{"eso-a", "eso-b"}, w.evictions())
	})
}

// It turns Ready and not Ready while it is annotated.
func TestEviction_IsNotForAStoreThatGotReadyDuringARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeCluster{t: t}
		n := controllerOfVault(t, w, "home")
		var once sync.Once
		w.patched = func() {
			once.Do(func() {
				for _, status := range []string{kube.True, kube.False} {
					time.Sleep(100 * time.Millisecond)
					n.handle(func() {
						n.updateStore(Store{StoreName: StoreName{"", "home"}, Server: "http://vault.security.svc:8200", Vault: true, Status: status}, false)
					})
				}
			})
		}
		working(t, n)
		n.Publish(unseal.Snapshot{Phase: unseal.Active})
		during(evictAfter - time.Second)
		assert.Empty(t, w.evictions())
		n.handle(func() { assert.Empty(t, n.tracked[StoreName{"", "home"}].failureReported) })
	})
}

func TestControllerPods_AreThoseOfTheDeployment(t *testing.T) {
	for _, row := range []struct {
		deployment, pod string
		want            bool
	}{
		{"external-secrets", "external-secrets-7d9f8c6b5-x2k9q", true},
		{"external-secrets", "external-secrets-webhook-7d9f8c6b5-x2k9q", false},
		{"external-secrets", "external-secrets-cert-controller-7d9f8c6b5-x2k9q", false},
		{"external-secrets", "home-external-secrets-7d9f8c6b5-x2k9q", false},
		{"home-external-secrets", "home-external-secrets-7d9f8c6b5-x2k9q", true},
		{"external.secrets", "external-secrets-7d9f8c6b5-x2k9q", false},
	} {
		t.Run(row.deployment+" "+row.pod, func(t *testing.T) {
			list, is, by := Config{Deployment: row.deployment}.ControllerPods()
			assert.Empty(t, list.LabelSelector)
			assert.Equal(t, row.want, is(row.pod))
			assert.Equal(t, "is of the Deployment "+row.deployment, by)
		})
	}
	t.Run("by the chart's label", func(t *testing.T) {
		list, is, _ := Config{}.ControllerPods()
		assert.Equal(t, ControllerLabel, list.LabelSelector)
		assert.True(t, is("whatever"))
	})
}

func TestEviction_SaysWhatToDoAboutABudget(t *testing.T) {
	budget := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	const want = "Give the controller a second replica, or take away its PodDisruptionBudget"
	assert.ErrorContains(t, refusal("x", budget), want)
	assert.True(t, apierrors.IsTooManyRequests(refusal("x", budget)))
	assert.NotContains(t, refusal("x", apierrors.NewTooManyRequests("too many requests", 1)).Error(), want)
}
