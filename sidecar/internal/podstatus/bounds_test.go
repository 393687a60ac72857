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

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// Our own pod is one, and the server lists pods without end.
func TestPod_KeepsOneObjectOfAnEndlessList(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	pages, after := 0, uint64(0) // bytes in use when the last page is asked for
	api := &kubetest.API{OnList: func(context.Context, kubetest.At, metav1.ListOptions) (objects []unstructured.Unstructured, _ string, _ error) {
		if pages++; pages == 300 {
			var s runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&s)
			after = s.HeapAlloc
			end()
			return nil, "", context.Canceled
		}
		for range 10 {
			var conditions []any
			for c := range 60 {
				conditions = append(conditions, map[string]any{"type": fmt.Sprint(c), "status": kube.True, "message": strings.Repeat("m", 150)})
			}
			objects = append(objects, unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "vault-0", "uid": "p"},
				"status": map[string]any{"conditions": conditions}}})
		}
		return objects, "more", nil
	}}
	New(Config{Name: "vault-0", Namespace: "security", Log: hclog.NewNullLogger()}, api).watch(ctx)
	assert.Less(t, after, uint64(20<<20), "bytes in use")
}
