package check

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
)

var rulesReviews = schema.GroupVersionResource{Group: authorization, Version: "v1", Resource: "selfsubjectrulesreviews"}

// rule is one of RBAC's.
type rule struct {
	Verbs         []string `json:"verbs"`
	APIGroups     []string `json:"apiGroups"`
	Resources     []string `json:"resources"`
	ResourceNames []string `json:"resourceNames"`
}

// allows decides as the authorizer does (pkg/apis/rbac/v1/evaluation_helpers.go).
func (r rule) allows(right Right) bool {
	what := []string{wildcard, right.Resource}
	if right.Subresource != "" {
		what = []string{wildcard, right.Resource + "/" + right.Subresource, wildcard + "/" + right.Subresource}
	}
	has := func(list []string, any ...string) bool {
		return slices.ContainsFunc(any, func(s string) bool { return slices.Contains(list, s) })
	}
	return has(r.Verbs, wildcard, right.Verb) && has(r.APIGroups, wildcard, right.Group) && has(r.Resources, what...) &&
		(len(r.ResourceNames) == 0 || right.Name != "" && slices.Contains(r.ResourceNames, right.Name))
}

// rulesIn asks for all that we may do in a namespace at once, or in all of them: what
// is granted in one that does not exist is granted by no RoleBinding. Where an authorizer
// is asked that cannot list its rules, such as a webhook, the list is not complete.
func (c *Checker) rulesIn(ctx context.Context, namespace string) (rules []rule, complete bool) {
	if namespace == "" {
		namespace = policy.UnusedName()
	}
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": authorization + "/v1", "kind": "SelfSubjectRulesReview", "spec": map[string]any{"namespace": namespace},
	}}
	answer, err := c.api.Resource(rulesReviews).Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, false
	}
	var status struct {
		Status struct {
			Incomplete    bool   `json:"incomplete"`
			ResourceRules []rule `json:"resourceRules"`
		} `json:"status"`
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &status)
	return status.Status.ResourceRules, err == nil && !status.Status.Incomplete
}

// askRules answers what the rules of the namespaces answer; the rest is left.
func (c *Checker) askRules(ctx context.Context, rights []Right, answers map[Right]Answer) (left []Right) {
	type answer struct {
		rules    []rule
		complete bool
	}
	known := map[string]answer{}
	for _, right := range rights {
		a, asked := known[right.Namespace]
		if !asked {
			a.rules, a.complete = c.rulesIn(ctx, right.Namespace)
			known[right.Namespace] = a
		}
		if !a.complete {
			left = append(left, right)
			continue
		}
		answers[right] = Answer{Allowed: slices.ContainsFunc(a.rules, func(r rule) bool { return r.allows(right) })}
	}
	return left
}
