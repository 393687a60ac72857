package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
)

const admission = "admissionregistration.k8s.io"

var (
	policies = schema.GroupVersionResource{Group: admission, Version: "v1", Resource: "validatingadmissionpolicies"}
	bindings = schema.GroupVersionResource{Group: admission, Version: "v1", Resource: "validatingadmissionpolicybindings"}
)

// readPolicies looks whether they are there and bound to deny, and whether they
// bind the account.
func (c *Checker) readPolicies(ctx context.Context, account string, whole []Requirement, answers map[Right]Answer) policy.Verdicts {
	n := policy.Verdicts{Missing: map[string]bool{}, Unknown: map[string]error{},
		Why: "its ValidatingAdmissionPolicy is missing, is not bound to deny, or the role grants the right without the verb " + policy.RestrictedVerb, Admitted: nil}
	enforced, err := c.enforced(ctx)
	for _, component := range satisfied(whole, answers) {
		if err != nil {
			n.Unknown[component] = kube.DescribeError(err)
			continue
		}
		restricted, err := c.restricts(ctx, account, component, whole, enforced)
		if err != nil {
			n.Unknown[component] = kube.DescribeError(err)
			continue
		}
		n.Missing[component] = !restricted
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

// restricts reports whether each right to write of a component is one that a
// policy is about, and whether it binds the account.
func (c *Checker) restricts(ctx context.Context, account, component string, whole []Requirement, enforced []*unstructured.Unstructured) (bool, error) {
	for _, right := range writeRights(whole, component) {
		if !slices.ContainsFunc(enforced, func(o *unstructured.Unstructured) bool { return isAbout(o, right) }) {
			return false, nil
		}
		for verb, want := range map[string]bool{policy.RestrictedVerb: true, policy.UnrestrictedVerb: false} {
			right.Verb = verb
			if a := c.ask(ctx, account, right); a.Err != nil || a.Allowed != want {
				return false, a.Err
			}
		}
	}
	return true, nil
}

// isAbout reports whether a policy is asked about what a right allows.
func isAbout(policy *unstructured.Unstructured, r Right) bool {
	what := r.Resource
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	return slices.ContainsFunc(kube.Entries(policy.Object, "spec", "matchConstraints", "resourceRules"), func(rule map[string]any) bool {
		groups, _, _ := unstructured.NestedStringSlice(rule, "apiGroups")
		resources, _, _ := unstructured.NestedStringSlice(rule, "resources")
		return slices.Contains(groups, r.Group) && slices.Contains(resources, what)
	})
}

// evaluatePolicies reports whether policies restrict what is granted.
func evaluatePolicies(n policy.Verdicts, needs []Requirement) []Finding {
	var out []Finding
	var shut, unseen []string
	var why error
	for _, component := range policy.Components {
		isOpen, known := n.Missing[component]
		switch err := n.Unknown[component]; {
		case isOpen:
			out = append(out, Finding{About: AboutRights, Level: Failure,
				Text:   fmt.Sprintf("no admission policy restricts manifests/%s: %s%s", component, n.Why, admittedSuffix(n.Admitted[component])),
				Advice: policyAdvice(component, needs)})
		case errors.Is(err, policy.ErrNothing): // there is nothing to spoil either
		case err != nil:
			unseen, why = append(unseen, component), err
		case known:
			shut = append(shut, component)
		}
	}
	if len(unseen) > 0 {
		out = append(out, Finding{About: AboutRights, Level: Unknown,
			Text: fmt.Sprintf("whether admission policies restrict %s is not known: %v", strings.Join(unseen, ", "), why)})
	}
	if len(shut) > 0 {
		out = append(out, Finding{About: AboutRights, Text: "admission policies restrict " + strings.Join(shut, ", ")})
	}
	return out
}

// admittedSuffix names the objects that a dry run was of.
func admittedSuffix(on string) string {
	if on == "" {
		return ""
	}
	return ", on " + kube.SafeText(on)
}

// policyAdvice says what to do about rights that nothing narrows.
func policyAdvice(component string, needs []Requirement) string {
	if slices.ContainsFunc(needs, func(n Requirement) bool { return n.Component == component }) {
		return "apply manifests/" + component + ", which takes Kubernetes 1.30 or later"
	}
	return "delete what manifests/" + component + " made: the sidecar's options have no use for it"
}
