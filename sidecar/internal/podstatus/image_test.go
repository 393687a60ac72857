package podstatus

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

func TestImageOf_ReadsTheContainerStatus(t *testing.T) {
	const id = "ghcr.io/alybadawy/vault-unseal-sidecar@sha256:0123"
	runs := func(name, image string) []any {
		return []any{map[string]any{"name": "vault", "imageID": "vault's"}, map[string]any{"name": name, "imageID": image}}
	}
	for what, row := range map[string]struct {
		status map[string]any
		want   string
	}{
		"in a container":               {map[string]any{"containerStatuses": runs(kube.Name, id)}, id},
		"in a native sidecar":          {map[string]any{"containerStatuses": runs("other", "no"), "initContainerStatuses": runs(kube.Name, id)}, id},
		"not while it is not pulled":   {map[string]any{"containerStatuses": runs(kube.Name, "")}, ""},
		"not without such a container": {map[string]any{"containerStatuses": runs("other", "no")}, ""},
		"not without a status":         {nil, ""},
		"not from what is malformed":   {map[string]any{"containerStatuses": []any{"text", map[string]any{"name": kube.Name, "imageID": 1.0}}}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			o := &unstructured.Unstructured{Object: map[string]any{}}
			if row.status != nil {
				o.Object["status"] = row.status
			}
			assert.Equal(t, row.want, imageOf(o))
		})
	}
}
