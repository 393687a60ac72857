package kube

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// failedSync tells an ExternalSecret that ESO tried and could not sync. The
// reason is SecretSyncedError, ResourceSyncedError with a generic target, and
// Errored of a PushSecret (ESO, apis/externalsecrets/v1 and v1alpha1). One
// that was not tried yet will be, without our doing.
func failedSync(o *unstructured.Unstructured) bool {
	c := readyOf(o)
	return c.Status == no && (strings.HasSuffix(c.Reason, "SyncedError") || c.Reason == "Errored")
}

// uses tells whether an ExternalSecret reads from one of the stores, or from
// a generator of Vault's: by default, for one of its data, or for all of it.
func uses(o *unstructured.Unstructured, is func(StoreName) bool) bool {
	spec, _, _ := unstructured.NestedMap(o.Object, "spec")
	refers := func(m map[string]any, path ...string) bool {
		ref, found, _ := unstructured.NestedMap(m, path...)
		return found && is(refOf(ref, o.GetNamespace()))
	}
	if refers(spec, "secretStoreRef") {
		return true
	}
	for _, list := range []string{"data", "dataFrom"} {
		entries, _, _ := unstructured.NestedSlice(spec, list)
		for _, entry := range entries {
			m, _ := entry.(map[string]any)
			if refers(m, "sourceRef", "storeRef") {
				return true
			}
			kind, _, _ := unstructured.NestedString(m, "sourceRef", "generatorRef", "kind")
			// What a ClusterGenerator generates is told by an object that we
			// have no right to; to try once more does no harm.
			if kind == "VaultDynamicSecret" || kind == "ClusterGenerator" {
				return true
			}
		}
	}
	return false
}

// pushes tells whether a PushSecret writes to one of the stores. Those that it
// selects by label are not looked up: any of ours could be meant.
func pushes(o *unstructured.Unstructured, is func(StoreName) bool) bool {
	refs, _, _ := unstructured.NestedSlice(o.Object, "spec", "secretStoreRefs")
	for _, entry := range refs {
		ref, _ := entry.(map[string]any)
		if _, selects := ref["labelSelector"]; selects || is(refOf(ref, o.GetNamespace())) {
			return true
		}
	}
	return false
}

func refOf(ref map[string]any, namespace string) StoreName {
	name, _ := ref["name"].(string)
	if kind, _ := ref["kind"].(string); kind == kindClusterStore {
		namespace = ""
	}
	return StoreName{namespace, name}
}

// parentOf returns the name of the ClusterExternalSecret that made o; "" when
// none did. It rewrites the annotations of its children, so that it has to be
// woken in their place.
func parentOf(o *unstructured.Unstructured) string {
	for _, owner := range o.GetOwnerReferences() {
		if owner.Kind == kindClusterSecret && strings.HasPrefix(owner.APIVersion, esoGroup+"/") {
			return owner.Name
		}
	}
	return ""
}
