package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

const (
	grantsPatch    = "patches"
	grantsServices = "patches/services"
)

var statefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}

// checkPod judges our pod and what stands around it.
func (c *Checker) checkPod(ctx context.Context, pod *pod, object *unstructured.Unstructured, home Scope) []Finding {
	out := []Finding{evaluateGate(pod, c.config.Gate), evaluateContainer(pod, c.outside)}
	out = append(out, evaluateLiveness(pod)...)
	out = append(out, evaluateOwnProbe(pod)...)
	out = append(out, evaluateNetwork(pod, c.config.PlainHTTP)...)
	out = append(out, evaluateUsers(pod, c.config.VaultUID)...)
	out = append(out, evaluateCapture(pod, c.config.PlainHTTP)...)
	out = append(out, c.checkOwner(ctx, pod))
	return append(out, c.checkServices(ctx, object, home)...)
}

func (p *pod) declares(gate string) bool {
	for _, declared := range p.Spec.ReadinessGates {
		if declared.ConditionType == gate {
			return true
		}
	}
	return false
}

// evaluateGate compares what the pod waits for with what the sidecar writes.
func evaluateGate(pod *pod, gate string) Finding {
	f := Finding{About: AboutPod}
	for _, declared := range pod.Spec.ReadinessGates {
		if kind := declared.ConditionType; kind != gate && strings.HasPrefix(kind, kube.Name+"/") {
			f.Level = Failure
			f.Text = fmt.Sprintf("the pod declares the readiness gate %s, which the sidecar does not write: it is never Ready", kind)
			f.Advice = "have the sidecar write it (--readiness-gate, --kubernetes), or take the gate out of the pod's template"
			return f
		}
	}
	switch {
	case gate == "":
		f.Text = "no readiness gate is written, and the pod declares none of ours"
	case !pod.declares(gate):
		f.Level = Warning
		f.Text = fmt.Sprintf("the pod does not declare the readiness gate %s: Ready does not mean that Vault serves", gate)
		f.Advice = "apply " + grantsPatch + "; with Helm alone it cannot be had, then set --readiness-gate none"
	default:
		now := pod.condition(gate)
		f.Text = fmt.Sprintf("the pod declares the readiness gate %s, and it is %s", gate, now)
		if !strings.HasPrefix(now, kube.True) {
			f.Level = Warning
			f.Advice = "the pod is not Ready; the condition's message and the sidecar's log say why"
		}
	}
	return f
}

// condition says how a condition of the pod is.
func (p *pod) condition(kind string) string {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return kube.SafeText(c.Status) + ", " + kube.SafeText(c.Reason)
		}
	}
	return "not written"
}

// evaluateContainer looks whether our container runs, and where it is among the
// others.
func evaluateContainer(pod *pod, outside bool) Finding {
	f := placeOf(pod, outside)
	if why := notRunning(pod); why != "" && f.Level < Failure {
		return Finding{About: AboutPod, Level: Failure,
			Text:   "the sidecar does not run: " + why + "; the readiness gate keeps its last status",
			Advice: fmt.Sprintf("see why: kubectl -n %s describe pod %s", pod.Namespace, pod.Name)}
	}
	return f
}

// notRunning says what our container does in the place of running; "" when it
// runs, or when the pod does not tell.
func notRunning(pod *pod) string {
	for _, status := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if !isOurs(status.Name, status.Image) {
			continue
		}
		for _, is := range []string{"waiting", "terminated"} {
			if reason := status.State[is].Reason; reason != "" {
				return is + ", " + reason
			}
		}
	}
	return ""
}

// placeOf looks at where our container is among the others.
func placeOf(pod *pod, outside bool) Finding {
	f := Finding{About: AboutPod}
	for _, c := range pod.Spec.InitContainers {
		if !c.isOurs() {
			continue
		}
		f.Text = "the sidecar is a native one: it starts before Vault and ends after it"
		if c.RestartPolicy != "Always" {
			f.Level = Failure
			f.Text = "the sidecar is an init container without restartPolicy Always: Vault waits for its end and never starts"
			f.Advice = "apply patches/native, or make it an ordinary container"
		}
		return f
	}
	containers := pod.Spec.Containers
	switch at := slices.IndexFunc(containers, container.isOurs); {
	case at > 0:
		f.Text = "the sidecar is a container beside Vault"
	case at == 0 && len(containers) > 1:
		f.Level = Warning
		f.Text = "the sidecar is the pod's first container, which kubectl exec and kubectl logs take when none is named"
		f.Advice = "put it after Vault, as " + grantsPatch + " does"
	case at == 0:
		f.Level = Failure
		f.Text = "the sidecar is alone in its pod: the key only goes to a Vault beside it"
		f.Advice = "apply " + grantsPatch + " to Vault's StatefulSet"
	case outside:
		f.Level = Failure
		f.Text = "the pod has no sidecar: nothing in it has the name or the image " + kube.Name
		f.Advice = "apply " + grantsPatch + ", and delete the pod when its StatefulSet says OnDelete"
	default:
		f.Level = Unknown
		f.Text = "the sidecar cannot be identified: no container of the pod has its name"
	}
	return f
}

// checkOwner looks whether a change of the pod's template still waits.
func (c *Checker) checkOwner(ctx context.Context, pod *pod) Finding {
	for _, owner := range pod.OwnerReferences {
		if owner.Kind != "StatefulSet" {
			continue
		}
		set, err := c.get(ctx, statefulSets, pod.Namespace, owner.Name)
		if err != nil {
			return c.notVisible(AboutPod, "the StatefulSet "+owner.Name, "", err)
		}
		return evaluateOwner(pod, set)
	}
	return Finding{About: AboutPod, Level: Warning,
		Text:   "no StatefulSet owns the pod: if it is deleted, or its node is lost, nothing brings it back",
		Advice: "run Vault as a StatefulSet"}
}

func evaluateOwner(pod *pod, set *unstructured.Unstructured) Finding {
	f := Finding{About: AboutPod}
	revision := pod.Labels["controller-revision-hash"]
	newest, _, _ := unstructured.NestedString(set.Object, "status", "updateRevision")
	kind, _, _ := unstructured.NestedString(set.Object, "spec", "updateStrategy", "type")
	partition, _, _ := unstructured.NestedInt64(set.Object, "spec", "updateStrategy", "rollingUpdate", "partition")
	name := "the StatefulSet " + set.GetName()
	switch {
	case newest == "" || revision == "":
		f.Level = Unknown
		f.Text = name + " does not show which of its templates the pod was made from"
	case newest == revision:
		f.Text = fmt.Sprintf("the pod was made from the newest template of %s", name)
	default:
		f.Level = Warning
		f.Text = fmt.Sprintf("a newer template of %s is pending: the pod was made from an older one, and a reboot does not replace it", name)
		f.Advice = fmt.Sprintf("kubectl -n %s delete pod %s, at a time that suits", pod.Namespace, pod.Name)
		if kind != "OnDelete" && partition == 0 {
			f.Advice = "wait for the rollout; one that waits for a pod whose gate is closed needs that pod deleted by hand"
		}
	}
	return f
}

// checkServices looks whether traffic is led to a Vault that is sealed.
func (c *Checker) checkServices(ctx context.Context, pod *unstructured.Unstructured, home Scope) []Finding {
	var out []Finding
	gated := home.Gated
	seen := 0
	err := c.each(ctx, c.api.Resource(kube.Services).Namespace(pod.GetNamespace()), metav1.ListOptions{}, func(service *unstructured.Unstructured) {
		if eso.ServiceHosts(service, pod) == nil {
			return
		}
		seen++
		if f, unsafe := evaluateService(service); gated && unsafe {
			out = append(out, f)
		}
	})
	switch {
	case err != nil:
		return append(out, c.notVisible(AboutServices, "the Services beside the pod", grantHint(home.Evicts, kube.GrantsEviction), err))
	case len(out) == 0 && gated:
		return []Finding{{About: AboutServices, Text: fmt.Sprintf("none of %d that select the pod routes traffic to a sealed Vault", seen)}}
	case len(out) == 0:
		return []Finding{{About: AboutServices, Text: fmt.Sprintf("%d select the pod; without the gate they follow Vault's own readiness probe", seen)}}
	}
	return out
}

// evaluateService tells a Service that publishes pods which are not Ready. The
// headless one has to: raft finds its peers through it.
func evaluateService(service *unstructured.Unstructured) (Finding, bool) {
	publishes, _, _ := unstructured.NestedBool(service.Object, "spec", "publishNotReadyAddresses")
	address, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
	if !publishes || address == "None" {
		return Finding{}, false
	}
	return Finding{About: AboutServices, Level: Warning,
		Text:   fmt.Sprintf("the Service %s publishes pods that are not Ready: it routes traffic to a sealed Vault regardless of the gate", service.GetName()),
		Advice: "apply " + grantsServices}, true
}
