package podstatus

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// imageOf returns what the pod runs in our container: the image's name and
// digest, or what the runtime calls it; "" when the pod does not tell.
func imageOf(o *unstructured.Unstructured) string {
	for _, field := range []string{"containerStatuses", "initContainerStatuses"} {
		for _, m := range kube.Entries(o.Object, "status", field) {
			if m["name"] == kube.Name {
				id, _ := m["imageID"].(string)
				return kube.SafeText(id)
			}
		}
	}
	return ""
}
