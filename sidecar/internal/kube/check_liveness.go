package kube

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

// judgeLiveness looks for a probe that would have the kubelet kill a Vault for
// being sealed: it then never stays up until its storage is back.
func judgeLiveness(pod *unstructured.Unstructured) []check.Finding {
	var out []check.Finding
	for _, container := range entries(pod.Object, "spec", "containers") {
		probe, found, _ := unstructured.NestedMap(container, "livenessProbe")
		if !found || isOurs(container) {
			continue
		}
		name, _ := container["name"].(string)
		if why := killsSealed(probe); why != "" {
			out = append(out, check.Finding{About: check.AboutPod, Level: check.Failure,
				Text:   fmt.Sprintf("the liveness probe of the container %s fails while Vault is sealed (%s): it is killed while it waits for its storage", name, why),
				Advice: "take the probe away (server.livenessProbe.enabled=false in the chart)"})
		}
	}
	if len(out) == 0 {
		out = append(out, check.Finding{About: check.AboutPod, Text: "no liveness probe kills Vault for being sealed"})
	}
	return out
}

// killsSealed says why a probe fails while Vault is sealed or not initialized;
// "" when it does not.
func killsSealed(probe map[string]any) string {
	if command, found, _ := unstructured.NestedStringSlice(probe, "exec", "command"); found {
		if strings.Contains(strings.Join(command, " "), "vault status") {
			return "vault status exits with 2"
		}
		return ""
	}
	path, _, _ := unstructured.NestedString(probe, "httpGet", "path")
	asked, err := url.Parse(path)
	if err != nil || strings.TrimSuffix(asked.Path, "/") != "/v1/sys/health" {
		return ""
	}
	for _, state := range []struct {
		option string
		preset int // the status that Vault gives by itself (http/sys_health.go)
	}{{"sealedcode", 503}, {"uninitcode", 501}} {
		code := state.preset
		if text := asked.Query().Get(state.option); text != "" {
			code, _ = strconv.Atoi(text)
		}
		if code < 200 || code >= 400 { // what a kubelet takes for a success
			return fmt.Sprintf("%s is %d", state.option, code)
		}
	}
	return ""
}
