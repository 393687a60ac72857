package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

const admission = "admissionregistration.k8s.io"

var (
	policies = schema.GroupVersionResource{Group: admission, Version: "v1", Resource: "validatingadmissionpolicies"}
	bindings = schema.GroupVersionResource{Group: admission, Version: "v1", Resource: "validatingadmissionpolicybindings"}
)

// The verbs that the policies ask for: the first is granted with each right
// that they restrict, the second to nobody by its name.
const (
	restrictedVerb   = ownName + "-restricted"
	unrestrictedVerb = ownName + "-unrestricted"
)

// readPolicies looks whether they are there and bound to deny, and whether they
// bind the account.
func (c *Checker) readPolicies(ctx context.Context, account string, whole []check.Need, answers map[check.Right]check.Answer) narrowing {
	n := narrowing{map[string]bool{}, map[string]error{},
		"its ValidatingAdmissionPolicy is missing, is not bound to deny, or the role grants the right without the verb " + restrictedVerb, nil}
	enforced, err := c.enforced(ctx)
	for _, component := range check.Held(whole, answers) {
		if err != nil {
			n.unseen[component] = plainly(err)
			continue
		}
		restricted, err := c.restricts(ctx, account, component, whole, enforced)
		if err != nil {
			n.unseen[component] = plainly(err)
			continue
		}
		n.open[component] = !restricted
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
		asks := slices.ContainsFunc(entries(o.Object, "spec", "matchConditions"), func(m map[string]any) bool {
			expression, _ := m["expression"].(string)
			return strings.Contains(expression, restrictedVerb)
		})
		if asks && bound[o.GetName()] {
			out = append(out, o)
		}
	})
	return out, err
}

// restricts reports whether each right to write of a component is one that a
// policy is about, and whether it binds the account.
func (c *Checker) restricts(ctx context.Context, account, component string, whole []check.Need, enforced []*unstructured.Unstructured) (bool, error) {
	for _, right := range check.Writes(whole, component) {
		if !slices.ContainsFunc(enforced, func(o *unstructured.Unstructured) bool { return isAbout(o, right) }) {
			return false, nil
		}
		for verb, want := range map[string]bool{restrictedVerb: true, unrestrictedVerb: false} {
			right.Verb = verb
			if a := c.may(ctx, account, right); a.Err != nil || a.Allowed != want {
				return false, a.Err
			}
		}
	}
	return true, nil
}

// isAbout reports whether a policy is asked about what a right allows.
func isAbout(policy *unstructured.Unstructured, r check.Right) bool {
	what := r.Resource
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	return slices.ContainsFunc(entries(policy.Object, "spec", "matchConstraints", "resourceRules"), func(rule map[string]any) bool {
		groups, _, _ := unstructured.NestedStringSlice(rule, "apiGroups")
		resources, _, _ := unstructured.NestedStringSlice(rule, "resources")
		return slices.Contains(groups, r.Group) && slices.Contains(resources, what)
	})
}

// judge tells of what is granted whether something narrows it.
func (n narrowing) judge(needs []check.Need) []check.Finding {
	var out []check.Finding
	var shut, unseen []string
	var why error
	for _, component := range components {
		isOpen, known := n.open[component]
		switch err := n.unseen[component]; {
		case isOpen:
			out = append(out, check.Finding{About: check.AboutRights, Level: check.Failure,
				Text:   fmt.Sprintf("nothing narrows what manifests/%s grants: %s%s", component, n.why, onWhat(n.on[component])),
				Advice: narrow(component, needs)})
		case errors.Is(err, errNothing): // there is nothing to spoil either
		case err != nil:
			unseen, why = append(unseen, component), err
		case known:
			shut = append(shut, component)
		}
	}
	if len(unseen) > 0 {
		out = append(out, check.Finding{About: check.AboutRights, Level: check.Unknown,
			Text: fmt.Sprintf("whether policies narrow what is granted by %s cannot be seen: %v", strings.Join(unseen, ", "), why)})
	}
	if len(shut) > 0 {
		out = append(out, check.Finding{About: check.AboutRights, Text: "policies narrow what is granted by " + strings.Join(shut, ", ")})
	}
	return out
}

// onWhat names the objects that a dry run was of.
func onWhat(on string) string {
	if on == "" {
		return ""
	}
	return ", on " + theirs(on)
}

// narrow says what to do about rights that nothing narrows.
func narrow(component string, needs []check.Need) string {
	if slices.ContainsFunc(needs, func(n check.Need) bool { return n.Component == component }) {
		return "apply manifests/" + component + ", which takes Kubernetes 1.30 or later"
	}
	return "delete what manifests/" + component + " made: the sidecar's options have no use for it"
}
