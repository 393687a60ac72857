package kube

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

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
				k := &Kube{config: c}
				n := newController(c, w, k)
				add := func(name StoreName) *storeState {
					p := &storeState{store: store{StoreName: name, status: no}}
					n.tracked[name] = p
					return p
				}
				for i := range count {
					add(StoreName{"tenant", fmt.Sprint("s", i)})
				}
				k.Publish(unseal.State{Phase: unseal.Active})
				n.syncPhase(time.Now())
				began := time.Now()
				n.turn(t.Context(), began)
				assert.Less(t, time.Since(began), 100*time.Millisecond, "news wait for one request")

				ofAll, ofAnother := add(StoreName{"", "home"}), add(StoreName{"zoo", "store"})
				n.turn(t.Context(), time.Now())
				assert.True(t, ofAll.nextResync.After(time.Now()), "the cluster's is the next")
				n.turn(t.Context(), time.Now())
				assert.True(t, ofAnother.nextResync.After(time.Now()), "then another namespace's")
			})
		})
	}
}

// Namespaces come and go; what is remembered of them does not grow.
func TestTurn_ForgetsNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}
		k := &Kube{config: c}
		n := newController(c, &fakeCluster{t: t}, k)
		k.Publish(unseal.State{Phase: unseal.Active})
		n.syncPhase(time.Now())
		for i := range 3 * maxStores {
			name := StoreName{fmt.Sprint("n", i), "s"}
			n.tracked[name] = &storeState{store: store{StoreName: name, status: no}}
			n.turn(t.Context(), time.Now())
			delete(n.tracked, name)
		}
		assert.LessOrEqual(t, len(n.treated), maxStores+1)
	})
}
