package eso

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// What is remembered of a list is bounded, whatever the server has listed.
func TestEvictor_AListWithoutAnEnd(t *testing.T) {
	const pages = 30_000
	api := &kubetest.Endless{Object: kubetest.Object(t, fmt.Sprintf(`{"metadata":{"name":"%s"},"spec":{"selector":{"app":"vault"}}}`, strings.Repeat("n", 250))), Each: 1, Most: pages}
	api.Object.SetLabels(map[string]string{"app": "vault"})
	names, err := (&evictor{api: api, config: Config{Namespace: "security", Pod: "vault-0"}}).vaultHosts(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, names)
	assert.LessOrEqual(t, len(strings.Join(names, "")), maxNames)

	api = &kubetest.Endless{Object: kubetest.Object(t, `{"metadata":{"name":"eso"}}`), Each: 1, Most: pages}
	evicted, err := (&evictor{api: evicts{api}}).evict(t.Context())
	require.NoError(t, err)
	assert.Len(t, evicted, maxControllers)
}

// evicts lets each eviction through.
type evicts struct{ *kubetest.Endless }

func (e evicts) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return e
}

func (e evicts) Namespace(string) dynamic.ResourceInterface { return e }

func (evicts) Create(_ context.Context, o *unstructured.Unstructured, _ metav1.CreateOptions, _ ...string) (*unstructured.Unstructured, error) {
	return o, nil
}

// evictionMemory is a memory that does not fail.
type evictionMemory struct{ kept Eviction }

func (m *evictionMemory) Load(into any) error { *into.(*Eviction) = m.kept; return nil }
func (m *evictionMemory) Save(of any) error   { m.kept = of.(Eviction); return nil }

// A power cut ends a run without notice: what is kept must not outlive the outage.
func TestEviction_IsRememberedUntilTheOutageIsOver(t *testing.T) {
	evict := func(t *testing.T) (*Controller, *evictionMemory) {
		n, w := controllerWithStore(t, unseal.Active)
		memory := &evictionMemory{}
		n.config.Memory, n.config.Recovery, n.config.Stores = memory, RecoveryBoth, []StoreName{{"", "home"}}
		n.evictor.config = n.config
		n.handleWatchResult(kindClusterStore, nil, false)
		n.handleWatchResult(kindStore, nil, false)
		during(t, n, time.Hour)
		require.Len(t, w.evicted, 2)
		n.publish()
		require.NotZero(t, memory.kept.At, "the store is not Ready")
		return n, memory
	}
	t.Run("by Vault that is away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n, memory := evict(t)
			n.Publish(unseal.State{Phase: unseal.Unreachable})
			during(t, n, time.Second)
			assert.Zero(t, memory.kept.At)
		})
	})
	t.Run("by stores that are all Ready", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n, memory := evict(t)
			n.updateStore(Store{StoreName: StoreName{"", "home"}, uid: "u", Status: kube.True}, false)
			n.publish()
			assert.Zero(t, memory.kept.At)
		})
	})
}
