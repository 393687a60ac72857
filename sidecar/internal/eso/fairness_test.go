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
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// slowCluster takes 15 ms for each patch.
type slowCluster struct {
	dynamic.NamespaceableResourceInterface
	patched *atomic.Int32
}

func (w slowCluster) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return w
}

func (w slowCluster) Namespace(string) dynamic.ResourceInterface { return w }

func (w slowCluster) Patch(ctx context.Context, _ string, _ types.PatchType, _ []byte, _ metav1.PatchOptions, _ ...string) (*unstructured.Unstructured, error) {
	kube.Sleep(ctx, 15*time.Millisecond)
	w.patched.Add(1)
	return &unstructured.Unstructured{Object: map[string]any{}}, nil
}

// Stores that never get ready hold up neither the news of others nor the others
// themselves.
func TestController_BrokenStoresDelayNoOtherNamespace(t *testing.T) {
	for _, count := range []int{1, 100, 1000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newController(t, Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}, slowCluster{patched: &atomic.Int32{}}, nil)
				add := func(name StoreName) {
					n.handle(func() { n.updateStore(Store{StoreName: name, Vault: true, Status: kube.False}, false) })
				}
				for i := range count {
					n.tracked[StoreName{"tenant", fmt.Sprint("s", i)}] = &storeState{Store: Store{StoreName: StoreName{"tenant", fmt.Sprint("s", i)}, Status: kube.False}}
				}
				n.Publish(unseal.State{Phase: unseal.Active})
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

// manyStores has a thousand stores that are not Ready, in ten namespaces.
type manyStores struct {
	t *testing.T
	slowCluster
	resource schema.GroupVersionResource
}

func (m manyStores) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	m.resource = r
	return m
}

func (m manyStores) Namespace(string) dynamic.ResourceInterface { return m }

func (m manyStores) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	if m.resource != NamespaceStores {
		return list, nil
	}
	for i := range maxStores {
		list.Items = append(list.Items, *kubetest.Object(m.t, fmt.Sprintf(`{"metadata":{"namespace":"n%d","name":"s%d"},
			"spec":{"provider":{"vault":{"server":"http://vault:8200"}}},"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, i%10, i)))
	}
	return list, nil
}

func (m manyStores) Watch(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
	w := watch.NewFake()
	context.AfterFunc(ctx, w.Stop)
	return w, nil
}

// What is reported of a thousand stores takes longer than to wake one of them.
func TestController_ReportsABurstOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports atomic.Int32
		c := Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger(), Report: func(status.ExternalSecrets) { reports.Add(1) }}
		w := slowCluster{patched: &atomic.Int32{}}
		n := newController(t, c, manyStores{t: t, slowCluster: w}, nil)
		ctx, end := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		parts.Go(func() { n.Run(ctx, func(f func()) { parts.Go(f) }) })
		synctest.Wait()
		n.Publish(unseal.State{Phase: unseal.Active})
		time.Sleep(10 * time.Second) // of the bubble's time: some 1,300 patches
		synctest.Wait()
		assert.Greater(t, w.patched.Load(), int32(500))
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
	require.NoError(t, s.resyncObject(t.Context(), w, tried, ExternalSecrets, o))
	assert.True(t, tried.exceeded)
	assert.Len(t, tried.tried, maxResynced)
}
