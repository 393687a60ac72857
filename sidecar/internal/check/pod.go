package check

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

var statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}

// checkGate compares what the pod waits for with what the sidecar writes.
func (c *Checker) checkGate(context.Context) {
	if c.failForeignGate() {
		return
	}
	now := "not written"
	for _, written := range kube.ConditionsOf(c.pod.Whole) {
		if written.Type == c.Gate {
			now = written.Status + ", " + written.Reason
		}
	}
	declared := fmt.Sprintf("the pod declares the readiness gate %s, and it is %s", c.Gate, now)
	if !c.gated() {
		declared = fmt.Sprintf("the pod has the condition %s, and it is %s; it is no readiness gate, as with Helm alone: Ready does not mean that Vault serves", c.Gate, now)
	}
	switch {
	case c.Gate == "":
		c.ok("no readiness gate is written, and the pod declares none of ours")
	case !strings.HasPrefix(now, kube.True):
		c.warn(declared, "the condition's message and the sidecar's log say why")
	default:
		c.ok(declared)
	}
}

// failForeignGate reports a readiness gate of ours that nothing writes.
func (c *Checker) failForeignGate() bool {
	for _, declared := range c.pod.Spec.ReadinessGates {
		if kind := declared.ConditionType; kind != c.Gate && strings.HasPrefix(kind, kube.Name+"/") {
			c.fail(fmt.Sprintf("the pod declares the readiness gate %s, which the sidecar does not write: it is never Ready", kind),
				"have the sidecar write it (--readiness-gate, --kubernetes), or take the gate out of the pod's template")
			return true
		}
	}
	return false
}

// gated reports whether our pod declares the readiness gate; it is taken to, where it
// could not be read.
func (c *Checker) gated() bool {
	return c.Gate != "" && (c.pod == nil || slices.Contains(c.pod.Spec.ReadinessGates, readinessGate{c.Gate}))
}

// checkContainer looks whether our container runs, and where it is among the others.
func (c *Checker) checkContainer(context.Context) {
	level, text, advice := c.place()
	if why := c.pod.notRunning(); why != "" && level < Failure {
		level, text = Failure, "the sidecar does not run: "+why+"; the readiness gate keeps its last status"
		advice = fmt.Sprintf("see why: kubectl -n %s describe pod %s", c.pod.Whole.GetNamespace(), c.pod.Whole.GetName())
	}
	c.add(level, text, advice)
}

// notRunning says what our container does in the place of running; "" when it
// runs, or when the pod does not tell.
func (p *pod) notRunning() string {
	for _, status := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
		for _, is := range []string{"waiting", "terminated"} {
			if reason := status.State[is].Reason; reason != "" && isOurs(status.Name, status.Image) {
				return is + ", " + reason
			}
		}
	}
	return ""
}

// place looks where our container is among the others.
func (c *Checker) place() (level Level, text, advice string) {
	first, containers := c.pod.Spec.InitContainers, c.pod.Spec.Containers
	if at := slices.IndexFunc(first, podContainer.isOurs); at >= 0 {
		if first[at].RestartPolicy == "Always" {
			return OK, "the sidecar is a native one: it starts before Vault and ends after it", ""
		}
		return Failure, "the sidecar is an init container without restartPolicy Always: Vault waits for its end and never starts",
			"add the component patches/native to the kustomization that renders Vault's StatefulSet, or make it an ordinary container"
	}
	switch at := slices.IndexFunc(containers, podContainer.isOurs); {
	case at > 0:
		return OK, "the sidecar is a container beside Vault", ""
	case at == 0 && len(containers) > 1:
		return Warning, "the sidecar is the pod's first container, which kubectl exec and kubectl logs take when none is named",
			"put it after Vault, as patches does"
	case at == 0:
		return Failure, "the sidecar is alone in its pod: the key only goes to a Vault beside it",
			"add the component patches to the kustomization that renders Vault's StatefulSet"
	case c.outside:
		return Failure, "the pod has no sidecar: nothing in it has the name or the image " + kube.Name,
			"add the component patches to the kustomization that renders Vault's StatefulSet, apply it, and delete the pod"
	}
	return Unknown, "the sidecar cannot be identified: no container of the pod has its name", ""
}

// checkStatefulSet looks whether a change of the pod's template still waits.
func (c *Checker) checkStatefulSet(ctx context.Context) {
	namespace, owners := c.pod.Whole.GetNamespace(), c.pod.Whole.GetOwnerReferences()
	at := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool { return o.Kind == "StatefulSet" })
	if at < 0 {
		c.warn("no StatefulSet owns the pod: if it is deleted, or its node is lost, nothing brings it back",
			"run Vault as a StatefulSet")
		return
	}
	name := "the StatefulSet " + owners[at].Name
	set, err := c.get(ctx, statefulSets, namespace, owners[at].Name)
	if err != nil {
		c.notVisible(name, "", err)
		return
	}
	revision := c.pod.Whole.GetLabels()["controller-revision-hash"]
	newest, _, _ := unstructured.NestedString(set.Object, "status", "updateRevision")
	kind, _, _ := unstructured.NestedString(set.Object, "spec", "updateStrategy", "type")
	partition, _, _ := unstructured.NestedInt64(set.Object, "spec", "updateStrategy", "rollingUpdate", "partition")
	advice := fmt.Sprintf("kubectl -n %s delete pod %s, at a time that suits", namespace, c.pod.Whole.GetName())
	if kind != "OnDelete" && partition == 0 {
		advice = "wait for the rollout; one that waits for a pod whose gate is closed needs that pod deleted by hand"
	}
	switch {
	case newest == "" || revision == "":
		c.unknown(name+" does not show which of its templates the pod was made from", "")
	case newest == revision:
		c.ok("the pod was made from the newest template of " + name)
	default:
		c.evaluatePending(ctx, set, advice)
	}
}

// patchedServices matches the names of the Services that patches/services is for.
const patchedServices = `(.+-)?(vault|openbao)(-ui|-active|-standby)?`

var isPatchedService = regexp.MustCompile("^(?:" + patchedServices + ")$").MatchString

// checkServices looks whether the pod has Services, and whether one leads traffic to a
// Vault that is sealed.
func (c *Checker) checkServices(ctx context.Context) {
	seen, beside := 0, 0
	var patched, others []string // that are unsafe
	namespace, pod := c.pod.Whole.GetNamespace(), c.pod.Whole.GetName()
	err := c.list(ctx, kube.Services, namespace, func(service *unstructured.Unstructured) {
		beside++
		if eso.ServiceHosts(service, c.pod.Whole, "") == nil {
			return
		}
		seen++
		publishes, _, _ := unstructured.NestedBool(service.Object, "spec", "publishNotReadyAddresses")
		address, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
		switch name := service.GetName(); {
		case !c.gated() || !publishes || address == "None": // the headless one has to: raft finds its peers through it
		case isPatchedService(name):
			patched = append(patched, name)
		default:
			others = append(others, name)
		}
	})
	const unsafe = "pods that are not Ready are published by the Service %s: it routes traffic to a sealed Vault regardless of the gate"
	if len(patched) > 0 {
		c.warn(fmt.Sprintf(unsafe, enumerate(patched)), "add the component patches/services to the kustomization that renders the Service "+enumerate(patched))
	}
	if len(others) > 0 {
		c.warn(fmt.Sprintf(unsafe, enumerate(others)), "set publishNotReadyAddresses: false in the spec of the Service "+enumerate(others)+
			"; patches/services does not know the name")
	}
	switch {
	case err != nil:
		c.notVisible("the Services beside the pod", "eviction", err)
	case len(patched)+len(others) > 0:
	case beside == 0 && c.rendering != nil:
		c.unknown("none is in the rendering", "")
	case seen == 0:
		c.warn(fmt.Sprintf("no Service of %s selects the pod: none leads to this Vault, and External Secrets is not seen to use it", namespace),
			fmt.Sprintf("make the selector of Vault's Service fit the pod's labels: "+
				"kubectl -n %s get services -o wide; kubectl -n %s get pod %s --show-labels", namespace, namespace, pod))
	case c.gated():
		c.ok(fmt.Sprintf("none of %d that select the pod routes traffic to a sealed Vault", seen))
	default:
		c.ok(fmt.Sprintf("%d select the pod; without the gate they follow Vault's own readiness probe", seen))
	}
}
