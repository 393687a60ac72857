// Package integration runs the built sidecar against the real Vault, as
// tables of phases: something is done, then something is waited for. Nothing
// here sleeps and hopes.
package integration

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// waitTimeout bounds every wait. It is generous: a wait that is met costs only
// the time it takes.
const waitTimeout = 40 * time.Second

// setup is what a scenario starts with.
type setup struct {
	shares             int // of the key; zero: 1
	threshold          int // zero: 1
	stallable          bool
	raft               bool
	tls                *testenv.CA
	listeners          string        // of Vault's, beside the one that the test itself uses; in HCL
	maxRequestDuration time.Duration // that Vault sets a request; zero: its own
	cluster            bool          // in Kubernetes
	crds               bool          // of External Secrets, there from the start
	withoutRBAC        bool          // without what the manifests grant
	uninitialized      bool          // Vault is not initialized
	args               []string      // more options for the sidecar
	env                []string
	mountedShares      func(keys []string) []string // which shares are mounted; nil: all
}

// clusters are used by one test after another.
var clusters testenv.Clusters

func TestMain(m *testing.M) {
	code := m.Run()
	if err := clusters.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "closing the clusters:", err)
		code = 1
	}
	os.Exit(code)
}

// scenario is one Vault, its mounted Secret, and the sidecars that were started.
type scenario struct {
	*testing.T
	ctx                context.Context
	env                *testenv.Env
	setup              setup
	stall              *testenv.Stall
	vault              *testenv.Vault
	secret             *testenv.MountedSecret
	stateDir           string
	sidecar            *testenv.Sidecar
	sidecars           []*testenv.Sidecar
	secrets            []string // every share that must never be seen
	sharesAtPhaseStart int      // shares sent when the current phase began

	cluster    *testenv.Cluster  // nil without Kubernetes
	eso        *testenv.ESO      // nil until it is installed
	apiProxy   *testenv.APIProxy // between the sidecar and the API server
	kubeconfig string            // the sidecar's
	tokenPath  string            // the file with its token, if it is in one
}

// phase is one row of a scenario.
type phase struct {
	when string
	do   func(sc *scenario)
	then []condition
}

// condition is a condition to wait for. check returns "" once it is met, and before
// that the current state.
type condition struct {
	what  string
	check func(sc *scenario) string
}

// run starts a scenario with an initialized, sealed, listening Vault and runs the
// phases.
func run(t *testing.T, s setup, phases ...phase) *scenario {
	t.Helper()
	sc := newScenario(t, s)
	for _, p := range phases {
		sc.Logf("when %s", p.when)
		sc.sharesAtPhaseStart = sc.vault.SharesSent()
		if p.do != nil {
			p.do(sc)
		}
		for _, cond := range p.then {
			err := testenv.Await(sc.ctx, waitTimeout, cond.what, func() string { return cond.check(sc) })
			require.NoError(sc, err, "when %s\nsidecar:\n%s\nvault:\n%s", p.when, sc.sidecarLog(), sc.vaultLogTail())
		}
	}
	return sc
}

func newScenario(t *testing.T, s setup) *scenario {
	t.Helper()
	env, err := testenv.New()
	require.NoError(t, err)
	sc := &scenario{T: t, ctx: t.Context(), env: env, setup: s}
	t.Cleanup(func() {
		sc.assertNoShareLeaked()
		assert.NoError(t, env.Close())
	})
	config := testenv.VaultConfig{Raft: s.raft, TLS: s.tls, Listeners: s.listeners, MaxRequestDuration: s.maxRequestDuration}
	if s.stallable {
		sc.stall, err = env.MountStall(sc.ctx)
		require.NoError(t, err)
		config.Data = sc.stall.Dir
	}
	sc.vault, err = env.NewVault(config)
	require.NoError(t, err)
	sc.secret, err = env.NewSecret()
	require.NoError(t, err)
	sc.stateDir = filepath.Join(env.Dir, "state")
	require.NoError(t, sc.vault.StartAndWait(sc.ctx))
	if s.cluster {
		sc.startCluster()
	}
	if !s.uninitialized {
		sc.initialize()
		// A Vault that was just initialized has read less than one that was
		// started over its storage: scenarios begin with the latter.
		killVault(sc)
		startVaultAndWait(sc)
	}
	return sc
}

// subtest runs f as a subtest, which gets the failures of the scenario.
func (sc *scenario) subtest(name string, f func(t *testing.T)) {
	parent := sc.T
	parent.Run(name, func(t *testing.T) {
		sc.T = t
		defer func() { sc.T = parent }()
		f(t)
	})
}

// initialize initializes Vault and mounts its shares.
func (sc *scenario) initialize() {
	require.NoError(sc, sc.vault.Init(sc.ctx, max(1, sc.setup.shares), max(1, sc.setup.threshold)))
	sc.secrets = append(sc.secrets, sc.vault.Keys...)
	shares := sc.vault.Keys
	if sc.setup.mountedShares != nil {
		shares = sc.setup.mountedShares(shares)
		sc.secrets = append(sc.secrets, shares...)
	}
	require.NoError(sc, sc.secret.WriteShares(shares...))
}

func (sc *scenario) sidecarLog() string {
	var b strings.Builder
	for _, s := range sc.sidecars {
		b.WriteString(s.Output())
	}
	return b.String()
}

func (sc *scenario) vaultLogTail() string {
	if sc.vault.Process == nil {
		return ""
	}
	return sc.vault.Process.Tail(15)
}

// assertNoShareLeaked searches all that the sidecars printed, kept and served for
// every share in every form.
func (sc *scenario) assertNoShareLeaked() {
	var all strings.Builder
	all.WriteString(sc.sidecarLog())
	_ = filepath.WalkDir(sc.stateDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			assert.NoError(sc, err)
			all.Write(b)
		}
		return nil
	})
	if s := sc.sidecar; s != nil && !s.Exited() {
		for _, path := range []string{"/status", "/", "/metrics", "/healthz", "/readyz"} {
			_, text, _ := s.Get(context.Background(), path)
			all.WriteString(text)
		}
		for _, file := range []string{"cmdline", "environ"} {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.Pid(), file))
			all.Write(b)
		}
	}
	text := all.String()
	for _, share := range sc.secrets {
		for _, trace := range testenv.Encodings(share) {
			assert.NotContains(sc, text, trace, "a share was seen")
		}
	}
}

// Steps.

func startSidecar(sc *scenario) { sc.startSidecar() }

func (sc *scenario) startSidecar(wrap ...string) {
	sidecar, err := sc.env.StartSidecar(testenv.SidecarConfig{
		Vault: sc.vault.Addr, Keys: sc.secret.Dir, State: sc.stateDir,
		Args: append([]string{"--log-level", "trace"}, sc.setup.args...), Env: sc.setup.env, Wrap: wrap,
	})
	require.NoError(sc, err)
	sc.sidecar = sidecar
	sc.sidecars = append(sc.sidecars, sidecar)
}

func killSidecar(sc *scenario) { require.NoError(sc, sc.sidecar.Kill()) }

func stopSidecar(sc *scenario) {
	code, err := sc.sidecar.Stop(time.Second)
	require.NoError(sc, err, "SIGTERM ends it within a second")
	assert.Equal(sc, 0, code, "exit code after SIGTERM")
}

func startVault(sc *scenario)         { require.NoError(sc, sc.vault.Start()) }
func startVaultAndWait(sc *scenario)  { require.NoError(sc, sc.vault.StartAndWait(sc.ctx)) }
func stopVault(sc *scenario)          { require.NoError(sc, sc.vault.Stop()) }
func killVault(sc *scenario)          { require.NoError(sc, sc.vault.Kill()) }
func pauseVault(sc *scenario)         { sc.vault.Pause(); sc.Cleanup(sc.vault.Continue) }
func continueVault(sc *scenario)      { sc.vault.Continue() }
func sealVault(sc *scenario)          { require.NoError(sc, sc.vault.Seal(sc.ctx)) }
func unsealByHand(sc *scenario)       { require.NoError(sc, sc.vault.UnsealAll(sc.ctx)) }
func restartVaultAtOnce(sc *scenario) { killVault(sc); startVault(sc) }

// enterShare sends a share as a person would, and waits until it is counted.
func (sc *scenario) enterShare(share string) testenv.SealStatus {
	counted := sc.vault.SharesSent()
	s, err := sc.vault.Unseal(sc.ctx, share)
	require.NoError(sc, err)
	await(sc, condition{"vault to log the share", func(sc *scenario) string {
		if sc.vault.SharesSent() > counted {
			return ""
		}
		return "nothing"
	}})
	return s
}

func setStorage(mode string) func(sc *scenario) {
	return func(sc *scenario) { require.NoError(sc, sc.stall.SetMode(mode)) }
}

func mountShares(shares ...string) func(sc *scenario) {
	return func(sc *scenario) {
		sc.secrets = append(sc.secrets, shares...)
		require.NoError(sc, sc.secret.WriteShares(shares...))
	}
}

func mountVaultShares(sc *scenario) { mountShares(sc.vault.Keys...)(sc) }

func sequence(steps ...func(sc *scenario)) func(sc *scenario) {
	return func(sc *scenario) {
		for _, s := range steps {
			s(sc)
		}
	}
}

// randomShare is a share of the given length that belongs to no key.
func randomShare(length int) string {
	b := make([]byte, length)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// Conditions.

func phaseIs(names ...string) condition {
	return condition{"phase " + strings.Join(names, " or "), func(sc *scenario) string {
		s, err := sc.sidecar.Status(sc.ctx)
		if err != nil {
			return err.Error()
		}
		for _, n := range names {
			if s.Phase == n {
				return ""
			}
		}
		return s.Phase + " " + s.Reason
	}}
}

// serving waits until the sidecar says so, and checks that it is true.
func serving() condition {
	return condition{"vault to serve, /readyz to say so and the log too", func(sc *scenario) string {
		if code, err := sc.vault.Health(sc.ctx); err != nil || code != http.StatusOK {
			return fmt.Sprintf("health %d %v", code, err)
		}
		if code, _, err := sc.sidecar.Get(sc.ctx, "/readyz"); err != nil || code != http.StatusOK {
			return fmt.Sprintf("readyz %d %v", code, err)
		}
		return phaseIs("active").check(sc)
	}}
}

// aliveNotReady waits until /healthz is 200 while /readyz is 503.
func aliveNotReady() condition {
	return condition{"/healthz 200 and /readyz 503", func(sc *scenario) string {
		health, _, err := sc.sidecar.Get(sc.ctx, "/healthz")
		ready, _, err2 := sc.sidecar.Get(sc.ctx, "/readyz")
		if health == http.StatusOK && ready == http.StatusServiceUnavailable {
			return ""
		}
		return fmt.Sprintf("healthz %d %v, readyz %d %v", health, err, ready, err2)
	}}
}

func logContains(text string) condition {
	return condition{fmt.Sprintf("the log to say %q", text), func(sc *scenario) string {
		if strings.Contains(sc.sidecar.Output(), text) {
			return ""
		}
		return "it ends: " + sc.sidecar.Tail(3)
	}}
}

func exitCodeIs(code int) condition {
	return condition{fmt.Sprintf("exit code %d", code), func(sc *scenario) string {
		if !sc.sidecar.Exited() {
			return "still running"
		}
		if c, _ := sc.sidecar.ExitCode(0); c != code {
			return fmt.Sprintf("exit code %d", c)
		}
		return ""
	}}
}

// sharesSent waits until Vault was sent n shares since the phase began.
func sharesSent(n int) condition {
	return condition{fmt.Sprintf("%d shares sent", n), func(sc *scenario) string {
		if got := sc.vault.SharesSent() - sc.sharesAtPhaseStart; got != n {
			return fmt.Sprintf("%d shares sent", got)
		}
		return ""
	}}
}

// sharesSentInTotal waits until Vault was sent n shares since the scenario began.
func sharesSentInTotal(n int) condition {
	return condition{fmt.Sprintf("%d shares sent in all", n), func(sc *scenario) string {
		if got := sc.vault.SharesSent(); got != n {
			return fmt.Sprintf("%d shares sent", got)
		}
		return ""
	}}
}

// sendsNothing waits until the sidecar has probed Vault three more
// times, and fails for good when it sent anything meanwhile.
func sendsNothing() condition {
	seen := -1
	before := 0
	return condition{"three more probes of vault, and nothing sent", func(sc *scenario) string {
		looks := strings.Count(sc.sidecar.Output(), "probe answered")
		if seen < 0 {
			seen, before = looks, sc.vault.SharesSent()
		}
		require.Equal(sc, before, sc.vault.SharesSent(), "shares were sent")
		if looks < seen+3 {
			return fmt.Sprintf("%d looks of 3", looks-seen)
		}
		return ""
	}}
}

func unsealProgressIs(n int) condition {
	return condition{fmt.Sprintf("vault to hold %d shares", n), func(sc *scenario) string {
		s, err := sc.vault.SealStatus(sc.ctx)
		if err != nil || !s.Sealed || s.Progress != n {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	}}
}

// storageBlocked waits until an operation of Vault is stalled.
func storageBlocked() condition {
	return condition{"an operation to be stalled", func(sc *scenario) string {
		s, err := sc.stall.Status()
		if err != nil || s.Waiting == 0 {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	}}
}

// vaultIsOpen asks Vault itself.
var vaultIsOpen = condition{"vault to be open", func(sc *scenario) string {
	status, err := sc.vault.SealStatus(sc.ctx)
	if err != nil {
		return err.Error()
	}
	if status.Sealed {
		return "sealed"
	}
	return ""
}}
