package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/harden"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
)

// vaultWithin is how long Vault may take to answer a check. One that hangs is
// something to tell, and nothing to wait for.
const vaultWithin = 5 * time.Second

// preflight looks at all that the next recovery depends on, tells it, and
// changes nothing. It takes the options of the sidecar that it runs beside, or,
// with a kubeconfig, those of a person elsewhere, who sees Kubernetes alone.
func preflight(c config, stdout, stderr io.Writer) int {
	if c.kubeconfig != "" && (c.podName == "" || c.podNamespace == "") {
		fmt.Fprintln(stderr, "vault-unseal-sidecar: --kubeconfig: which pod to look at is not said; set --pod-name and --pod-namespace")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	findings, err := look(ctx, c)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		fmt.Fprintf(stderr, "vault-unseal-sidecar: the check could not run: %v\n", err)
		return exitFailed
	}
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

func look(ctx context.Context, c config) ([]check.Finding, error) {
	if err := harden.Process(); err != nil {
		return nil, err
	}
	forgetVaultEnvironment()
	findings, err := lookHere(ctx, c)
	if err != nil {
		return nil, err
	}
	around, err := lookAround(ctx, c)
	return append(findings, around...), err
}

// lookHere looks at what is on this machine. From elsewhere that is only what
// was named.
func lookHere(ctx context.Context, c config) ([]check.Finding, error) {
	elsewhere := func(about, option string) (check.Finding, bool) {
		return check.Finding{About: about, Level: check.Unknown,
			Text:   fmt.Sprintf("not looked at: it is in the pod, and --%s is not given", option),
			Advice: "run check in the container too"}, c.kubeconfig != "" && !c.has(option)
	}
	var out []check.Finding
	var seen check.Vault
	if f, skip := elsewhere(check.AboutVault, "vault-addr"); skip {
		seen.Err = errors.New("not looked at")
		out = append(out, f)
	} else {
		client, err := vault.New(vault.Config{Addr: c.vaultAddr, CACert: c.vaultCACert, ServerName: c.vaultServerName})
		if err != nil {
			return nil, fmt.Errorf("--vault-cacert, VAULT_CACERT: %w", err)
		}
		seen = lookAtVault(ctx, client)
		out = append(out, seen.Judge())
	}
	if f, skip := elsewhere(check.AboutKey, "keys"); skip {
		return append(out, f), nil
	}
	keys := keyfile.New(c.keys)
	shares, err := keys.Read()
	defer unseal.WipeAll(shares)
	out = append(out, lookAtKey(c, keys, shares, err).Judge(seen)...)
	if f, skip := elsewhere(check.AboutRecovery, "state-dir"); err == nil && !skip {
		out = append(out, lookBack(c, shares).Judge(time.Now()))
	} else if err == nil {
		out = append(out, f)
	}
	return out, nil
}

func lookAtVault(ctx context.Context, client *vault.Client) check.Vault {
	ctx, cancel := context.WithTimeout(ctx, vaultWithin)
	defer cancel()
	s, err := client.SealStatus(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it takes connections and gives no answer within %v", vaultWithin)
	}
	return check.Vault{
		Err: err, Initialized: s.Initialized, Sealed: s.Sealed, Type: s.Type, Threshold: s.Threshold, Shares: s.Shares,
		Migration: s.Migration, Raft: s.Raft, Removed: s.Removed,
	}
}

func lookAtKey(c config, keys *keyfile.Source, shares []unseal.Share, err error) check.Key {
	k := check.Key{Path: c.keys, Err: err}
	for _, s := range shares {
		k.Lengths = append(k.Lengths, s.Len())
	}
	if facts, err := keys.Inspect(); err == nil {
		k.Repeated, k.Padded, k.Loose, k.Writable = facts.Repeated, facts.Padded, facts.Loose, facts.Writable
	}
	return k
}

// lookBack reads what the sidecar that runs here has written down.
func lookBack(c config, shares []unseal.Share) check.Recovery {
	var m unseal.Memory
	if err := statefile.New(c.stateDir, stateName).Load(&m); err != nil {
		return check.Recovery{Err: errors.Unwrap(err)} // without what a start would make of it
	}
	r := check.Recovery{Same: m.Fits(shares)}
	if m.Opened != nil {
		r.Opened = m.Opened.At
	}
	if len(m.History) > 0 {
		r.Took = m.History[0].Took
	}
	return r
}

// lookAround looks at Kubernetes.
func lookAround(ctx context.Context, c config) ([]check.Finding, error) {
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
	checker, err := kube.NewChecker(kube.Config{
		Kubeconfig: c.kubeconfig, Pod: c.podName, Namespace: c.podNamespace, Gate: c.readinessGate, Version: version,
		Recovery: c.esoRecovery, Stores: c.esoStores, ESONamespace: c.esoNamespace,
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
