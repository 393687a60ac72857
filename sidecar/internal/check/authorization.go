package check

import (
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
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

// The groups of a ServiceAccount; it is in that of its namespace too.
const (
	accounts      = "system:serviceaccounts"
	authenticated = "system:authenticated"
)

// maxConcurrentReviews bounds how many rights are asked for at once.
const maxConcurrentReviews = 8

// askAll asks for all the rights: by the rules of their namespaces, or where these are
// not complete one by one.
func (c *Checker) askAll(ctx context.Context, rights []Right) map[Right]Answer {
	rules, answers := map[string]reviewStatus{}, map[Right]Answer{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(maxConcurrentReviews)
	for _, r := range rights {
		known, asked := rules[r.Namespace]
		if !asked {
			known = c.rulesIn(ctx, r.Namespace)
			rules[r.Namespace] = known
		}
		group.Go(func() error {
			a := Answer{Allowed: slices.ContainsFunc(known.ResourceRules, func(rule rule) bool { return rule.allows(r) })}
			if known.Incomplete {
				a = c.ask(ctx, r)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[r] = a
			return nil
		})
	}
	_ = group.Wait()
	return answers
}

func (c *Checker) ask(ctx context.Context, r Right) Answer {
	if c.rendering != nil {
		return Answer{Allowed: c.rendering.allows(c.Namespace, c.pod.account(), r)}
	}
	resource, subresource, _ := strings.Cut(r.Resource, "/")
	spec := map[string]any{"resourceAttributes": map[string]any{
		"verb": r.Verb, "group": r.Group, "resource": resource, "subresource": subresource, "namespace": r.Namespace, "name": r.Name,
	}}
	kind := "SelfSubjectAccessReview"
	if c.outside {
		kind = "SubjectAccessReview"
		spec["user"] = "system:serviceaccount:" + c.Namespace + ":" + c.pod.account()
		spec["groups"] = []any{accounts, accounts + ":" + c.Namespace, authenticated}
	}
	status, err := c.review(ctx, kind, spec)
	return Answer{status.Allowed, kube.DescribeError(err)}
}

// rulesIn asks for all that we may do in a namespace at once, or in all of them: what
// is granted in one that does not exist is granted by no RoleBinding. Where an authorizer
// is asked that cannot list its rules, such as a webhook, the list is not complete; nor
// is it ever from outside, where nobody lists what another may do.
func (c *Checker) rulesIn(ctx context.Context, namespace string) reviewStatus {
	if c.outside {
		return reviewStatus{Incomplete: true}
	}
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
