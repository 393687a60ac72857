package eso

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// What is remembered of a list is bounded, whatever the server has listed.
func TestEvictor_AListWithoutAnEnd(t *testing.T) {
	const pages = 30_000
	api := &kubetest.Endless{Object: kubetest.Object(t, fmt.Sprintf(`{"metadata":{"name":"%s"},"spec":{"selector":{"app":"vault"}}}`, strings.Repeat("n", 250))), Each: 1, Most: pages}
	api.Object.SetLabels(map[string]string{"app": "vault"})
	names, err := (&evictor{api: api, config: Config{Namespace: "security", Pod: "vault-0"}}).names(t.Context())
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
