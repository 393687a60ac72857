package eso

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
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

// total is how often anything was annotated.
func (a *annotationLog) total() (sum int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, count := range a.count {
		sum += count
	}
	return sum
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

// ownedBy is an ExternalSecret that says a ClusterExternalSecret has made it.
func ownedBy(o unstructured.Unstructured, parent string) unstructured.Unstructured {
	o.SetOwnerReferences([]metav1.OwnerReference{
		{APIVersion: "external-secrets.io/v1", Kind: kindClusterSecret, Name: parent, UID: "u"},
	})
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

// A tenant's ExternalSecret names a ClusterExternalSecret of others as its owner, and
// has it annotated before the parent's own store is Ready.
func TestResync_ForgedOwnerUsesUpNoRequestOfTheParent(t *testing.T) {
	for sentence, forge := range map[string]bool{"none is forged": false, "one is forged": true} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a annotationLog
				n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
					theirs := ofStore(failedSecret("tenant", "own", ""), "tenant", "s")
					if forge {
						theirs = ownedBy(theirs, "shared")
					}
					return []unstructured.Unstructured{theirs, ownedBy(failedSecret("victim", "app", ""), "shared")}
				}), vaultStore("", "home", kube.False), vaultStore("tenant", "s", kube.True))
				during(30 * time.Second)
				const parent = "clusterexternalsecrets//shared"
				before := a.count[parent]
				n.setStatus("", "home", kube.True)
				during(time.Minute)
				assert.Greater(t, a.count[parent], before)
				during(time.Hour)
				assert.LessOrEqual(t, a.count[parent], 4, "two for each namespace")
			})
		})
	}
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
					o := failedSecret("victim", "app", "")
					unstructured.RemoveNestedField(o.Object, "spec", "secretStoreRef")
					_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{
						"sourceRef": map[string]any{"generatorRef": map[string]any{"kind": kindVaultGenerator, "name": "g"}},
					}}, "spec", "dataFrom")
					return []unstructured.Unstructured{o}
				}), row.stores...)
				during(row.until)
				assert.Equal(t, 1, a.count["externalsecrets/victim/app"])
				during(time.Hour)
				assert.Equal(t, 2, a.count["externalsecrets/victim/app"])
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
		assert.Len(t, a.lists, 1, "of what needs no store")
		assert.Zero(t, a.count["externalsecrets/victim/app"])
		n.setStatus("", "home", kube.True)
		synctest.Wait()
		assert.Equal(t, 1, a.count["externalsecrets/victim/app"])
		n.handle(func() { assert.Equal(t, "Recovering", n.condition().Reason) })
	})
}
