package eso

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
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
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// slowAPI takes 15 ms for each patch.
func slowAPI(patched *atomic.Int32) *kubetest.API {
	return &kubetest.API{OnPatch: func(ctx context.Context, _ kubetest.At, _ string, _ metav1.PatchOptions) error {
		kube.Sleep(ctx, 15*time.Millisecond)
		patched.Add(1)
		return nil
	}}
}

// Stores that never get ready hold up neither the news of others nor the others
// themselves.
func TestController_BrokenStoresDelayNoOtherNamespace(t *testing.T) {
	for _, count := range []int{1, 100, 1000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newController(t, Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}, slowAPI(&atomic.Int32{}), nil)
				add := func(name StoreName) {
					n.handle(func() { n.updateStore(Store{StoreName: name, Vault: true, Status: kube.False}, false) })
				}
				for i := range count {
					n.tracked[StoreName{"tenant", fmt.Sprint("s", i)}] = &storeState{Store: Store{StoreName: StoreName{"tenant", fmt.Sprint("s", i)}, Status: kube.False}}
				}
				n.Publish(unseal.Snapshot{Phase: unseal.Active})
				working(t, n)
				during(20 * time.Millisecond)
				before := time.Now()
				ofAll, ofAnother := StoreName{"", "home"}, StoreName{"zoo", "store"}
				add(ofAll)
				add(ofAnother)
				assert.Equal(t, before, time.Now(), "news wait for no request")
				during(40 * time.Millisecond)
				n.handle(func() {
					assert.True(t, n.tracked[ofAll].nextResync.After(time.Now()), "the cluster's is the next")
					assert.True(t, n.tracked[ofAnother].nextResync.After(time.Now()), "then another namespace's")
				})
			})
		})
	}
}

// A hundred stores of the cluster never get ready, and to annotate one takes a second, as with
// a webhook that is away.
func TestController_BrokenClusterStoresDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		api := a.serve(func() []unstructured.Unstructured {
			return []unstructured.Unstructured{ofStore(failedSecret("victim", "app", ""), "victim", "s")}
		})
		count := api.OnPatch
		api.OnPatch = func(ctx context.Context, at kubetest.At, name string, o metav1.PatchOptions) error {
			if at.Resource == ClusterStores {
				kube.Sleep(ctx, time.Second)
			}
			return count(ctx, at, name, o)
		}
		var broken []Store
		for i := range 100 {
			broken = append(broken, vaultStore("", fmt.Sprint("s", i), kube.False))
		}
		n := besideVault(t, Config{Recovery: RecoveryNudge}, api, append(broken, vaultStore("", "home", kube.True))...)
		during(10 * time.Second)
		n.setStatus("victim", "s", kube.False)
		down := time.Since(a.began)
		during(10 * time.Second)
		assert.LessOrEqual(t, a.firstAt("secretstores/victim/s")-down, 5*time.Second)
		assert.NotZero(t, a.times("secretstores/victim/s"))
		n.setStatus("victim", "s", kube.True)
		ready := time.Since(a.began)
		during(time.Minute)
		assert.NotZero(t, a.times("externalsecrets/victim/app"))
		assert.LessOrEqual(t, a.firstAt("externalsecrets/victim/app")-ready, 5*time.Second)
		for i := range 100 {
			assert.NotZero(t, a.times(fmt.Sprint("clustersecretstores//s", i)), "each has its turn")
		}
	})
}

// What is reported of a thousand stores takes longer than to wake one of them.
func TestController_ReportsABurstOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports atomic.Int32
		c := Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger(), Report: func(status.ExternalSecrets) { reports.Add(1) }}
		var patched atomic.Int32
		api := slowAPI(&patched)
		api.OnList = func(_ context.Context, at kubetest.At, _ metav1.ListOptions) (objects []unstructured.Unstructured, _ string, _ error) {
			for i := 0; at.Resource == NamespaceStores && i < maxStores; i++ { // none is Ready
				objects = append(objects, *kubetest.Object(t, fmt.Sprintf(`{"metadata":{"namespace":"n%d","name":"s%d"},
					"spec":{"provider":{"vault":{"server":"http://vault:8200"}}},"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, i%10, i)))
			}
			return objects, "", nil
		}
		n := newController(t, c, api, nil)
		ctx, end := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		parts.Go(func() { n.Run(ctx, func(f func()) { parts.Go(f) }) })
		synctest.Wait()
		n.Publish(unseal.Snapshot{Phase: unseal.Active})
		time.Sleep(10 * time.Second) // of the bubble's time: some 1,300 patches
		synctest.Wait()
		assert.Greater(t, patched.Load(), int32(500))
		assert.Less(t, reports.Load(), int32(30))
		assert.GreaterOrEqual(t, reports.Load(), int32(9))
		end()
		parts.Wait()
	})
}

// A sweep remembers a bounded number of namespaces, and looks at the rest later.
func TestResync_TriesABoundedNumberOfNamespaces(t *testing.T) {
	s := newResyncer(Config{Log: hclog.NewNullLogger()}, &fakeCluster{t: t})
	tried := &quota{began: time.Now(), perNamespace: 1, tried: map[string]int{}}
	for i := range maxResynced {
		tried.tried[fmt.Sprint("n", i)] = 1
	}
	w := &resync{resyncs: map[string]int{}, namespaces: map[string]int{}}
	o := kubetest.Object(t, `{"kind":"ExternalSecret","metadata":{"namespace":"one-more","name":"e","uid":"u"}}`)
	require.NoError(t, s.resyncObject(t.Context(), w, tried, syncedKinds[0], o))
	assert.True(t, tried.exceeded)
	assert.Len(t, tried.tried, maxResynced)
}
