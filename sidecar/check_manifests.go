package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

// manifestsCommand judges what was rendered, without a cluster, Vault and a key.
func manifestsCommand(c config, args []string, in io.Reader, stdout, stderr io.Writer) int {
	for _, flag := range []string{"kubeconfig", "context", "pod-name", "prove-key", "expect-key"} {
		if slices.Contains(c.given, flag) {
			fmt.Fprintf(stderr, "vault-unseal-sidecar: --%s: --manifests looks at no cluster and no key; leave out one of them\n", flag)
			return exitUsage
		}
	}
	if c.manifests != "-" {
		file, err := os.Open(c.manifests)
		if err != nil {
			fmt.Fprintf(stderr, "vault-unseal-sidecar: --manifests: %v\n", err)
			return exitUsage
		}
		defer file.Close()
		in = file
	}
	rendering, err := check.ReadRendering(in, c.podNamespace)
	var malformed check.Malformed
	if errors.As(err, &malformed) {
		fmt.Fprintf(stderr, "vault-unseal-sidecar: --manifests: %v\n", err)
		return exitUsage
	}
	if err != nil {
		fmt.Fprintf(stderr, "vault-unseal-sidecar: the check could not run: reading the manifests: %v\n", err)
		return exitFailed
	}
	findings := append(notFromHere(), rendering.Check(func(s check.Start) (check.Config, []check.Finding) {
		there, said := renderedOptions(c, args, s)
		return checkConfig(there), said
	})...)
	return showFindings(c, findings, stdout, stderr)
}

// renderedOptions reads the options of a sidecar in a rendering. What ends its start is
// told as such: there is no container yet of which that could be seen.
func renderedOptions(c config, args []string, s check.Start) (config, []check.Finding) {
	start := s.Args
	if len(start) > 0 && start[0] == "run" {
		start = start[1:]
	}
	there, err := parse(start, func(name string) (string, bool) {
		if slices.Contains(s.UnresolvedEnv, name) && strings.HasPrefix(name, "POD_") {
			return "of-the-downward-api", true
		}
		v, ok := s.Env[name]
		return v, ok
	})
	unresolved := func(name string) bool { return strings.HasPrefix(name, "VAULT_CLIENT_") }
	if err == nil && len(s.Unclear) == 0 && !slices.ContainsFunc(s.UnresolvedEnv, unresolved) {
		err = there.incompletePair()
	}
	var said []check.Finding
	if err != nil {
		there, _ = parse(nil, noVariables)
		said = []check.Finding{{About: check.AboutPod, Level: check.Failure,
			Text:   fmt.Sprintf("the sidecar ends at its start, with exit code %d: %v", exitUsage, err),
			Advice: "correct it in the StatefulSet's template"}}
	}
	pod, namespace := there.podName, there.podNamespace
	if err != nil || len(s.Unclear) > 0 { // or more would be found of the same
		pod, namespace = "unknown", "unknown"
	}
	if err == nil {
		there, said = containerOptions(c, args, s)
	}
	there.podName, there.podNamespace = pod, namespace
	return there, said
}

func noVariables(string) (string, bool) { return "", false }
