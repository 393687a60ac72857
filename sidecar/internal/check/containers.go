package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// evaluateNetwork reports whether others than the pod's own containers can take the
// place of a Vault that is down.
func evaluateNetwork(pod *pod, plain bool) []Finding {
	switch {
	case !pod.Spec.HostNetwork:
		return nil
	case !plain:
		return []Finding{{About: AboutPod, Text: "the pod shares the network of its node, and the key does not go over plain HTTP"}}
	}
	return []Finding{{About: AboutPod, Level: Failure,
		Text: "the pod shares the network of its node, and the key goes over plain HTTP: " +
			"while Vault is down every process of the node can take its port and is sent the key",
		Advice: "remove hostNetwork, or give Vault a listener with TLS (--vault-addr, --vault-cacert) or on a Unix socket"}}
}

// evaluateUsers reports whether several containers run as the user that gets the key:
// one that says no user of its own has that of the pod.
func evaluateUsers(pod *pod, uid *uint32) []Finding {
	if uid == nil {
		return nil
	}
	var same []string
	for _, c := range otherContainers(pod) {
		if user := cmp.Or(c.SecurityContext.RunAsUser, pod.Spec.SecurityContext.RunAsUser); user != nil && *user == int64(*uid) {
			same = append(same, c.Name)
		}
	}
	if len(same) < 2 {
		return nil
	}
	return []Finding{{About: AboutPod, Level: Warning,
		Text:   fmt.Sprintf("the containers %s run as uid %d: --vault-uid does not distinguish them, and each may take Vault's place while it is down", strings.Join(same, ", "), *uid),
		Advice: "give each container but Vault's a runAsUser of its own"}}
}

// evaluateCapture tells which containers can read what goes to Vault over plain
// HTTP: loopback is the whole pod's, and the capability NET_RAW, which container
// runtimes give to root, reads it. No uid of who listens tells of that.
func evaluateCapture(pod *pod, plain bool) []Finding {
	if !plain {
		return nil
	}
	var able []string
	for _, c := range containersBesideVault(pod) {
		if why := captures(pod, c.SecurityContext); why != "" {
			able = append(able, c.Name+" ("+why+")")
		}
	}
	if len(able) == 0 {
		return nil
	}
	return []Finding{{About: AboutPod, Level: Warning,
		Text: "the key goes over plain HTTP, and these containers can read it and all other requests to Vault, which --vault-uid does not prevent: " +
			strings.Join(able, ", "),
		Advice: "drop the capability NET_RAW there (drop: [ALL]), or give Vault a listener on a Unix socket (--vault-addr unix:///PATH) or with TLS"}}
}

// captures says why a container can read the pod's loopback; "" when it cannot.
// One that cannot run as root has no capabilities, other than from a file of its
// image: that is not seen here.
func captures(pod *pod, s securityContext) string {
	if s.Privileged {
		return "is privileged"
	}
	for _, name := range s.Capabilities.Add {
		if name = capability(name); name == "NET_RAW" || name == "NET_ADMIN" || name == "ALL" {
			return "adds " + name
		}
	}
	user := cmp.Or(s.RunAsUser, pod.Spec.SecurityContext.RunAsUser)
	nonRoot := cmp.Or(s.RunAsNonRoot, pod.Spec.SecurityContext.RunAsNonRoot)
	dropped := slices.ContainsFunc(s.Capabilities.Drop, func(name string) bool {
		return capability(name) == "ALL" || capability(name) == "NET_RAW"
	})
	if dropped || user != nil && *user > 0 || nonRoot != nil && *nonRoot {
		return ""
	}
	return "may run as root and does not drop NET_RAW"
}

// capability is a capability's name as the kernel has it. Runtimes take it in any
// case, and with a prefix.
func capability(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// otherContainers are the containers that run while Vault does, but ours.
func otherContainers(pod *pod) (out []container) {
	out = append(out, pod.Spec.Containers...)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy == "Always" { // the others have ended when Vault starts
			out = append(out, c)
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if !hasEnded(pod, c) { // and is never started again
			out = append(out, c)
		}
	}
	return slices.DeleteFunc(out, container.isOurs)
}

func hasEnded(pod *pod, c container) bool {
	return slices.ContainsFunc(pod.Status.EphemeralContainerStatuses, func(s containerStatus) bool {
		_, ended := s.State["terminated"]
		return s.Name == c.Name && ended
	})
}

// containersBesideVault are those of them that are not Vault's. Vault's has the name
// that the charts give it, or else is the pod's first.
func containersBesideVault(pod *pod) []container {
	all := otherContainers(pod)
	named := func(c container) bool { return c.Name == "vault" || c.Name == "openbao" }
	at := max(0, slices.IndexFunc(all, named))
	return slices.Delete(all, at, min(at+1, len(all)))
}
