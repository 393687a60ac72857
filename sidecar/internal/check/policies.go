package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
)

var (
	policies = schema.GroupVersionResource{Group: hookGroup, Version: "v1", Resource: "validatingadmissionpolicies"}
	bindings = schema.GroupVersionResource{Group: hookGroup, Version: "v1", Resource: "validatingadmissionpolicybindings"}
)

// policyDelay is how soon a policy is in force that was just applied, at the latest.
const policyDelay = 3 * time.Second

// checkPolicies looks whether policies restrict what is granted: from outside by reading
// them, as the pod by dry runs.
func (c *Checker) checkPolicies(ctx context.Context, granted []Requirement, answers map[Right]Answer) {
	if c.rendering != nil && !c.rendering.holdsPolicies() && len(satisfied(granted, answers)) > 0 {
		c.unknown("the rendering has none of the admission policies that restrict the rights: whether the cluster has is not seen",
			"run check with --kubeconfig once they are applied")
		return
	}
	if c.outside {
		c.evaluatePolicies(c.readPolicies(ctx, granted, answers),
			"its ValidatingAdmissionPolicy is missing, is not bound to deny, matches other names, or the role grants the right without the verb "+
				policy.RestrictedVerb)
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

// boundPolicy is a policy with the bindings of it that deny.
type boundPolicy struct {
	policy *unstructured.Unstructured
	by     []*unstructured.Unstructured
}

// enforced returns the policies that ask for our verb and are bound to deny.
func (c *Checker) enforced(ctx context.Context) (out []boundPolicy, err error) {
	bound := map[string][]*unstructured.Unstructured{}
	err = c.list(ctx, bindings, "", func(o *unstructured.Unstructured) {
		actions, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "validationActions")
		name, _, _ := unstructured.NestedString(o.Object, "spec", "policyName")
		if slices.Contains(actions, "Deny") {
			bound[name] = append(bound[name], o)
		}
	})
	if err != nil {
		return nil, err
	}
	err = c.list(ctx, policies, "", func(o *unstructured.Unstructured) {
		if by := bound[o.GetName()]; len(by) > 0 && asksForOurVerb(o) {
			out = append(out, boundPolicy{o, by})
		}
	})
	return out, err
}

func conditions(policy *unstructured.Unstructured) (out []string) {
	for _, m := range kube.Entries(policy.Object, "spec", "matchConditions") {
		expression, _ := m["expression"].(string)
		out = append(out, expression)
	}
	return out
}

func asksForOurVerb(o *unstructured.Unstructured) bool {
	return strings.Contains(strings.Join(conditions(o), " "), policy.RestrictedVerb)
}

// readPolicy looks whether each of some rights that is one to write is one that a policy
// is about, and whether the policy binds the account.
func (c *Checker) readPolicy(ctx context.Context, rights []Right, enforced []boundPolicy) (policy.State, error) {
	for _, right := range rights {
		if right.Verb != "patch" && right.Verb != "create" {
			continue
		}
		if !slices.ContainsFunc(enforced, func(p boundPolicy) bool { return isAbout(p.policy, right) && c.matches(p, right) }) {
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
		names, _, _ := unstructured.NestedStringSlice(rule, "resourceNames")
		return slices.Contains(groups, r.Group) && slices.Contains(resources, r.Resource) &&
			(len(names) == 0 || slices.Contains(names, r.Name))
	})
}

// matches reports whether a policy is asked where a right is used, and about our account.
func (c *Checker) matches(p boundPolicy, r Right) bool {
	return c.isOfAccount(p.policy) && c.selectsNamespace(r.Namespace, p.policy, "spec", "matchConstraints") &&
		slices.ContainsFunc(p.by, func(binding *unstructured.Unstructured) bool {
			return c.selectsNamespace(r.Namespace, binding, "spec", "matchResources")
		})
}

// isOfAccount reports whether the accounts that a policy is limited to have ours among
// them. The policies of the manifests name none.
func (c *Checker) isOfAccount(policy *unstructured.Unstructured) bool {
	for _, expression := range conditions(policy) {
		named := strings.Split(expression, `username == "system:serviceaccount:`)[1:]
		ours := c.Namespace + ":" + c.pod.account() + `"`
		if len(named) > 0 && !slices.ContainsFunc(named, func(name string) bool { return strings.HasPrefix(name, ours) }) {
			return false
		}
	}
	return true
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
