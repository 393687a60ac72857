package podstatus

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// manyPods answers the list of our own pod, which is one, with pods without end.
type manyPods struct {
	dynamic.NamespaceableResourceInterface
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
			conditions = append(conditions, map[string]any{"type": fmt.Sprint(c), "status": kube.True, "message": strings.Repeat("m", 150)})
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "vault-0", "uid": "p"},
			"status": map[string]any{"conditions": conditions}}})
	}
	list.SetContinue("more")
	return list, nil
}

func TestPod_KeepsOneObjectOfAnEndlessList(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	m := &manyPods{end: end}
	New(Config{Name: "vault-0", Namespace: "security", Log: hclog.NewNullLogger()}, m).watch(ctx)
	assert.Less(t, m.after, uint64(20<<20), "bytes in use")
}
