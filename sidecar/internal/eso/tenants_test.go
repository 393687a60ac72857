package eso

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// annotationLog counts what was annotated, and keeps when each was first.
type annotationLog struct {
	mu    sync.Mutex
	began time.Time
	count map[string]int
	first map[string]time.Duration
	lists []time.Duration // of ExternalSecrets
}

// serve is an API with these ExternalSecrets, which stay as they are.
func (a *annotationLog) serve(objects func() []unstructured.Unstructured) *kubetest.API {
	a.began, a.count, a.first = time.Now(), map[string]int{}, map[string]time.Duration{}
	return &kubetest.API{
		OnPatch: func(_ context.Context, at kubetest.At, name string, _ metav1.PatchOptions) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			key := at.Resource.Resource + "/" + at.Namespace + "/" + name
			if a.count[key] == 0 {
				a.first[key] = time.Since(a.began)
			}
			a.count[key]++
			return nil
		},
		OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
			if at.Resource != ExternalSecrets {
				return nil, "", nil
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.lists = append(a.lists, time.Since(a.began))
			return objects(), "", nil
		},
	}
}

// times is how often an object was annotated.
func (a *annotationLog) times(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count[key]
}

// firstAt is when an object was annotated first.
func (a *annotationLog) firstAt(key string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first[key]
}

func (a *annotationLog) listed() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.lists)
}

// ofStore has an ExternalSecret use another store.
func ofStore(o unstructured.Unstructured, namespace, name string) unstructured.Unstructured {
	kind := kindClusterStore
	if namespace != "" {
		kind = kindStore
	}
	_ = unstructured.SetNestedMap(o.Object, map[string]any{"kind": kind, "name": name}, "spec", "secretStoreRef")
	return o
}

// fromGenerator has an ExternalSecret read from a generator of Vault's, and no store.
func fromGenerator(o unstructured.Unstructured) unstructured.Unstructured {
	unstructured.RemoveNestedField(o.Object, "spec", "secretStoreRef")
	_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{
		"sourceRef": map[string]any{"generatorRef": map[string]any{"kind": kindVaultGenerator, "name": "g"}},
	}}, "spec", "dataFrom")
	return o
}

// besideVault is a controller that works beside a Vault that is active, with these stores.
func besideVault(t *testing.T, c Config, api *kubetest.API, stores ...Store) *Controller {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	n := newController(t, c, api, nil)
	working(t, n)
	n.handle(func() {
		n.handleWatchResult(kindClusterStore, nil, false)
		n.handleWatchResult(kindStore, nil, false)
		for _, s := range stores {
			n.updateStore(s, false)
		}
	})
	n.Publish(unseal.Snapshot{Phase: unseal.Active})
	synctest.Wait()
	return n
}

func vaultStore(namespace, name, status string) Store {
	return Store{StoreName: StoreName{namespace, name}, Vault: true, Status: status}
}

// setStatus has a store become Ready or not.
func (n *Controller) setStatus(namespace, name, status string) {
	n.handle(func() { n.updateStore(vaultStore(namespace, name, status), false) })
}

// A home reads from Vault by generators alone, and a tenant has a store that never gets
// Ready.
func TestResync_BrokenStoreStopsNoHomeWithoutStores(t *testing.T) {
	for sentence, row := range map[string]struct {
		stores []Store
		until  time.Duration
	}{
		"without any":            {nil, time.Second},
		"with a tenant's":        {[]Store{vaultStore("tenant", "broken", kube.False)}, evictAfter + time.Second},
		"with one that is Ready": {[]Store{vaultStore("", "home", kube.True)}, time.Second},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a annotationLog
				n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
					return []unstructured.Unstructured{fromGenerator(failedSecret("victim", "app", ""))}
				}), row.stores...)
				during(row.until)
				assert.Equal(t, 1, a.times("externalsecrets/victim/app"))
				during(time.Hour)
				assert.Equal(t, 2, a.times("externalsecrets/victim/app"))
				if len(row.stores) > 0 && !row.stores[0].Ready() {
					n.handle(func() { assert.False(t, n.resyncDone, "the outage goes on for the store") })
				}
			})
		})
	}
}

// What is begun without a Ready store takes the place of no other.
func TestResync_BeginsAtOnceWithTheFirstReadyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
			return []unstructured.Unstructured{failedSecret("victim", "app", "")}
		}), vaultStore("", "home", kube.False))
		during(time.Hour)
		assert.Len(t, a.listed(), 1, "of what needs no store")
		assert.Zero(t, a.times("externalsecrets/victim/app"))
		n.setStatus("", "home", kube.True)
		synctest.Wait()
		assert.Equal(t, 1, a.times("externalsecrets/victim/app"))
		n.handle(func() { assert.Equal(t, "Recovering", n.condition().Reason) })
	})
}

// A tenant's stores turn Ready before that of all does.
func TestResync_TenantsStoresDelayNoOtherNamespace(t *testing.T) {
	for _, tenants := range []int{0, 3, 4, 50} {
		t.Run(fmt.Sprint(tenants), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a annotationLog
				n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
					return []unstructured.Unstructured{failedSecret("victim", "app", "")}
				}), vaultStore("", "home", kube.False))
				for i := range tenants {
					n.setStatus("tenant", fmt.Sprint("s", i), kube.False)
				}
				during(100 * time.Millisecond)
				for i := range tenants {
					n.setStatus("tenant", fmt.Sprint("s", i), kube.True)
					during(50 * time.Millisecond)
				}
				n.setStatus("", "home", kube.True)
				ready := time.Since(a.began)
				during(time.Minute)
				waited := a.firstAt("externalsecrets/victim/app") - ready
				if tenants == 0 {
					assert.Zero(t, waited)
				}
				assert.LessOrEqual(t, waited, firstRecheck)
			})
		})
	}
}

// A store turns Ready each second.
func TestResync_FlappingStoreDelaysNoLateStore(t *testing.T) {
	for sentence, flapping := range map[string]StoreName{"a tenant's": {"tenant", "s"}, "another of the cluster's": {"", "other"}} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a annotationLog
				n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
					return []unstructured.Unstructured{failedSecret("victim", "app", "")}
				}), vaultStore("", "home", kube.False))
				for time.Since(a.began) < 11*time.Minute {
					n.setStatus(flapping.Namespace, flapping.Name, kube.False)
					during(500 * time.Millisecond)
					n.setStatus(flapping.Namespace, flapping.Name, kube.True)
					during(500 * time.Millisecond)
				}
				assert.Less(t, len(a.listed()), 50, "it begins few")
				n.setStatus("", "home", kube.True)
				ready := time.Since(a.began)
				during(10 * time.Minute)
				assert.LessOrEqual(t, a.firstAt("externalsecrets/victim/app")-ready, firstRecheck)
			})
		})
	}
}

// A store turns Ready in one namespace after another while what uses the first is
// annotated, which takes 25 seconds.
func TestResync_LateStoreInterruptsALongScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() (all []unstructured.Unstructured) {
			all = append(all, ofStore(failedSecret("b", "first", ""), "b", "s"))
			for i := range 1000 {
				all = append(all, failedSecret(fmt.Sprint("app-", i%20), fmt.Sprint(i), ""))
			}
			return all
		}), vaultStore("", "home", kube.True))
		during(500 * time.Millisecond)
		n.setStatus("b", "s", kube.False)
		n.setStatus("b", "s", kube.True)
		during(firstRecheck)
		lists := a.listed()
		require.Len(t, lists, 2)
		assert.Equal(t, firstRecheck, lists[1]-lists[0])
		assert.Equal(t, 1, a.times("externalsecrets/b/first"))
	})
}

// Stores in many namespaces turn Ready one after the other, and a list takes so long.
func TestResync_FlappingNamespacesStopNone(t *testing.T) {
	for listTakes, within := range map[time.Duration]time.Duration{5 * time.Second: 20 * time.Second, 3 * time.Minute: 8 * time.Minute} {
		t.Run(listTakes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a annotationLog
				api := a.serve(nil)
				api.OnList = func(ctx context.Context, at kubetest.At, o metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
					page := 0
					_, _ = fmt.Sscan(o.Continue, &page)
					if at.Resource != ExternalSecrets || !kube.Sleep(ctx, listTakes/100) {
						return nil, "", ctx.Err()
					}
					if page < 99 {
						return []unstructured.Unstructured{failedSecret("other", "app", "other")}, fmt.Sprint(page + 1), nil
					}
					return []unstructured.Unstructured{failedSecret("victim", "app", "")}, "", nil
				}
				n := besideVault(t, Config{Recovery: RecoveryNudge}, api, vaultStore("", "home", kube.True))
				for i := 0; time.Since(a.began) < 2*within; i++ {
					tenant := fmt.Sprint("tenant-", i%300)
					n.setStatus(tenant, "s", kube.False)
					n.setStatus(tenant, "s", kube.True)
					during(time.Second)
				}
				assert.NotZero(t, a.times("externalsecrets/victim/app"))
				assert.Less(t, a.firstAt("externalsecrets/victim/app"), within)
			})
		})
	}
}
