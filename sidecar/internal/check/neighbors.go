package check

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// evaluateNetwork reports whether others than the pod's own containers can take the
// place of a Vault that is down.
func evaluateNetwork(pod *unstructured.Unstructured, plain bool) []Finding {
	shared, _, _ := unstructured.NestedBool(pod.Object, "spec", "hostNetwork")
	switch {
	case !shared:
		return nil
	case !plain:
		return []Finding{{About: AboutPod, Text: "the pod shares the network of its node, and the key does not go over plain HTTP"}}
	}
	return []Finding{{About: AboutPod, Level: Failure,
		Text: "the pod shares the network of its node, and the key goes over plain HTTP: " +
			"while Vault is down every process of the node can take its port and is sent the key",
		Advice: "take hostNetwork away, or give Vault a listener with TLS (--vault-addr, --vault-cacert) or on a Unix socket"}}
}

// evaluateUsers reports whether several containers run as the user that gets the key:
// one that says no user of its own has that of the pod.
func evaluateUsers(pod *unstructured.Unstructured, uid *uint32) []Finding {
	if uid == nil {
		return nil
	}
	var same []string
	for _, container := range otherContainers(pod) {
		user, found := setting[int64](pod, container, "runAsUser")
		if found && user == int64(*uid) {
			same = append(same, nameOf(container))
		}
	}
	if len(same) < 2 {
		return nil
	}
	return []Finding{{About: AboutPod, Level: Warning,
		Text:   fmt.Sprintf("the containers %s run as uid %d: --vault-uid does not tell them apart, and each may take Vault's place while it is down", strings.Join(same, ", "), *uid),
		Advice: "give each container but Vault's a runAsUser of its own"}}
}

// evaluateCapture tells which containers can read what goes to Vault over plain
// HTTP: loopback is the whole pod's, and the capability NET_RAW, which container
// runtimes give to root, reads it. No uid of who listens tells of that.
func evaluateCapture(pod *unstructured.Unstructured, plain bool) []Finding {
	if !plain {
		return nil
	}
	var able []string
	for _, container := range containersBesideVault(pod) {
		if why := captures(pod, container); why != "" {
			able = append(able, nameOf(container)+" ("+why+")")
		}
	}
	if len(able) == 0 {
		return nil
	}
	return []Finding{{About: AboutPod, Level: Warning,
		Text: "the key goes over plain HTTP, and these containers can read it and all else that goes to Vault, which --vault-uid does not prevent: " +
			strings.Join(able, ", "),
		Advice: "drop the capability NET_RAW there (drop: [ALL]), or give Vault a listener on a Unix socket (--vault-addr unix:///PATH) or with TLS"}}
}

// captures says why a container can read the pod's loopback; "" when it cannot.
// One that cannot run as root has no capabilities, other than from a file of its
// image: that is not seen here.
func captures(pod *unstructured.Unstructured, container map[string]any) string {
	if privileged, _, _ := unstructured.NestedBool(container, "securityContext", "privileged"); privileged {
		return "is privileged"
	}
	for _, name := range capabilities(container, "add") {
		if name == "NET_RAW" || name == "NET_ADMIN" || name == "ALL" {
			return "adds " + name
		}
	}
	dropped := capabilities(container, "drop")
	user, _ := setting[int64](pod, container, "runAsUser")
	nonRoot, _ := setting[bool](pod, container, "runAsNonRoot")
	if slices.Contains(dropped, "ALL") || slices.Contains(dropped, "NET_RAW") || user > 0 || nonRoot {
		return ""
	}
	return "may run as root and does not drop NET_RAW"
}

// capabilities are those that a container adds or drops. Runtimes take them in
// any case, and with the prefix of the kernel's names.
func capabilities(container map[string]any, which string) []string {
	names, _, _ := unstructured.NestedStringSlice(container, "securityContext", "capabilities", which)
	for i, name := range names {
		names[i] = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	}
	return names
}

// setting is what a container's security context says, or else the pod's.
func setting[T any](pod *unstructured.Unstructured, container map[string]any, field string) (value T, found bool) {
	for _, at := range []map[string]any{container, mapAt(pod.Object, "spec")} {
		if value, found = mapAt(at, "securityContext")[field].(T); found {
			return value, true
		}
	}
	return value, false
}

func mapAt(object map[string]any, field string) map[string]any {
	m, _ := object[field].(map[string]any)
	return m
}

func nameOf(container map[string]any) string {
	name, _ := container["name"].(string)
	return name
}

// otherContainers are the containers that run while Vault does, but ours.
func otherContainers(pod *unstructured.Unstructured) (out []map[string]any) {
	for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, container := range kube.Entries(pod.Object, "spec", field) {
			if field == "initContainers" && container["restartPolicy"] != "Always" || isOurs(container) {
				continue // it has ended when Vault starts
			}
			if field == "ephemeralContainers" && hasEnded(pod, container) {
				continue // and is never started again
			}
			out = append(out, container)
		}
	}
	return out
}

func hasEnded(pod *unstructured.Unstructured, container map[string]any) bool {
	return slices.ContainsFunc(kube.Entries(pod.Object, "status", "ephemeralContainerStatuses"), func(status map[string]any) bool {
		return nameOf(status) == nameOf(container) && mapAt(status, "state")["terminated"] != nil
	})
}

// containersBesideVault are those of them that are not Vault's. Vault's has the name that
// the charts give it, or else is the pod's first.
func containersBesideVault(pod *unstructured.Unstructured) []map[string]any {
	all := otherContainers(pod)
	named := func(c map[string]any) bool { return nameOf(c) == "vault" || nameOf(c) == "openbao" }
	at := max(0, slices.IndexFunc(all, named))
	return slices.Delete(all, at, min(at+1, len(all)))
}
