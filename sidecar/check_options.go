package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
)

// decidingOptions are the options that decide what Kubernetes has to hold.
var decidingOptions = []string{"vault-addr", "vault-uid", "kubernetes", "readiness-gate", "eso-recovery", "eso-stores", "eso-namespace", "eso-deployment"}

func checkConfig(c config) check.Config {
	variables := make([]string, 0, len(options))
	for _, o := range options {
		variables = append(variables, o.env)
	}
	return check.Config{
		Keys: c.keys, Variables: variables,
		Kubeconfig: c.kubeconfig, Context: c.kubeContext, Version: version, Pod: c.podName, Namespace: c.podNamespace,
		KubernetesOff: c.kubernetes == "off", Gate: c.readinessGate, ESO: c.eso(),
		PlainHTTP: strings.HasPrefix(strings.ToLower(c.vault.Addr), "http:"), VaultUID: c.vaultUID,
	}
}

// eso is what is to be done for External Secrets.
func (c config) eso() eso.Config {
	return eso.Config{Recovery: c.esoRecovery, Stores: c.esoStores, ControllerNamespace: c.esoNamespace,
		Deployment: c.esoDeployment, Pod: c.podName, Namespace: c.podNamespace}
}

// containerOptions reads the options of the sidecar in the pod, as it would itself.
// The flags of whoever calls win; his variables are not the pod's.
func containerOptions(c config, args []string, s check.Start) (config, []check.Finding) {
	var said []check.Finding
	tell := func(level check.Level, text, advice string) {
		said = append(said, check.Finding{About: check.AboutPod, Level: level, Text: text, Advice: advice})
	}
	if len(s.Args) > 0 && s.Args[0] == "run" {
		s.Args = s.Args[1:]
	}
	args = slices.Concat(s.Args, args) // the last of a flag counts
	there, err := parse(args, func(name string) (string, bool) { v, ok := s.Env[name]; return v, ok }, checkOptions...)
	if err != nil {
		tell(check.Warning, fmt.Sprintf("the sidecar's container has an option that is refused here: %v; judged by the options of this check", err),
			"correct it in the StatefulSet's template, or check with the binary of the pod's own version")
		return c, said
	}
	said = append(said, refusedFindings(there.refused)...)
	for _, o := range options {
		if !slices.Contains(decidingOptions, o.flag) || slices.Contains(there.given, o.flag) {
			continue
		}
		if _, known := s.Env[o.env]; !known && slices.Contains(s.UnresolvedEnv, o.env) {
			tell(check.Unknown, fmt.Sprintf("%s of the sidecar's container is not written in the pod; judged as if it were %q", o.env, o.defaultValue),
				"give --"+o.flag+" to check as it is there")
		}
	}
	for _, what := range s.Unclear {
		tell(check.Unknown, "the pod does not say "+what+" in the sidecar's container; judged without", "give check the options that come of it")
	}
	there.kubeconfig, there.kubeContext = c.kubeconfig, c.kubeContext
	there.podName, there.podNamespace = c.podName, c.podNamespace
	if there.kubernetes == "off" { // it then does nothing of all that
		there.readinessGate, there.esoRecovery = "", eso.RecoveryOff
	}
	return there, said
}
