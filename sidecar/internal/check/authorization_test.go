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
		assert.Equal(t, map[Right]Answer{everywhere: {Allowed: false}}, c.askAll(t.Context(), []Right{everywhere}))
		for _, namespace := range asked {
			assert.LessOrEqual(t, len(namespace), 63)
			assert.Equal(t, strings.ToLower(namespace), namespace)
			prepared[namespace] = true
		}
	}
	assert.Len(t, asked, 2)
}

func TestRule_AllowsAsTheAuthorizerDoes(t *testing.T) {
	get := Right{Verb: "get", Resource: "pods", Namespace: "security", Name: "vault-0"}
	evict := Right{Verb: "create", Resource: "pods/eviction"}
	for sentence, row := range map[string]struct {
		rule  rule
		right Right
		want  bool
	}{
		"what it names":                   {rule{[]string{"list", "get"}, []string{""}, []string{"pods"}, nil}, get, true},
		"by wildcards":                    {rule{[]string{"*"}, []string{"*"}, []string{"*"}, nil}, get, true},
		"the object that it names":        {rule{[]string{"get"}, []string{""}, []string{"pods"}, []string{"vault-1", "vault-0"}}, get, true},
		"not another object":              {rule{[]string{"get"}, []string{""}, []string{"pods"}, []string{"vault-1"}}, get, false},
		"not all of them":                 {rule{[]string{"create"}, []string{""}, []string{"pods/eviction"}, []string{"vault-1"}}, evict, false},
		"not another verb":                {rule{[]string{"list"}, []string{""}, []string{"pods"}, nil}, get, false},
		"not another group":               {rule{[]string{"get"}, []string{"apps"}, []string{"pods"}, nil}, get, false},
		"not another resource":            {rule{[]string{"get"}, []string{""}, []string{"secrets"}, nil}, get, false},
		"a subresource":                   {rule{[]string{"create"}, []string{""}, []string{"pods/eviction"}, nil}, evict, true},
		"a subresource of all":            {rule{[]string{"create"}, []string{""}, []string{"*/eviction"}, nil}, evict, true},
		"a subresource by a wildcard":     {rule{[]string{"create"}, []string{""}, []string{"*"}, nil}, evict, true},
		"not a subresource with its kind": {rule{[]string{"create"}, []string{""}, []string{"pods"}, nil}, evict, false},
		"everything only to who has all":  {rule{[]string{"get"}, []string{"*"}, []string{"*"}, nil}, administratorRight, false},
		"everything to who has all":       {rule{[]string{"*"}, []string{"*"}, []string{"*"}, nil}, administratorRight, true},
	} {
		t.Run(sentence, func(t *testing.T) { assert.Equal(t, row.want, row.rule.allows(row.right)) })
	}
}
