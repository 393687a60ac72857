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
type slowCluster struct{ *fakeCluster }

func (w slowCluster) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return w
}

func (w slowCluster) Namespace(string) dynamic.ResourceInterface { return w }

func (w slowCluster) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*unstructured.Unstructured, error) {
	time.Sleep(15 * time.Millisecond)
	return &unstructured.Unstructured{Object: map[string]any{}}, nil
}

// Stores that never get ready hold up neither the news of others nor the others
// themselves.
func TestTurn_TheBrokenStoresOfOneNamespaceHoldUpNoOther(t *testing.T) {
	for _, count := range []int{1, 100, 1000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := slowCluster{&fakeCluster{t: t}}
				c := Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}
				n := New(c, w, nil)
				add := func(name StoreName) *storeState {
					p := &storeState{Store: Store{StoreName: name, Status: kube.False}}
					n.tracked[name] = p
					return p
				}
				for i := range count {
					add(StoreName{"tenant", fmt.Sprint("s", i)})
				}
				n.Publish(unseal.State{Phase: unseal.Active})
				n.syncPhase(time.Now())
				began := time.Now()
				n.reconcile(t.Context(), began)
				assert.Less(t, time.Since(began), 100*time.Millisecond, "news wait for one request")

				ofAll, ofAnother := add(StoreName{"", "home"}), add(StoreName{"zoo", "store"})
				n.reconcile(t.Context(), time.Now())
				assert.True(t, ofAll.nextResync.After(time.Now()), "the cluster's is the next")
				n.reconcile(t.Context(), time.Now())
				assert.True(t, ofAnother.nextResync.After(time.Now()), "then another namespace's")
			})
		})
	}
}

// Namespaces come and go; what is remembered of them does not grow.
func TestTurn_ForgetsNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}
		n := New(c, &fakeCluster{t: t}, nil)
		n.Publish(unseal.State{Phase: unseal.Active})
		n.syncPhase(time.Now())
		for i := range 3 * maxStores {
			name := StoreName{fmt.Sprint("n", i), "s"}
			n.tracked[name] = &storeState{Store: Store{StoreName: name, Status: kube.False}}
			n.reconcile(t.Context(), time.Now())
			delete(n.tracked, name)
		}
		assert.LessOrEqual(t, len(n.lastReconcile), maxStores+1)
	})
}

// manyStores has a thousand stores that are not Ready, in ten namespaces.
type manyStores struct {
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
		w := slowCluster{&fakeCluster{t: t}}
		n := New(c, manyStores{slowCluster: w}, nil)
		ctx, end := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		parts.Go(func() { n.Run(ctx, func(f func()) { parts.Go(f) }) })
		synctest.Wait()
		n.Publish(unseal.State{Phase: unseal.Active})
		kube.Notify(n.phaseChanged)
		time.Sleep(10 * time.Second) // of the bubble's time: some 600 stores
		synctest.Wait()
		assert.Greater(t, n.reconciles, 500)
		assert.Less(t, reports.Load(), int32(30))
		assert.GreaterOrEqual(t, reports.Load(), int32(9))
		end()
		parts.Wait()
	})
}

// A sweep remembers a bounded number of namespaces, and looks at the rest later.
func TestWakeUp_TriesABoundedNumberOfNamespaces(t *testing.T) {
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
