package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	networkPolicies = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
	podMonitors     = schema.GroupVersionResource{Group: "monitoring.coreos.com", Version: "v1", Resource: "podmonitors"}
)

// checkSelectors looks whether what the manifests select is there. The sidecar has no
// right to any of it.
func (c *Checker) checkSelectors(ctx context.Context) {
	if !c.outside {
		return
	}
	c.eachOfOurs(ctx, networkPolicies, "NetworkPolicy", func(name string, o *unstructured.Unstructured) {
		switch {
		case !c.selectsPod(name, o, "network", "spec", "podSelector"):
		case c.rendering != nil: // who is let in is of other renderings
			c.ok(name + " selects the pod")
		case c.letsIn(ctx, name, o):
			c.ok(name + " selects the pod, and whom it lets in is there")
		}
	})
	c.eachOfOurs(ctx, podMonitors, "PodMonitor", func(name string, o *unstructured.Unstructured) {
		if c.selectsPod(name, o, "monitoring", "spec", "selector") && c.hasPorts(name, o) {
			c.ok(name + " selects the pod")
		}
	})
}

// eachOfOurs calls look with each object of a kind beside the pod that the manifests made,
// perhaps below a prefix.
func (c *Checker) eachOfOurs(ctx context.Context, r schema.GroupVersionResource, kind string, look func(string, *unstructured.Unstructured)) {
	err := c.list(ctx, r, c.Namespace, func(o *unstructured.Unstructured) {
		if strings.Contains(o.GetName(), kube.Name) {
			look("the "+kind+" "+o.GetName(), o)
		}
	})
	if err != nil && !apierrors.IsNotFound(err) { // no such kind
		c.notVisible("whether there is a "+kind, "", err)
	}
}

// selectsPod reports whether the selector at a path of an object selects our pod.
func (c *Checker) selectsPod(name string, o *unstructured.Unstructured, component string, path ...string) bool {
	field, _, _ := unstructured.NestedMap(o.Object, path...)
	selector, err := selectorOf(field)
	switch {
	case err != nil:
		c.unknown(fmt.Sprintf("what %s selects is not known: %v", name, kube.SafeError(err)), "")
	case !selector.Matches(labels.Set(c.pod.Whole.GetLabels())):
		c.warn(fmt.Sprintf("%s does not select the pod, but %s: it is of no use", name, quote(selector.String())), c.names().Apply(component))
	default:
		return true
	}
	return false
}

func selectorOf(field map[string]any) (labels.Selector, error) {
	var selector metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(field, &selector); err != nil {
		return nil, err
	}
	return metav1.LabelSelectorAsSelector(&selector)
}

// letsIn reports whether all are there whom a NetworkPolicy lets in by their labels.
func (c *Checker) letsIn(ctx context.Context, name string, o *unstructured.Unstructured) bool {
	before := len(c.findings)
	for _, rule := range kube.Entries(o.Object, "spec", "ingress") {
		for _, peer := range kube.Entries(rule, "from") {
			c.checkPeer(ctx, name, peer)
		}
	}
	return len(c.findings) == before
}

func (c *Checker) checkPeer(ctx context.Context, name string, peer map[string]any) {
	byNamespace, everywhere := peer["namespaceSelector"].(map[string]any)
	byPod, ofPods := peer["podSelector"].(map[string]any)
	if !everywhere { // pods beside Vault, or addresses
		return
	}
	within, err := selectorOf(byNamespace)
	pods, podsErr := selectorOf(byPod)
	if err != nil || podsErr != nil {
		return // no API server takes them
	}
	found := false
	err = c.each(ctx, c.api.Resource(namespaces), metav1.ListOptions{LabelSelector: within.String()}, func(o *unstructured.Unstructured) {
		found = found || !ofPods || c.anyPod(ctx, o.GetName(), pods)
	})
	advice := c.names().Apply("network", "clients")
	switch {
	case err != nil:
		c.notVisible("the namespaces that "+name+" lets in", "", err)
	case found:
	case ofPods:
		c.warn(fmt.Sprintf("%s lets in the pods %s of the namespaces %s, and there are none: theirs do not reach Vault",
			name, quote(pods.String()), quote(within.String())),
			"set esoNamespace and esoName in settings.yaml to the namespace of External Secrets and its pods' label "+
				"app.kubernetes.io/name, and "+advice)
	default: // there need not be an ingress controller
		c.unknown(fmt.Sprintf("%s lets in the namespaces %s, and there are none", name, quote(within.String())),
			"if the name is wrong, set ingressNamespace, clientNamespace or monitoringNamespace in settings.yaml, and "+advice)
	}
}

// anyPod reports whether there is a pod of some labels in a namespace, or may be.
func (c *Checker) anyPod(ctx context.Context, namespace string, of labels.Selector) bool {
	found := false
	err := c.each(ctx, c.api.Resource(kube.Pods).Namespace(namespace), metav1.ListOptions{LabelSelector: of.String()},
		func(*unstructured.Unstructured) { found = true })
	return found || err != nil
}

// hasPorts reports whether the pod has the ports that a PodMonitor names.
func (c *Checker) hasPorts(name string, o *unstructured.Unstructured) bool {
	var ports []string
	for _, list := range []string{"initContainers", "containers"} {
		for _, container := range kube.Entries(c.pod.Whole.Object, "spec", list) {
			for _, port := range kube.Entries(container, "ports") {
				is, _ := port["name"].(string)
				ports = append(ports, is)
			}
		}
	}
	for _, endpoint := range kube.Entries(o.Object, "spec", "podMetricsEndpoints") {
		if port, _ := endpoint["port"].(string); port != "" && !slices.Contains(ports, port) {
			c.warn(fmt.Sprintf("%s scrapes the port %s, which no container of the pod has: nothing is scraped", name, quote(port)),
				"add the component patches/monitoring to the kustomization that renders Vault's StatefulSet")
			return false
		}
	}
	return true
}
