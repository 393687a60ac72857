package kube

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// What is repeated of what others say, and what is said in a condition or an
// Event, in characters. Ours is shorter: a condition is read again, to see
// whether it says the same. The policies in manifests/gate let it through.
const (
	maxTheirs = 1000
	maxOurs   = 900
	maxReason = 60
)

// theirs is what somebody else wrote, fit to be repeated.
func theirs(text string) string { return safetext.Line(text, maxTheirs) }

// said is an error, fit to be repeated: an API server puts into it what a webhook
// or a policy says.
func said(err error) error { return safetext.Error(err, maxTheirs) }

// written is a condition as it stands in the pod.
type written struct {
	condition
	since string // lastTransitionTime
}

// conditionsOf reads an object's conditions; what is malformed reads as empty.
func conditionsOf(o *unstructured.Unstructured) []written {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	var out []written
	for _, entry := range list {
		m, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		text := func(key string) string { s, _ := m[key].(string); return theirs(s) }
		out = append(out, written{condition{text("type"), text("status"), text("reason"), text("message")}, text("lastTransitionTime")})
	}
	return out
}

// ourContainer is the name that the patches give our container.
const ourContainer = "vault-unseal-sidecar"

// imageOf returns what the pod runs in our container: the image's name and
// digest, or what the runtime calls it; "" when the pod does not tell.
func imageOf(o *unstructured.Unstructured) string {
	for _, field := range []string{"containerStatuses", "initContainerStatuses"} {
		list, _, _ := unstructured.NestedSlice(o.Object, "status", field)
		for _, entry := range list {
			if m, ok := entry.(map[string]any); ok && m["name"] == ourContainer {
				id, _ := m["imageID"].(string)
				return theirs(id)
			}
		}
	}
	return ""
}
