// Command vault-unseal-sidecar unseals the HashiCorp Vault beside it.
//
// It runs in Vault's pod, reads the unseal key from a mounted Secret, waits
// until Vault's storage serves, and unseals Vault at that moment: after every
// restart, for as long as the pod lives. It needs no rights.
//
// A Vault that is sealed on purpose stays sealed. A key that Vault refuses is
// not sent again. What it does and why is in its log, in status, on the page
// that it serves to kubectl port-forward, and in the README.
//
// Usage:
//
//	vault-unseal-sidecar [run] [options]
//	vault-unseal-sidecar check [--output table|json] [--prove-key] [options]
//	vault-unseal-sidecar status [--watch] [--output text|json] [options]
//	vault-unseal-sidecar version
//
// Each option is a flag and an environment variable; the flag wins. Run it
// with --help for the list. It ends with 0 when it was asked to stop, with 1
// when it failed, and with 2 when it was called wrongly; check ends with 3 when
// it has a warning to tell, and with 4 when it found a failure.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/hardening"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/metrics"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/procid"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/web"
)

// The exit codes.
const (
	exitStopped = 0
	exitFailed  = 1
	exitUsage   = 2
)

// The files in --state-dir.
const (
	stateName = "state.json"
	proofName = "proof.json"
)

// endsWithin is how long the parts may take to end.
const endsWithin = 800 * time.Millisecond

func main() {
	limitHeap()
	os.Exit(command(os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// command runs a subcommand and returns the exit code.
func command(args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	name := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	switch name {
	case "run", "status", "check":
		c, err := parse(args, env, ownOptions[name]...)
		if err == nil {
			err = c.halfPair()
		}
		if err == nil && name != "run" {
			err = c.mistyped()
		}
		if errors.Is(err, errHelp) {
			usage(stdout)
			return exitStopped
		}
		if err != nil {
			fmt.Fprintf(stderr, "vault-unseal-sidecar: %v\n", err)
			return exitUsage
		}
		switch name {
		case "status":
			return status(c, stdout, stderr)
		case "check":
			return preflight(c, args, stdout, stderr)
		}
		return run(c, stderr)
	case "version":
		return tellVersion(stdout, ownFile)
	default:
		fmt.Fprintf(stderr, "vault-unseal-sidecar: no such command: %s; there are run (the default), check, status and version\n", shown(name))
		return exitUsage
	}
}

// run wires the parts and lets them work until a signal asks to stop.
func run(c config, stderr io.Writer) int {
	log := hclog.New(&hclog.LoggerOptions{
		Output:     stderr,
		Level:      c.logLevel,
		JSONFormat: c.logJSON,
		TimeFn:     utc,
	})
	if err := hardening.Process(); err != nil {
		log.Warn("memory is less protected than it should be", "error", err)
	}
	forgetVaultEnvironment()
	release := func() {
		if err := giveBack(); err != nil {
			log.Debug("memory is not given back", "error", err)
		}
	}
	release() // what the packages' initializers have read, two thirds of the memory by now

	wake := make(chan struct{}, 1)
	hint := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	wire := c.vault()
	processes := identity(c.vaultAddr)
	wire.Broken, wire.Process = hint, processes.Process
	client, err := vault.New(wire)
	if err != nil { // the address was accepted by the option table
		fmt.Fprintf(stderr, "vault-unseal-sidecar: --vault-cacert, VAULT_CACERT: %q is not accepted: %v; accepted: a file of PEM certificates\n", c.vaultCACert, err)
		return exitUsage
	}
	keys := keyfile.New(c.keys)
	var loop *unseal.Loop
	counts := metrics.New(version, commit, func() bool { return web.Stuck(loop.Turned()) }, client.Certificates)
	server := web.New(web.Config{Bind: c.httpBind, Version: version, Log: log, Metrics: counts.Handler()})
	around := newCluster(c, log, counts, func(r kube.Report) {
		counts.PublishCluster(counted(r))
		server.PublishCluster(shownOf(r))
	})
	proofs := unseal.NewProofs(unseal.Proofs{
		Prover: newProver(c, client, keys), Every: c.proveInterval, Log: log,
		Publish: func(p unseal.Proof) {
			counts.PublishProof(p)
			server.PublishProof(p)
		},
	})
	loop = unseal.New(unseal.Config{
		Vault:        client,
		Keys:         keys,
		Processes:    processes,
		Store:        statefile.New(c.stateDir, stateName),
		Log:          log,
		HoldSeals:    c.operatorSeal == "hold",
		StorageProbe: c.storageProbe,
		Wake:         wake,
		Meter:        counts,
		Publish: func(s unseal.State) {
			counts.Publish(s)
			server.Publish(s)
			around.Publish(s)
			proofs.Take(s)
		},
	})
	server.Turned = loop.Turned

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	// First of all: a log that nobody reads holds up whoever writes to it.
	group.Go(func() error { watchOver(ctx, loop.Turned, log); return nil })
	log.Info("vault-unseal-sidecar", "version", version, "vault", c.vaultAddr, "keys", c.keys)
	for _, r := range c.refused {
		log.Warn("an option's value is not accepted, its default is used", "option", r.option, "value", r.value, "accepted", r.accepts, "used", r.used)
	}
	group.Go(func() error { loop.Run(ctx); return nil })
	group.Go(func() error { server.Run(ctx); return nil })
	group.Go(func() error {
		if err := keys.Watch(ctx, hint); err != nil && ctx.Err() == nil {
			log.Warn("key changes are seen by looking once a second only", "error", err)
		}
		return nil
	})
	group.Go(func() error { around.Run(ctx); return nil })
	group.Go(func() error { proofs.Run(ctx); return nil })
	settled := time.AfterFunc(settledAfter, release)
	defer settled.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = group.Wait() // none of them returns an error
	}()
	<-ctx.Done()
	select {
	case <-ended:
	case <-time.After(endsWithin): // a disk that hangs holds nobody up
	}
	log.Info("stopped")
	return exitStopped
}

// cluster is what is told of Vault in Kubernetes.
type cluster interface {
	Publish(unseal.State)
	Run(context.Context)
}

// alone stands where there is no Kubernetes to tell.
type alone struct{}

func (alone) Publish(unseal.State) {}
func (alone) Run(context.Context)  {}

// newCluster never fails: whatever is wrong there, Vault is unsealed.
func newCluster(c config, log hclog.Logger, counts *metrics.Metrics, report func(kube.Report)) cluster {
	inPod := os.Getenv("KUBERNETES_SERVICE_HOST") != ""
	if c.kubernetes == "off" || !inPod && c.kubeconfig == "" {
		return alone{}
	}
	if c.podName == "" || c.podNamespace == "" {
		log.Warn("our own pod is not known, nothing is told on it", "advice", "set POD_NAME and POD_NAMESPACE from the downward API")
	}
	k, err := kube.NewGuarded(kube.Config{
		Kubeconfig: c.kubeconfig, Pod: c.podName, Namespace: c.podNamespace, Gate: c.readinessGate, Version: version,
		Recovery: c.esoRecovery, Stores: c.esoStores, ESONamespace: c.esoNamespace, Log: log, Meter: counts,
		Report: report,
	})
	if err != nil {
		log.Warn("the kubernetes API is not used", "error", err, "advice", "mount a token of a ServiceAccount, or set --kubernetes off")
		return alone{}
	}
	return k
}

// shownOf is what a person is shown of a report.
func shownOf(r kube.Report) web.Cluster {
	c := web.Cluster{Status: r.Status, Reason: r.Reason, Message: r.Message, LeftCount: r.LeftCount, Left: r.Left, Image: r.Image}
	for _, s := range r.Stores {
		c.Stores = append(c.Stores, web.Store(s))
	}
	return c
}

// tokenFile is the token of the pod's own ServiceAccount, where a pod has it.
const tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

func newProver(c config, v *vault.Client, k *keyfile.Source) *unseal.Prover {
	p := &unseal.Prover{Vault: v, Keys: k, Lock: statefile.New(c.stateDir, "proof"), Notes: statefile.New(c.stateDir, proofName)}
	if c.proveRole != "" {
		p.Login = func(ctx context.Context) (unseal.Session, error) { return login(ctx, c, v) }
	}
	return p
}

func login(ctx context.Context, c config, v *vault.Client) (*vault.Client, error) {
	return v.Login(ctx, vault.Login{Mount: c.proveMount, Role: c.proveRole, TokenFile: tokenFile})
}

// counted is what the metrics tell of a report.
func counted(r kube.Report) metrics.Cluster {
	c := metrics.Cluster{Left: r.LeftCount}
	for _, s := range r.Stores {
		if s.Ready {
			c.Ready++
		} else {
			c.NotReady++
		}
	}
	return c
}

// vault is how Vault is spoken to.
func (c config) vault() vault.Config {
	v := vault.Config{
		Addr: c.vaultAddr, CACert: c.vaultCACert, ServerName: c.vaultServerName,
		ClientCert: c.vaultClientCert, ClientKey: c.vaultClientKey,
	}
	if c.vaultUID != nil {
		v.Trusts = procid.NewOwner(*c.vaultUID).Check
	}
	return v
}

// forgetVaultEnvironment takes away what vault/api would read by itself:
// a token, a proxy, a switch that turns verification off. The option table is
// the only way in.
func forgetVaultEnvironment() {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "VAULT_") {
			_ = os.Unsetenv(name)
		}
	}
}

// identity names the process that listens where Vault should.
func identity(vaultAddr string) unseal.Processes {
	if path, found := vault.SocketPath(vaultAddr); found {
		return procid.NewSocket(path)
	}
	u, _ := url.Parse(vaultAddr) // accepted by the option table
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	id, err := procid.New(net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nameless{err}
	}
	return id
}

// nameless stands where processes cannot be told apart.
type nameless struct{ why error }

func (n nameless) Process() (string, error) { return "", n.why }
