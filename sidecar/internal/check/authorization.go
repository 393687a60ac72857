package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

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
	resource, subresource, _ := strings.Cut(r.Resource, "/")
	spec := map[string]any{"resourceAttributes": map[string]any{
		"verb": r.Verb, "group": r.Group, "resource": resource, "subresource": subresource, "namespace": r.Namespace, "name": r.Name,
	}}
	kind := "SelfSubjectAccessReview"
	if c.outside {
		kind = "SubjectAccessReview"
		const accounts = "system:serviceaccounts"
		spec["user"] = "system:serviceaccount:" + c.Namespace + ":" + c.pod.account()
		spec["groups"] = []any{accounts, accounts + ":" + c.Namespace, "system:authenticated"}
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

var (
	policies = schema.GroupVersionResource{Group: hookGroup, Version: "v1", Resource: "validatingadmissionpolicies"}
	bindings = schema.GroupVersionResource{Group: hookGroup, Version: "v1", Resource: "validatingadmissionpolicybindings"}
)

// policyDelay is how soon a policy is in force that was just applied, at the latest.
const policyDelay = 3 * time.Second

// checkPolicies looks whether policies restrict what is granted: from outside by reading
// them, as the pod by dry runs.
func (c *Checker) checkPolicies(ctx context.Context, granted []Requirement, answers map[Right]Answer) {
	if c.outside {
		c.evaluatePolicies(c.readPolicies(ctx, granted, answers),
			"its ValidatingAdmissionPolicy is missing, is not bound to deny, or the role grants the right without the verb "+policy.RestrictedVerb)
		return
	}
	c.evaluatePolicies(c.trial().RunTwice(ctx, policyDelay), "a dry run that its policy has to deny was admitted")
}

// readPolicies looks whether they are there and bound to deny, and whether they bind the account.
func (c *Checker) readPolicies(ctx context.Context, granted []Requirement, answers map[Right]Answer) policy.Verdicts {
	n := policy.Verdicts{}
	enforced, unread := c.enforced(ctx)
	for _, component := range satisfied(granted, answers) {
		state, err := policy.Unknown, unread
		if err == nil {
			state, err = c.readPolicy(ctx, rightsOf(granted, component), enforced)
		}
		n[component] = policy.Verdict{State: state, Err: kube.DescribeError(err)}
	}
	return n
}

// enforced returns the policies that ask for our verb and are bound to deny.
func (c *Checker) enforced(ctx context.Context) (out []*unstructured.Unstructured, err error) {
	bound := map[string]bool{}
	err = c.each(ctx, c.api.Resource(bindings), metav1.ListOptions{}, func(o *unstructured.Unstructured) {
		actions, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "validationActions")
		name, _, _ := unstructured.NestedString(o.Object, "spec", "policyName")
		bound[name] = bound[name] || slices.Contains(actions, "Deny")
	})
	if err != nil {
		return nil, err
	}
	err = c.each(ctx, c.api.Resource(policies), metav1.ListOptions{}, func(o *unstructured.Unstructured) {
		asks := slices.ContainsFunc(kube.Entries(o.Object, "spec", "matchConditions"), func(m map[string]any) bool {
			expression, _ := m["expression"].(string)
			return strings.Contains(expression, policy.RestrictedVerb)
		})
		if asks && bound[o.GetName()] {
			out = append(out, o)
		}
	})
	return out, err
}

// readPolicy looks whether each of some rights that is one to write is one that a policy
// is about, and whether the policy binds the account.
func (c *Checker) readPolicy(ctx context.Context, rights []Right, enforced []*unstructured.Unstructured) (policy.State, error) {
	for _, right := range rights {
		if right.Verb != "patch" && right.Verb != "create" {
			continue
		}
		if !slices.ContainsFunc(enforced, func(o *unstructured.Unstructured) bool { return isAbout(o, right) }) {
			return policy.Missing, nil
		}
		for verb, want := range map[string]bool{policy.RestrictedVerb: true, policy.UnrestrictedVerb: false} {
			right.Verb = verb
			switch a := c.ask(ctx, right); {
			case a.Err != nil:
				return policy.Unknown, a.Err
			case a.Allowed != want:
				return policy.Missing, nil
			}
		}
	}
	return policy.Enforced, nil
}

// isAbout reports whether a policy is asked about what a right allows.
func isAbout(policy *unstructured.Unstructured, r Right) bool {
	return slices.ContainsFunc(kube.Entries(policy.Object, "spec", "matchConstraints", "resourceRules"), func(rule map[string]any) bool {
		groups, _, _ := unstructured.NestedStringSlice(rule, "apiGroups")
		resources, _, _ := unstructured.NestedStringSlice(rule, "resources")
		return slices.Contains(groups, r.Group) && slices.Contains(resources, r.Resource)
	})
}

// evaluatePolicies takes what was seen of the policies, and why one seems to be missing.
// One that has nothing to be tried on is not reported: there is nothing to spoil either.
func (c *Checker) evaluatePolicies(n policy.Verdicts, why string) {
	missing := n.In(policy.Missing)
	unused := slices.DeleteFunc(slices.Clone(missing), c.uses)
	used := slices.DeleteFunc(missing, func(component string) bool { return !c.uses(component) })
	c.failUnrestricted(n, used, why, c.names().Apply(used...)+", which takes Kubernetes 1.30 or later")
	c.failUnrestricted(n, unused, why, "delete what "+manifests(unused)+" made: the sidecar's options have no use for it")
	if unknown := n.In(policy.Unknown); len(unknown) > 0 {
		why := n[unknown[len(unknown)-1]].Err
		c.unknown(fmt.Sprintf("whether admission policies restrict %s is not known: %v", strings.Join(unknown, ", "), why), "")
	}
	if enforced := n.In(policy.Enforced); len(enforced) > 0 {
		c.ok("admission policies restrict " + strings.Join(enforced, ", "))
	}
}

// failUnrestricted reports the components that no policy restricts as one finding.
func (c *Checker) failUnrestricted(n policy.Verdicts, components []string, why, advice string) {
	if len(components) == 0 {
		return
	}
	var on []string
	for _, component := range components {
		if n[component].Admitted != "" {
			on = append(on, n[component].Admitted)
		}
	}
	text := fmt.Sprintf("no admission policy restricts %s: %s", manifests(components), why)
	if len(on) > 0 {
		text += ", on " + kube.SafeText(strings.Join(on, "; "))
	}
	c.fail(text, advice)
}

func manifests(components []string) string {
	return "manifests/" + strings.Join(components, ", manifests/")
}
