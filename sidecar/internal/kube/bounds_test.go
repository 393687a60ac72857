package kube

import (
	"context"
	"fmt"
	"runtime"
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

// manyPods answers the list of our own pod, which is one, with pods without end.
type manyPods struct {
	fakeCluster
	pages int
	after uint64 // bytes in use when the last page is asked for
	end   context.CancelFunc
}

func (m *manyPods) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return m
}

func (m *manyPods) Namespace(string) dynamic.ResourceInterface { return m }

func (m *manyPods) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	if m.pages++; m.pages == 300 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		m.after = s.HeapAlloc
		m.end()
		return nil, context.Canceled
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	for range 10 {
		var conditions []any
		for c := range 60 {
			conditions = append(conditions, map[string]any{"type": fmt.Sprint(c), "status": yes, "message": strings.Repeat("m", 150)})
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "vault-0", "uid": "p"},
			"status": map[string]any{"conditions": conditions}}})
	}
	list.SetContinue("more")
	return list, nil
}

func TestOfOurOwnPodOneIsKept(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	m := &manyPods{fakeCluster: fakeCluster{t: t}, end: end}
	newPod(Config{Pod: "vault-0", Namespace: "security", Log: hclog.NewNullLogger()}, m).watch(ctx)
	assert.Less(t, m.after, uint64(20<<20), "bytes in use")
}

// farAndWide serves 4,000 ExternalSecrets that failed, each in a namespace of its
// own with a name as long as the filter lets through.
type farAndWide struct {
	dynamic.NamespaceableResourceInterface
	resource schema.GroupVersionResource
}

func (f farAndWide) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	f.resource = r
	return f
}

func (f farAndWide) Namespace(string) dynamic.ResourceInterface { return f }

func (f farAndWide) List(_ context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	if f.resource != secrets {
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

func (farAndWide) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*unstructured.Unstructured, error) {
	return &unstructured.Unstructured{Object: map[string]any{}}, nil
}

func TestWhatIsRememberedOfNamespacesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResyncer(Config{Log: hclog.NewNullLogger()}, farAndWide{})
		w := &sweep{stores: map[StoreName]bool{{"", "home"}: true}, touches: map[string]int{}, spaces: map[string]int{}}
		f := s.look(t.Context(), w, true)
		assert.NoError(t, f.err)
		var names strings.Builder
		for name := range w.spaces {
			names.WriteString(name)
		}
		assert.Less(t, names.Len(), 4<<20, "bytes, after 100 seconds; it goes on to 20,000 objects")
	})
}

// A server that is not Kubernetes could name objects by texts that no name is.
func TestObjectsThatHaveNoNameOfKubernetesAreLeftOut(t *testing.T) {
	long := strings.Repeat("n", 254)
	for _, field := range []string{"name", "uid", "namespace"} {
		api := &endless{fakeCluster: fakeCluster{t: t}, object: fmt.Sprintf(`{"metadata":{%q:%q}}`, field, long), each: 1, pages: 2*maxPages - 1}
		_, err := eachPage(t.Context(), api, metav1.ListOptions{}, func(page []unstructured.Unstructured) error {
			assert.Empty(t, page, field)
			return nil
		})
		assert.NoError(t, err)
	}
}
