package eso

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// longNamespaces serves 4,000 ExternalSecrets that failed, each in a namespace of its
// own with a name as long as the filter lets through.
type longNamespaces struct {
	dynamic.NamespaceableResourceInterface
	resource schema.GroupVersionResource
}

func (f longNamespaces) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	f.resource = r
	return f
}

func (f longNamespaces) Namespace(string) dynamic.ResourceInterface { return f }

func (f longNamespaces) List(_ context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	if f.resource != ExternalSecrets {
		return list, nil
	}
	from := 0
	_, _ = fmt.Sscan(o.Continue, &from)
	for i := from; i < from+40; i++ {
		list.Items = append(list.Items, unstructured.Unstructured{Object: map[string]any{
			"kind": "ExternalSecret", "metadata": map[string]any{"name": "e", "namespace": fmt.Sprintf("n%06000d", i), "uid": fmt.Sprint(i)},
			"spec":   map[string]any{"secretStoreRef": map[string]any{"kind": "ClusterSecretStore", "name": "home"}},
			"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "False", "reason": "SecretSyncedError"}}},
		}})
	}
	if from+40 < 4000 {
		list.SetContinue(fmt.Sprint(from + 40))
	}
	return list, nil
}

func (longNamespaces) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*unstructured.Unstructured, error) {
	return &unstructured.Unstructured{Object: map[string]any{}}, nil
}

func TestResync_BoundsTheNamespacesItRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResyncer(Config{Log: hclog.NewNullLogger()}, longNamespaces{})
		w := newResync(map[StoreName]bool{{"", "home"}: true}, 1)
		f := s.scan(t.Context(), w)
		assert.NoError(t, f.err)
		var names strings.Builder
		for name := range w.namespaces {
			names.WriteString(name)
		}
		assert.Less(t, names.Len(), 4<<20, "bytes, after 100 seconds; it goes on to 20,000 objects")
	})
}
