package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

var nodes = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

// evaluatePending reports a template that waits for the pod's deletion. The deletion is
// only advised where the new pod would start, and not without the sidecar.
func (c *Checker) evaluatePending(ctx context.Context, set *unstructured.Unstructured, advice string) {
	name := "the StatefulSet " + set.GetName()
	next, err := podOfTemplate(set, c.pod.Whole.GetNamespace(), c.pod.Whole.GetName())
	if err != nil {
		c.unknown(fmt.Sprintf("a newer template of %s is pending, and cannot be read: %v", name, err), "")
		return
	}
	_, runs := c.pod.ours()
	ours, stays := next.ours()
	if !stays {
		if runs { // else checkContainer says so
			c.fail(fmt.Sprintf("the newest template of %s has no sidecar, and the pod still has that of an older template: "+
				"a new pod comes without, and its Vault stays sealed", name),
				"keep the pod, and put the sidecar back into what renders the StatefulSet (with Helm, its values)")
		}
		return
	}
	pending := fmt.Sprintf("a newer template of %s is pending: the pod was made from an older one, and a reboot does not replace it", name)
	why, certain := c.refusal(ctx, next)
	if why == "" {
		why, certain = c.imageMissing(ctx, ours)
	}
	switch {
	case certain:
		c.fail(pending+"; a pod of the newer one would not start: "+why, "keep the pod, and correct the template first")
	case why != "":
		c.warn(pending+"; "+why, "see to that first, and only then: "+advice)
	default:
		c.warn(pending, advice)
	}
}

// podOfTemplate returns a pod that the StatefulSet's newest template makes, as its controller
// does.
func podOfTemplate(set *unstructured.Unstructured, namespace, name string) (*pod, error) {
	template, _, err := unstructured.NestedMap(set.Object, "spec", "template")
	if err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{Object: template}
	o.SetAPIVersion("v1")
	o.SetKind("Pod")
	o.SetName(name)
	o.SetNamespace(namespace)
	volumes, _, err := unstructured.NestedSlice(template, "spec", "volumes")
	if err != nil {
		return nil, err
	}
	for _, claim := range kube.Entries(set.Object, "spec", "volumeClaimTemplates") {
		of, _, _ := unstructured.NestedString(claim, "metadata", "name")
		volumes = append(volumes, map[string]any{"name": of,
			"persistentVolumeClaim": map[string]any{"claimName": of + "-" + o.GetName()}})
	}
	if len(volumes) > 0 {
		if err := unstructured.SetNestedSlice(template, volumes, "spec", "volumes"); err != nil {
			return nil, err
		}
	}
	return podOf(o)
}

// refusal says why the API server would not make a pod, and whether that is certain; it
// is asked in a dry run. That the old pod is still there is found after all else.
func (c *Checker) refusal(ctx context.Context, next *pod) (why string, certain bool) {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	_, err := c.api.Resource(kube.Pods).Namespace(next.Whole.GetNamespace()).Create(ctx, next.Whole,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: kube.Name})
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return "", false
	case kube.LacksRight(err), !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) && !kube.DeniedByWebhook(err):
		return fmt.Sprintf("whether a pod of the newer one would start is not known: %v", kube.DescribeError(err)), false
	case strings.Contains(err.Error(), "exceeded quota"): // there may be room once the old pod is gone
		return fmt.Sprintf("whether a pod of the newer one fits is not known: %v", kube.DescribeError(err)), false
	}
	return kube.DescribeError(err).Error(), true
}

// namedImages is how many of its images a node names (the kubelet's nodeStatusMaxImages).
const namedImages = 50

// imageMissing says that no node has the sidecar's image, and whether it is then certain
// that the container does not start.
func (c *Checker) imageMissing(ctx context.Context, ours podContainer) (why string, certain bool) {
	names := []string{ours.Image, "docker.io/" + ours.Image, "docker.io/library/" + ours.Image}
	seen, whole, found := false, true, false
	err := c.each(ctx, c.api.Resource(nodes), metav1.ListOptions{}, func(node *unstructured.Unstructured) {
		seen = true
		images := kube.Entries(node.Object, "status", "images")
		whole = whole && len(images) > 0 && len(images) < namedImages
		for _, image := range images {
			known, _, _ := unstructured.NestedStringSlice(image, "names")
			found = found || slices.ContainsFunc(known, func(name string) bool { return slices.Contains(names, name) })
		}
	})
	switch never := ours.ImagePullPolicy == "Never"; {
	case err != nil || found:
		return "", false
	case !seen || !whole:
		return fmt.Sprintf("no node says that it has the image %s: without a registry that has it the new pod does not start", ours.Image), false
	case never:
		return fmt.Sprintf("no node has the image %s, and none may pull it (imagePullPolicy Never)", ours.Image), true
	}
	return fmt.Sprintf("no node has the image %s: without a registry that has it the new pod does not start", ours.Image), false
}
