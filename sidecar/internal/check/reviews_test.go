package check

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// Who may make namespaces and RoleBindings can have rights of the sidecar listed in
// any namespace whose name is known before.
func TestRules_NobodyCanPrepareTheNamespaceForClusterWideRights(t *testing.T) {
	everywhere, prepared := Right{Verb: "get", Resource: "secrets"}, map[string]bool{}
	var asked []string
	c := &Checker{api: &kubetest.API{
		OnCreate: func(_ kubetest.At, review *unstructured.Unstructured, _ metav1.CreateOptions, _ []string) error {
			namespace, _, _ := unstructured.NestedString(review.Object, "spec", "namespace")
			asked = append(asked, namespace)
			status := map[string]any{}
			if prepared[namespace] {
				status["resourceRules"] = []any{map[string]any{"verbs": []any{"*"}, "apiGroups": []any{"*"}, "resources": []any{"*"}}}
			}
			review.Object["status"] = status
			return nil
		},
	}}
	for range 2 {
		assert.Equal(t, map[Right]Answer{everywhere: {Allowed: false}}, c.askAll(t.Context(), "", []Right{everywhere}))
		for _, namespace := range asked {
			assert.LessOrEqual(t, len(namespace), 63)
			assert.Equal(t, strings.ToLower(namespace), namespace)
			prepared[namespace] = true
		}
	}
	assert.Len(t, asked, 2)
}
