package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

const admission = "admissionregistration.k8s.io"

var (
	policies = schema.GroupVersionResource{Group: admission, Version: "v1", Resource: "validatingadmissionpolicies"}
	bindings = schema.GroupVersionResource{Group: admission, Version: "v1", Resource: "validatingadmissionpolicybindings"}
)

// guarded are ESO's kinds that a policy guards, by what grants them.
var guarded = []struct {
	component string
	resource  schema.GroupVersionResource
}{
	{"stores", clusterStores}, {"stores", namespaceStores}, {"externalsecrets", secrets},
	{"more", clusterSecrets}, {"more", pushSecrets},
}

// forbiddenStatus and forbiddenLabel are what no policy of ours lets through.
const (
	forbiddenStatus = `{"status":{"message":"a dry run of check"}}`
	forbiddenLabel  = `{"metadata":{"labels":{"vault-unseal-sidecar/check":"dry-run"}}}`
)

// tryPolicies does, as a dry run that changes nothing, what RBAC alone would
// allow and a policy has to refuse. Nobody grants us to read the policies, and
// this shows that they are in force.
func (c *Checker) tryPolicies(ctx context.Context, pod *unstructured.Unstructured) []check.Finding {
	let := map[string]bool{} // by component: whether it was let through
	try := func(component string, api dynamic.ResourceInterface, name string, kind types.PatchType, body string, subresources ...string) {
		ctx, cancel := context.WithTimeout(ctx, glance)
		defer cancel()
		_, err := api.Patch(ctx, name, kind, []byte(body), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, subresources...)
		if err == nil || strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			let[component] = let[component] || err == nil
		}
	}
	if pod != nil {
		try("gate", c.api.Resource(pods).Namespace(c.config.Namespace), pod.GetName(), types.StrategicMergePatchType, forbiddenStatus, "status")
	}
	for _, g := range guarded {
		if o := c.first(ctx, g.resource); o != nil && c.config.Recovery != RecoveryOff {
			try(g.component, c.api.Resource(g.resource).Namespace(o.GetNamespace()), o.GetName(), types.MergePatchType, forbiddenLabel)
		}
	}
	return judgePolicies(let, "a dry run of a change that its policy has to refuse was let through")
}

// first returns any object of a kind; nil when there is none to be seen.
func (c *Checker) first(ctx context.Context, r schema.GroupVersionResource) *unstructured.Unstructured {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	list, err := c.api.Resource(r).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(list.Items) == 0 {
		return nil
	}
	return &list.Items[0]
}

// readPolicies looks whether they are there, are bound to deny, and speak
// of the user that the pod is.
func (c *Checker) readPolicies(ctx context.Context, components []string, user string) []check.Finding {
	missing := map[string]bool{}
	for _, component := range components {
		there, err := c.policy(ctx, ownName+"-"+component, user)
		if err != nil {
			return []check.Finding{c.unseen(check.AboutRights, "the policies that narrow them", "", err)}
		}
		missing[component] = !there
	}
	return judgePolicies(missing, "its ValidatingAdmissionPolicy is missing, is not bound to deny, or speaks of another than "+user)
}

func (c *Checker) policy(ctx context.Context, name, user string) (there bool, err error) {
	policy, err := c.get(ctx, policies, "", name)
	if err != nil {
		return false, ignoreNotFound(err)
	}
	binding, err := c.get(ctx, bindings, "", name)
	if err != nil {
		return false, ignoreNotFound(err)
	}
	actions, _, _ := unstructured.NestedStringSlice(binding.Object, "spec", "validationActions")
	bound, _, _ := unstructured.NestedString(binding.Object, "spec", "policyName")
	speaks := slices.ContainsFunc(entries(policy.Object, "spec", "matchConditions"), func(m map[string]any) bool {
		expression, _ := m["expression"].(string)
		return strings.Contains(expression, user+":")
	})
	return speaks && bound == name && slices.Contains(actions, "Deny"), nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// judgePolicies takes for each component whether nothing narrows it.
func judgePolicies(open map[string]bool, why string) []check.Finding {
	var out []check.Finding
	var shut []string
	for _, component := range []string{"gate", "stores", "externalsecrets", "more", "eviction"} {
		switch isOpen, known := open[component]; {
		case isOpen:
			out = append(out, check.Finding{About: check.AboutRights, Level: check.Failure,
				Text:   fmt.Sprintf("nothing narrows what manifests/%s grants: %s", component, why),
				Advice: "apply manifests/" + component + ", which takes Kubernetes 1.30 or later"})
		case known:
			shut = append(shut, component)
		}
	}
	if len(shut) > 0 {
		out = append(out, check.Finding{About: check.AboutRights, Text: "policies narrow what is granted by " + strings.Join(shut, ", ")})
	}
	return out
}
