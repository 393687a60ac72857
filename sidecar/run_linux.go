package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/metrics"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/procid"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/web"
)

// The files in --state-dir.
const (
	stateName    = "state.json"
	proofName    = "proof.json"
	evictionName = "eviction.json"
)

// endsWithin is how long the parts may take to end.
const endsWithin = 800 * time.Millisecond

// run wires the parts and lets them work until a signal asks to stop. What the process lacks
// in protection is logged.
func run(c config, unprotected error, stderr io.Writer) int {
	log := hclog.New(&hclog.LoggerOptions{
		Output:     stderr,
		Level:      c.logLevel,
		JSONFormat: c.logJSON,
		TimeFn:     utc,
	})
	if unprotected != nil {
		log.Warn("memory protection is incomplete", "error", unprotected)
	}
	forgetVaultEnvironment()
	release := func() {
		if err := releaseStartupMemory(); err != nil {
			log.Debug("memory is not given back", "error", err)
		}
	}
	release() // what the packages' initializers have read, two thirds of the memory by now
	settled := time.AfterFunc(settledAfter, release)
	defer settled.Stop()

	all, err := wire(c, log)
	if err != nil { // the address was accepted by the option table
		fmt.Fprintf(stderr, "vault-unseal-sidecar: --vault-cacert, VAULT_CACERT: %q is not accepted: %v; accepted: a file of PEM certificates\n", c.vault.CACert, err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ended := all.work(ctx, c, log)
	<-ctx.Done()
	select {
	case <-ended:
	case <-time.After(endsWithin): // a disk that hangs holds nobody up
	}
	log.Info("stopped")
	return exitStopped
}

// parts are what works side by side.
type parts struct {
	loop           *unseal.Loop
	keys           *keyfile.Source
	proofs         *unseal.ProofSchedule
	kubernetesHalf *restarted // nil without Kubernetes
	server         *web.Server
	notify         func() // wakes the loop
}

// wire makes the parts. It fails when Vault's CA cannot be used.
func wire(c config, log hclog.Logger) (*parts, error) {
	wake := make(chan struct{}, 1)
	p := &parts{keys: keyfile.New(c.keys), notify: func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}}
	processes, to := identity(c.vault.Addr), c.vaultConfig()
	to.Broken, to.Process = p.notify, processes.Process
	client, err := vault.New(to)
	if err != nil {
		return nil, err
	}
	latest := status.NewLatest(version)
	counts := metrics.New(commit, latest, client.Certificates)
	p.server = web.New(web.Config{Bind: c.httpBind, Latest: latest, Log: log, Metrics: counts.Handler()})
	p.kubernetesHalf = newCluster(c, log, counts, latest)
	p.proofs = unseal.NewProofSchedule(unseal.ProofSchedule{
		Prover: newProver(c, client, p.keys), Every: c.proveInterval, Log: log, Publish: latest.PublishProof,
	})
	p.loop = unseal.New(unseal.Config{
		Vault:        client,
		Keys:         p.keys,
		Processes:    processes,
		Store:        statefile.New(c.stateDir, stateName),
		Log:          log,
		HoldSeals:    c.operatorSeal == "hold",
		StorageProbe: c.storageProbe,
		Wake:         wake,
		Meter:        counts,
		Publish: func(s unseal.Snapshot) {
			latest.Publish(s)
			if p.kubernetesHalf != nil {
				p.kubernetesHalf.Publish(s)
			}
			p.proofs.Update(s)
		},
	})
	latest.Turned = p.loop.Turned
	return p, nil
}

// work lets all parts work until ctx is done. What it returns is closed when they
// have ended.
func (p *parts) work(ctx context.Context, c config, log hclog.Logger) (ended chan struct{}) {
	var group sync.WaitGroup
	// First of all: a log that nobody reads holds up whoever writes to it.
	group.Go(func() { watchdog{p.loop.Turned, log, os.Exit}.run(ctx) })
	log.Info("vault-unseal-sidecar", "version", version, "vault", c.vault.Addr, "keys", c.keys)
	for _, r := range c.refused {
		log.Warn("an option's value is not accepted, its default is used",
			"option", r.option, "value", r.value, "accepted", r.accepts, "used", r.used)
	}
	group.Go(func() { p.loop.Run(ctx) })
	group.Go(func() { p.server.Run(ctx) })
	group.Go(func() {
		if err := p.keys.Watch(ctx, p.notify); err != nil && ctx.Err() == nil {
			log.Warn("key changes are seen by looking once a second only", "error", err)
		}
	})
	if p.kubernetesHalf != nil {
		group.Go(func() { p.kubernetesHalf.Run(ctx) })
	}
	group.Go(func() { p.proofs.Run(ctx) })
	ended = make(chan struct{})
	go func() {
		group.Wait()
		close(ended)
	}()
	return ended
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

// vaultConfig is how Vault is spoken to: where a uid is given, only with its processes.
func (c config) vaultConfig() vault.Config {
	if c.vaultUID != nil {
		c.vault.Trusts = procid.NewOwner(*c.vaultUID).Check
	}
	return c.vault
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
	if at := vault.Loopback(vaultAddr); len(at) > 0 {
		return procid.New(at)
	}
	return unknownProcess{fmt.Errorf("naming the process behind %q: not a loopback address, so its sockets cannot be seen from here", vaultAddr)}
}

// unknownProcess stands where processes cannot be told apart.
type unknownProcess struct{ why error }

func (n unknownProcess) Process() (string, error) { return "", n.why }
