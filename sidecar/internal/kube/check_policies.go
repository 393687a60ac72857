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

// nobodysPod is of no pod, so that nothing is evicted whatever comes of it.
const nobodysPod = "vault-unseal-sidecar-check"

// narrowing is what was seen of the policies, by component.
type narrowing struct {
	open   map[string]bool  // whether nothing narrows what it grants
	unseen map[string]error // why that is not known
	why    string           // what is said of one that is open
}

// tried takes what came of a dry run that a policy has to refuse. One that was
// refused for want of a right says nothing: there is nothing to narrow.
func (n narrowing) tried(component string, through bool, err error) {
	switch {
	case through || byPolicy(err):
		n.open[component] = n.open[component] || through
	case !apierrors.IsForbidden(err):
		n.unseen[component] = plainly(err)
	}
}

// tryPolicies does, as a dry run that changes nothing, what RBAC alone would
// allow and a policy has to refuse. Nobody grants us to read the policies, and
// this shows that they are in force.
func (c *Checker) tryPolicies(ctx context.Context, pod *unstructured.Unstructured) narrowing {
	n := narrowing{map[string]bool{}, map[string]error{}, "a dry run of what its policy has to refuse was let through"}
	try := func(component string, api dynamic.ResourceInterface, name string, kind types.PatchType, body string, subresources ...string) {
		ctx, cancel := context.WithTimeout(ctx, glance)
		defer cancel()
		_, err := api.Patch(ctx, name, kind, []byte(body), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, subresources...)
		n.tried(component, err == nil, err)
	}
	if pod != nil {
		try("gate", c.api.Resource(pods).Namespace(c.config.Namespace), pod.GetName(), types.StrategicMergePatchType, forbiddenStatus, "status")
	}
	for _, g := range guarded {
		if o := c.first(ctx, g.resource); o != nil {
			try(g.component, c.api.Resource(g.resource).Namespace(o.GetNamespace()), o.GetName(), types.MergePatchType, forbiddenLabel)
		}
	}
	err := c.tryEviction(ctx, nobodysPod)
	// The policies come first, and then it is found that there is no such pod
	// (pkg/registry/core/pod/storage/eviction.go).
	n.tried("eviction", apierrors.IsNotFound(err) && strings.Contains(err.Error(), nobodysPod), err)
	return n
}

// byPolicy tells a refusal that is no role's.
func byPolicy(err error) bool {
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
}

// tryEviction asks for the eviction of a pod, as a dry run.
func (c *Checker) tryEviction(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	eviction := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]any{"name": name, "namespace": c.config.ESONamespace},
	}}
	_, err := c.api.Resource(pods).Namespace(c.config.ESONamespace).
		Create(ctx, eviction, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}, "eviction")
	return err
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
func (c *Checker) readPolicies(ctx context.Context, components []string, user string) narrowing {
	n := narrowing{map[string]bool{}, map[string]error{},
		"its ValidatingAdmissionPolicy is missing, is not bound to deny, or speaks of another than " + user}
	for _, component := range components {
		there, err := c.policy(ctx, ownName+"-"+component, user)
		if err != nil {
			n.unseen[component] = plainly(err)
			continue
		}
		n.open[component] = !there
	}
	return n
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

// judge tells of what is granted whether something narrows it.
func (n narrowing) judge(needs []check.Need) []check.Finding {
	var out []check.Finding
	var shut, unseen []string
	var why error
	for _, component := range []string{"gate", "stores", "externalsecrets", "more", "eviction"} {
		isOpen, known := n.open[component]
		switch err := n.unseen[component]; {
		case isOpen:
			out = append(out, check.Finding{About: check.AboutRights, Level: check.Failure,
				Text:   fmt.Sprintf("nothing narrows what manifests/%s grants: %s", component, n.why),
				Advice: narrow(component, needs)})
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

// narrow says what to do about rights that nothing narrows.
func narrow(component string, needs []check.Need) string {
	if slices.ContainsFunc(needs, func(n check.Need) bool { return n.Component == component }) {
		return "apply manifests/" + component + ", which takes Kubernetes 1.30 or later"
	}
	return "delete what manifests/" + component + " made: the sidecar's options have no use for it"
}
