package check

import (
	"context"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
)

// reviewStatus is what Kubernetes answers to a review.
type reviewStatus struct {
	Allowed       bool   `json:"allowed"`
	Incomplete    bool   `json:"incomplete"`
	ResourceRules []rule `json:"resourceRules"`
}

// review has Kubernetes answer a review of a kind.
func (c *Checker) review(ctx context.Context, kind string, spec map[string]any) (reviewStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	reviews := schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: strings.ToLower(kind) + "s"}
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": reviews.GroupVersion().String(), "kind": kind, "spec": spec,
	}}
	var answer struct {
		Status reviewStatus `json:"status"`
	}
	given, err := c.api.Resource(reviews).Create(ctx, review, metav1.CreateOptions{})
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(given.Object, &answer)
	}
	return answer.Status, err
}

// maxConcurrentReviews bounds how many rights are asked for at once.
const maxConcurrentReviews = 8

// askAll asks for all the rights: for our own by their lists, and for what these do
// not answer one by one, several at a time.
func (c *Checker) askAll(ctx context.Context, rights []Right) map[Right]Answer {
	answers := map[Right]Answer{}
	if !c.outside {
		rights = c.askRules(ctx, rights, answers)
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, maxConcurrentReviews)
	for _, r := range rights {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			a := c.ask(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			answers[r] = a
		})
	}
	group.Wait()
	return answers
}

func (c *Checker) ask(ctx context.Context, r Right) Answer {
	resource, subresource, _ := strings.Cut(r.Resource, "/")
	spec := map[string]any{"resourceAttributes": map[string]any{
		"verb": r.Verb, "group": r.Group, "resource": resource, "subresource": subresource, "namespace": r.Namespace, "name": r.Name,
	}}
	kind := "SelfSubjectAccessReview"
	if c.outside {
		kind = "SubjectAccessReview"
		const accounts = "system:serviceaccounts"
		spec["user"] = "system:serviceaccount:" + c.Namespace + ":" + c.account
		spec["groups"] = []any{accounts, accounts + ":" + c.Namespace, "system:authenticated"}
	}
	status, err := c.review(ctx, kind, spec)
	return Answer{status.Allowed, kube.DescribeError(err)}
}

// askRules answers what the rules of the namespaces answer; the rest is left.
func (c *Checker) askRules(ctx context.Context, rights []Right, answers map[Right]Answer) (left []Right) {
	known := map[string]reviewStatus{}
	for _, right := range rights {
		rules, asked := known[right.Namespace]
		if !asked {
			rules = c.rulesIn(ctx, right.Namespace)
			known[right.Namespace] = rules
		}
		if rules.Incomplete {
			left = append(left, right)
			continue
		}
		allows := func(r rule) bool { return r.allows(right) }
		answers[right] = Answer{Allowed: slices.ContainsFunc(rules.ResourceRules, allows)}
	}
	return left
}

// rulesIn asks for all that we may do in a namespace at once, or in all of them: what
// is granted in one that does not exist is granted by no RoleBinding. Where an authorizer
// is asked that cannot list its rules, such as a webhook, the list is not complete.
func (c *Checker) rulesIn(ctx context.Context, namespace string) reviewStatus {
	if namespace == "" {
		namespace = policy.UnusedName()
	}
	rules, err := c.review(ctx, "SelfSubjectRulesReview", map[string]any{"namespace": namespace})
	rules.Incomplete = rules.Incomplete || err != nil
	return rules
}

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
	if _, subresource, is := strings.Cut(right.Resource, "/"); is {
		what = append(what, wildcard+"/"+subresource)
	}
	has := func(list []string, any ...string) bool {
		return slices.ContainsFunc(any, func(s string) bool { return slices.Contains(list, s) })
	}
	return has(r.Verbs, wildcard, right.Verb) && has(r.APIGroups, wildcard, right.Group) && has(r.Resources, what...) &&
		(len(r.ResourceNames) == 0 || right.Name != "" && slices.Contains(r.ResourceNames, right.Name))
}
