package kube

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// The statuses of a condition.
const (
	True    = "True"
	False   = "False"
	Unknown = "Unknown"
)

// Condition is one of an object's.
type Condition struct {
	Type    string
	Status  string
	Reason  string
	Message string
	Since   string // lastTransitionTime; empty: it is not written yet
}

// ConditionsOf reads an object's conditions; what is malformed reads as empty.
func ConditionsOf(o *unstructured.Unstructured) []Condition {
	var out []Condition
	for _, m := range Entries(o.Object, "status", "conditions") {
		text := func(key string, limit int) string { s, _ := m[key].(string); return safetext.Line(s, limit) }
		out = append(out, Condition{text("type", maxSafeText), text("status", MaxReason), text("reason", MaxReason),
			text("message", maxSafeText), text("lastTransitionTime", MaxReason)})
	}
	return out
}

// Entries returns the maps in a list; what is malformed is left out.
func Entries(object map[string]any, path ...string) (out []map[string]any) {
	list, _, _ := unstructured.NestedSlice(object, path...)
	for _, entry := range list {
		if m, ok := entry.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}
