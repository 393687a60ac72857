package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// Check judges each Vault of a rendering by the options of its sidecar, of which its pod is
// as the sidecar knows it. What it finds is what a check of the cluster would find later.
func (r *Rendering) Check(resolve OptionResolver) (out []Finding) {
	var vaults []*unstructured.Unstructured
	for _, o := range r.objects {
		if o.GetKind() == "StatefulSet" && isVault(o) {
			vaults = append(vaults, o)
		}
	}
	if len(vaults) == 0 {
		out = append(out, r.noVault())
	}
	var keys []string
	for _, set := range vaults {
		c := r.checkerOf(set, resolve)
		for _, f := range c.findings {
			if len(vaults) > 1 {
				f.Text = set.GetNamespace() + "/" + set.GetName() + ": " + f.Text
			}
			out = append(out, f)
		}
		keys = append(keys, c.keySecret())
	}
	return append(out, r.plainKeys(keys)...)
}

// isVault reports whether a StatefulSet has the sidecar, or is Vault's without.
func isVault(set *unstructured.Unstructured) bool {
	containers := kube.Entries(set.Object, "spec", "template", "spec", "containers")
	for i, c := range slices.Concat(containers, kube.Entries(set.Object, "spec", "template", "spec", "initContainers")) {
		name, _ := c["name"].(string)
		image, _ := c["image"].(string)
		base, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		if isOurs(name, image) || slices.Contains([]string{"vault", "openbao"}, name) ||
			i == 0 && slices.Contains([]string{"vault", "vault-enterprise", "openbao"}, base) {
			return true
		}
	}
	return false
}

// noVault says that no StatefulSet is Vault's, and what may be.
func (r *Rendering) noVault() Finding {
	none := Finding{AboutPod, Failure, "no StatefulSet of the rendering is Vault's, and none has the sidecar",
		"render what has Vault's StatefulSet: kubectl kustomize, or helm template; then add the component patches to it"}
	for _, o := range r.objects {
		for _, c := range kube.Entries(o.Object, "spec", "template", "spec", "containers") {
			name, _ := c["name"].(string)
			image, _ := c["image"].(string)
			if isOurs(name, image) {
				none.Text = fmt.Sprintf("the sidecar is in the %s %s, and in no StatefulSet", o.GetKind(), o.GetName())
				none.Advice = "run Vault as a StatefulSet"
				return none
			}
		}
		if kind := o.GetKind(); kind == "HelmRelease" || kind == "Application" {
			none.Level = Unknown
			none.Text = fmt.Sprintf("no StatefulSet of the rendering is Vault's; the %s %s may make one, in the cluster", kind, o.GetName())
			none.Advice = "check what helm template makes of its chart and values too"
		}
	}
	return none
}

// checkerOf looks at one Vault.
func (r *Rendering) checkerOf(set *unstructured.Unstructured, resolve OptionResolver) *Checker {
	replicas, found, _ := unstructured.NestedInt64(set.Object, "spec", "replicas")
	if !found {
		replicas = 1
	}
	first, _, _ := unstructured.NestedInt64(set.Object, "spec", "ordinals", "start")
	name := func(ordinal int64) string { return fmt.Sprintf("%s-%d", set.GetName(), ordinal) }
	c := &Checker{rendering: r, outside: true, set: set, about: AboutPod}
	var err error
	if c.pod, err = podOfTemplate(set, set.GetNamespace(), name(first)); err != nil {
		c.fail(fmt.Sprintf("the template of the StatefulSet %s cannot be read: %v", set.GetName(), kube.SafeError(err)),
			"correct what renders it: Kubernetes refuses it too")
		return c
	}
	c.pod.Whole.SetLabels(labels.Merge(c.pod.Whole.GetLabels(), labels.Set{"statefulset.kubernetes.io/pod-name": name(first)}))
	if replicas == 0 {
		c.warn(fmt.Sprintf("the StatefulSet %s has no replicas: there is no Vault", set.GetName()), "set its replicas to 1 or more")
	}
	start, found := c.pod.start()
	if !found {
		c.checkContainer(context.Background())
		return c
	}
	var said []Finding
	c.Config, said = resolve(start)
	c.identified = c.Pod != "" && c.Namespace != ""
	c.findings = append(c.findings, said...)
	c.Pod, c.Namespace = name(first), set.GetNamespace()
	for ordinal := first + 1; ordinal < first+min(replicas, maxReplicas); ordinal++ {
		c.replicas = append(c.replicas, name(ordinal))
	}
	c.run(context.Background(), template)
	return c
}

// maxReplicas bounds for how many pods the rights are looked at.
const maxReplicas = 100

// checkDeclaredGate is checkGate before there is a pod.
func (c *Checker) checkDeclaredGate(context.Context) {
	switch {
	case c.failForeignGate():
	case c.gated():
		c.ok("the pod declares the readiness gate " + c.Gate)
	default:
		c.ok("the pod declares no readiness gate of ours, as with Helm alone: Ready does not mean that Vault serves")
	}
}

// checkUpdates tells when a changed template takes effect.
func (c *Checker) checkUpdates(context.Context) {
	kind, _, _ := unstructured.NestedString(c.set.Object, "spec", "updateStrategy", "type")
	if kind == "OnDelete" {
		c.ok(fmt.Sprintf("the StatefulSet %s has the updateStrategy OnDelete: a changed template takes effect when its pod is deleted",
			c.set.GetName()))
	}
}

// checkRenderedRights looks at the rights where they are in the rendering.
func (c *Checker) checkRenderedRights(ctx context.Context) {
	account := cmp.Or(c.Namespace, "(no namespace)") + "/" + c.pod.account()
	var used []string
	for _, n := range c.requirements() {
		used = append(used, n.Component)
	}
	if c.Namespace == "" {
		c.unknown(fmt.Sprintf("the StatefulSet %s names no namespace, so that the rights of its ServiceAccount are not known", c.set.GetName()),
			"name it with --pod-namespace")
		return
	}
	if c.rendering.holdsRights() {
		c.checkRights(ctx)
		return
	}
	if len(used) > 0 {
		c.unknown(fmt.Sprintf("the rights that the ServiceAccount %s needs are not in the rendering", account),
			"unless they are applied elsewhere, before the pod, "+c.names().Apply(used...))
	}
	if c.rendering.grantsTo(c.Namespace, c.pod.account()) { // by the chart, to Vault
		c.KubernetesOff = true // of which nothing is needed
		c.checkRights(ctx)
	}
}

// holdsPolicies reports whether any of our admission policies is in the rendering.
func (r *Rendering) holdsPolicies() bool {
	return slices.ContainsFunc(r.objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "ValidatingAdmissionPolicy" && asksForOurVerb(o)
	})
}

// selectsNamespace reports whether the namespaceSelector of a policy, or of its binding,
// selects a namespace; of a cluster that is not looked at.
func (c *Checker) selectsNamespace(namespace string, o *unstructured.Unstructured, path ...string) bool {
	field, _, _ := unstructured.NestedMap(o.Object, append(path, "namespaceSelector")...)
	if c.rendering == nil || len(field) == 0 {
		return true
	}
	selector, err := selectorOf(field)
	of := labels.Set{"kubernetes.io/metadata.name": namespace}
	for _, o := range c.rendering.objects {
		if o.GetKind() == "Namespace" && o.GetName() == namespace {
			of = labels.Merge(o.GetLabels(), of)
		}
	}
	return err == nil && namespace != "" && selector.Matches(of)
}
