package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// checkCommand looks at all that the next recovery depends on, tells it, and
// changes nothing. It takes the options of the sidecar that it runs beside, or,
// with a kubeconfig, those of a person elsewhere, who sees Kubernetes alone.
// The arguments are those that the options came from.
func checkCommand(c config, args []string, unprotected error, stdout, stderr io.Writer) int {
	if c.manifests != "" {
		return manifestsCommand(c, args, os.Stdin, stdout, stderr)
	}
	c.kubeconfig = c.findKubeconfig()
	if c.kubeContext != "" && c.kubeconfig == "" {
		fmt.Fprintln(stderr, "vault-unseal-sidecar: --context: there is no kubeconfig; set --kubeconfig or KUBECONFIG")
		return exitUsage
	}
	if c.kubeconfig != "" && (c.podName == "" || c.podNamespace == "") {
		fmt.Fprintln(stderr, "vault-unseal-sidecar: --kubeconfig: which pod to look at is not said; set --pod-name and --pod-namespace")
		return exitUsage
	}
	if c.kubeconfig != "" && (c.proveKey || c.expectKey != "") {
		fmt.Fprintln(stderr, "vault-unseal-sidecar: --prove-key, --expect-key: the key is in the pod; run it there, without --kubeconfig")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	findings, err := runChecks(ctx, c, args, unprotected)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		fmt.Fprintf(stderr, "vault-unseal-sidecar: the check could not run: %v\n", err)
		return exitFailed
	}
	return showFindings(c, findings, stdout, stderr)
}

// showFindings shows what was found, the worst first, and returns the exit code.
func showFindings(c config, findings []check.Finding, stdout, stderr io.Writer) int {
	check.Sort(findings)
	show := check.Table
	if c.outputJSON {
		show = check.JSON
	}
	if err := show(stdout, findings); err != nil {
		fmt.Fprintf(stderr, "vault-unseal-sidecar: telling what was found: %v\n", err)
		return exitFailed
	}
	return check.ExitCode(check.Worst(findings))
}

// findKubeconfig returns the kubeconfig with which check looks from outside; "" in the pod.
func (c config) findKubeconfig() string {
	if c.kubeconfig == "" && (c.podName != "" || c.kubeContext != "") && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		if _, err := os.Stat(kube.HomeKubeconfig()); err == nil {
			return kube.HomeKubeconfig()
		}
	}
	return c.kubeconfig
}

func runChecks(ctx context.Context, c config, args []string, unprotected error) ([]check.Finding, error) {
	var out []check.Finding
	if unprotected != nil {
		out = append(out, check.Finding{About: check.AboutKey, Level: check.Warning,
			Text: "memory protection is incomplete: " + unprotected.Error(), Advice: "see what of the container's seccomp profile forbids it"})
	}
	here := checkInContainer
	if c.kubeconfig != "" {
		here = checkFromOutside
	} else { // a person's variables are not the pod's
		out = append(out, refusedFindings(c.refused)...)
	}
	findings, err := here(ctx, c)
	if err != nil {
		return nil, err
	}
	around, err := checkCluster(ctx, c, args)
	return slices.Concat(out, findings, around), err
}

// checkFromOutside tells what only the pod can see.
func checkFromOutside(context.Context, config) ([]check.Finding, error) { return notFromHere(), nil }

func notFromHere() []check.Finding {
	const text, advice = "not looked at from here: it is in the pod", "run check in the container too"
	return []check.Finding{
		{About: check.AboutKey, Level: check.Unknown, Text: text, Advice: advice},
		{About: check.AboutVault, Level: check.Unknown, Text: text, Advice: advice},
	}
}

// checkCluster looks at Kubernetes.
func checkCluster(ctx context.Context, c config, args []string) ([]check.Finding, error) {
	unknown := func(text string) ([]check.Finding, error) {
		return []check.Finding{{About: check.AboutAPI, Level: check.Unknown, Text: text}}, nil
	}
	switch {
	case c.kubernetes == "off":
		return unknown("not looked at: --kubernetes is off")
	case c.kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "":
		return unknown("not looked at: this is no pod, and --kubeconfig is not given")
	case c.podName == "" || c.podNamespace == "":
		return []check.Finding{{About: check.AboutPod, Level: check.Warning,
			Text:   "the sidecar does not know its own pod: it writes no readiness gate and no Events",
			Advice: "set POD_NAME and POD_NAMESPACE from the downward API"}}, nil
	}
	checker, err := check.NewChecker(checkConfig(c), func(s check.Start) (check.Config, []check.Finding) {
		there, said := containerOptions(c, args, s)
		return checkConfig(there), said
	})
	if err != nil && c.kubeconfig == "" {
		return []check.Finding{{About: check.AboutAPI, Level: check.Warning, Text: "the Kubernetes API is not used: " + err.Error(),
			Advice: "mount a token of a ServiceAccount, or set --kubernetes off"}}, nil
	}
	if err != nil {
		return nil, err
	}
	return checker.Check(ctx)
}

// refusedFindings tells of values that the sidecar does not accept either, and
// works without.
func refusedFindings(refused []refusedValue) (out []check.Finding) {
	for _, r := range refused {
		out = append(out, check.Finding{About: check.AboutPod, Level: check.Warning,
			Text: fmt.Sprintf("%v; the default is used: %q", r, r.used), Advice: "correct it in the StatefulSet's template"})
	}
	return out
}
