package kube

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

// judgeNetwork tells whether others than the pod's own containers can take the
// place of a Vault that is down.
func judgeNetwork(pod *unstructured.Unstructured, plain bool) []check.Finding {
	shared, _, _ := unstructured.NestedBool(pod.Object, "spec", "hostNetwork")
	switch {
	case !shared:
		return nil
	case !plain:
		return []check.Finding{{About: check.AboutPod, Text: "the pod shares the network of its node, and the key does not go over plain HTTP"}}
	}
	return []check.Finding{{About: check.AboutPod, Level: check.Failure,
		Text: "the pod shares the network of its node, and the key goes over plain HTTP: " +
			"while Vault is down every process of the node can take its port and is sent the key",
		Advice: "take hostNetwork away, or give Vault a listener with TLS (--vault-addr, --vault-cacert) or on a Unix socket"}}
}

// judgeUsers tells whether several containers run as the user that gets the key:
// one that says no user of its own has that of the pod.
func judgeUsers(pod *unstructured.Unstructured, uid *uint32) []check.Finding {
	if uid == nil {
		return nil
	}
	var same []string
	for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, container := range entries(pod.Object, "spec", field) {
			if field == "initContainers" && container["restartPolicy"] != "Always" || isOurs(container) {
				continue // it has ended when Vault starts
			}
			user, found, _ := unstructured.NestedInt64(container, "securityContext", "runAsUser")
			if !found {
				user, found, _ = unstructured.NestedInt64(pod.Object, "spec", "securityContext", "runAsUser")
			}
			if name, _ := container["name"].(string); found && user == int64(*uid) {
				same = append(same, name)
			}
		}
	}
	if len(same) < 2 {
		return nil
	}
	return []check.Finding{{About: check.AboutPod, Level: check.Warning,
		Text:   fmt.Sprintf("the containers %s run as uid %d: --vault-uid does not tell them apart, and each may take Vault's place while it is down", strings.Join(same, ", "), *uid),
		Advice: "give each container but Vault's a runAsUser of its own"}}
}
