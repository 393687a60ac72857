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

// patience bounds every wait. It is generous: a wait that is met costs only
// the time it takes.
const patience = 40 * time.Second

// home is how a scenario's world is furnished.
type home struct {
	shares    int // of the key; zero: 1
	threshold int // zero: 1
	gated     bool
	raft      bool
	tls       *testenv.Authority
	listeners string        // of Vault's, beside the one that the test itself uses; in HCL
	limit     time.Duration // that Vault sets a request; zero: its own
	cluster   bool          // in Kubernetes
	rightless bool          // without what the manifests grant
	virgin    bool          // Vault is not initialized
	args      []string      // more options for the sidecar
	env       []string
	mount     func(keys []string) []string // which shares are mounted; nil: all
}

// world is one Vault, its mounted Secret, and the sidecars that came and went.
type world struct {
	*testing.T
	ctx      context.Context
	lab      *testenv.Lab
	home     home
	gate     *testenv.Gate
	vault    *testenv.Vault
	secret   *testenv.Secret
	state    string
	sidecar  *testenv.Sidecar
	sidecars []*testenv.Sidecar
	secrets  []string // every share that must never be seen
	mark     int      // shares sent when the current phase began

	cluster    *testenv.Cluster // nil without Kubernetes
	eso        *testenv.ESO     // nil until it is installed
	faults     *testenv.Faults  // between the sidecar and the API server
	kubeconfig string           // the sidecar's
	token      string           // the file with its token, if it is in one
}

// phase is one row of a scenario.
type phase struct {
	when string
	do   func(w *world)
	then []expectation
}

// expectation is a condition to wait for; see returns "" once it is met, and
// else what there is instead.
type expectation struct {
	what string
	see  func(w *world) string
}

// play furnishes a world with an initialized, sealed, listening Vault and runs
// the phases.
func play(t *testing.T, h home, phases ...phase) *world {
	t.Helper()
	w := furnish(t, h)
	for _, p := range phases {
		w.Logf("when %s", p.when)
		w.mark = w.vault.SharesSent()
		if p.do != nil {
			p.do(w)
		}
		for _, e := range p.then {
			err := testenv.Await(w.ctx, patience, e.what, func() string { return e.see(w) })
			require.NoError(w, err, "when %s\nsidecar:\n%s\nvault:\n%s", p.when, w.log(), w.vaultTail())
		}
	}
	return w
}

func furnish(t *testing.T, h home) *world {
	t.Helper()
	l, err := testenv.New()
	require.NoError(t, err)
	w := &world{T: t, ctx: t.Context(), lab: l, home: h}
	t.Cleanup(func() {
		w.nothingLeaked()
		assert.NoError(t, l.Close())
	})
	config := testenv.VaultConfig{Raft: h.raft, TLS: h.tls, Listeners: h.listeners, RequestLimit: h.limit}
	if h.gated {
		w.gate, err = l.Gate(w.ctx)
		require.NoError(t, err)
		config.Data = w.gate.Dir
	}
	w.vault, err = l.Vault(config)
	require.NoError(t, err)
	w.secret, err = l.Secret()
	require.NoError(t, err)
	w.state = filepath.Join(l.Dir, "state")
	require.NoError(t, w.vault.StartAndWait(w.ctx))
	if h.cluster {
		w.joinCluster()
	}
	if !h.virgin {
		w.initialize()
		// A Vault that was just initialized has read less than one that was
		// started over its storage: scenarios begin with the latter.
		killVault(w)
		startVaultAndWait(w)
	}
	return w
}

// initialize initializes Vault and mounts its shares.
func (w *world) initialize() {
	require.NoError(w, w.vault.Init(w.ctx, max(1, w.home.shares), max(1, w.home.threshold)))
	w.secrets = append(w.secrets, w.vault.Keys...)
	shares := w.vault.Keys
	if w.home.mount != nil {
		shares = w.home.mount(shares)
		w.secrets = append(w.secrets, shares...)
	}
	require.NoError(w, w.secret.WriteShares(shares...))
}

func (w *world) log() string {
	var b strings.Builder
	for _, s := range w.sidecars {
		b.WriteString(s.Output())
	}
	return b.String()
}

func (w *world) vaultTail() string {
	if w.vault.Process == nil {
		return ""
	}
	return w.vault.Process.Tail(15)
}

// nothingLeaked searches all that the sidecars printed, kept and served for
// every share in every form.
func (w *world) nothingLeaked() {
	var all strings.Builder
	all.WriteString(w.log())
	_ = filepath.WalkDir(w.state, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			assert.NoError(w, err)
			all.Write(b)
		}
		return nil
	})
	if s := w.sidecar; s != nil && !s.Ended() {
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
	for _, share := range w.secrets {
		for _, trace := range testenv.Traces(share) {
			assert.NotContains(w, text, trace, "a share was seen")
		}
	}
}

// The things that are done.

func startSidecar(w *world) { w.startSidecar() }

func (w *world) startSidecar(wrap ...string) {
	s, err := w.lab.Sidecar(testenv.SidecarConfig{
		Vault: w.vault.Addr, Keys: w.secret.Dir, State: w.state,
		Args: append([]string{"--log-level", "trace"}, w.home.args...), Env: w.home.env, Wrap: wrap,
	})
	require.NoError(w, err)
	w.sidecar = s
	w.sidecars = append(w.sidecars, s)
}

func killSidecar(w *world) { require.NoError(w, w.sidecar.Kill()) }

func stopSidecar(w *world) {
	code, err := w.sidecar.Stop(time.Second)
	require.NoError(w, err, "SIGTERM ends it within a second")
	assert.Equal(w, 0, code, "exit code after SIGTERM")
}

func startVault(w *world)         { require.NoError(w, w.vault.Start()) }
func startVaultAndWait(w *world)  { require.NoError(w, w.vault.StartAndWait(w.ctx)) }
func stopVault(w *world)          { require.NoError(w, w.vault.Stop()) }
func killVault(w *world)          { require.NoError(w, w.vault.Kill()) }
func pauseVault(w *world)         { w.vault.Pause(); w.Cleanup(w.vault.Continue) }
func continueVault(w *world)      { w.vault.Continue() }
func sealVault(w *world)          { require.NoError(w, w.vault.Seal(w.ctx)) }
func unsealByHand(w *world)       { require.NoError(w, w.vault.UnsealAll(w.ctx)) }
func restartVaultAtOnce(w *world) { killVault(w); startVault(w) }

// enterShare sends a share as a person would, and waits until it is counted.
func (w *world) enterShare(share string) testenv.SealStatus {
	counted := w.vault.SharesSent()
	s, err := w.vault.Unseal(w.ctx, share)
	require.NoError(w, err)
	await(w, expectation{"vault to log the share", func(w *world) string {
		if w.vault.SharesSent() > counted {
			return ""
		}
		return "nothing"
	}})
	return s
}

func storage(mode string) func(w *world) {
	return func(w *world) {
		_, err := w.gate.Set(mode)
		require.NoError(w, err)
	}
}

func mountShares(shares ...string) func(w *world) {
	return func(w *world) {
		w.secrets = append(w.secrets, shares...)
		require.NoError(w, w.secret.WriteShares(shares...))
	}
}

func mountVaultsShares(w *world) { mountShares(w.vault.Keys...)(w) }

func all(steps ...func(w *world)) func(w *world) {
	return func(w *world) {
		for _, s := range steps {
			s(w)
		}
	}
}

// garbage is a share of the given length that is nobody's.
func garbage(length int) string {
	b := make([]byte, length)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// The things that are waited for.

func phaseIs(names ...string) expectation {
	return expectation{"phase " + strings.Join(names, " or "), func(w *world) string {
		s, err := w.sidecar.Status(w.ctx)
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
func serving() expectation {
	return expectation{"vault to serve, /readyz to say so and the log too", func(w *world) string {
		if code, err := w.vault.Health(w.ctx); err != nil || code != http.StatusOK {
			return fmt.Sprintf("health %d %v", code, err)
		}
		if code, _, err := w.sidecar.Get(w.ctx, "/readyz"); err != nil || code != http.StatusOK {
			return fmt.Sprintf("readyz %d %v", code, err)
		}
		return phaseIs("active").see(w)
	}}
}

// alive checks that /healthz says 200 and /readyz 503, at once.
func aliveNotReady() expectation {
	return expectation{"/healthz 200 and /readyz 503", func(w *world) string {
		health, _, err := w.sidecar.Get(w.ctx, "/healthz")
		ready, _, err2 := w.sidecar.Get(w.ctx, "/readyz")
		if health == http.StatusOK && ready == http.StatusServiceUnavailable {
			return ""
		}
		return fmt.Sprintf("healthz %d %v, readyz %d %v", health, err, ready, err2)
	}}
}

func logs(text string) expectation {
	return expectation{fmt.Sprintf("the log to say %q", text), func(w *world) string {
		if strings.Contains(w.sidecar.Output(), text) {
			return ""
		}
		return "it ends: " + w.sidecar.Tail(3)
	}}
}

func exits(code int) expectation {
	return expectation{fmt.Sprintf("exit code %d", code), func(w *world) string {
		if !w.sidecar.Ended() {
			return "still running"
		}
		if c, _ := w.sidecar.ExitCode(0); c != code {
			return fmt.Sprintf("exit code %d", c)
		}
		return ""
	}}
}

// sent waits until Vault was sent n shares since the phase began.
func sent(n int) expectation {
	return expectation{fmt.Sprintf("%d shares sent", n), func(w *world) string {
		if got := w.vault.SharesSent() - w.mark; got != n {
			return fmt.Sprintf("%d shares sent", got)
		}
		return ""
	}}
}

// sentInAll waits until Vault was sent n shares since the scenario began.
func sentInAll(n int) expectation {
	return expectation{fmt.Sprintf("%d shares sent in all", n), func(w *world) string {
		if got := w.vault.SharesSent(); got != n {
			return fmt.Sprintf("%d shares sent", got)
		}
		return ""
	}}
}

// leavesVaultAlone waits until the sidecar has looked at Vault three more
// times, and fails for good when it sent anything meanwhile.
func leavesVaultAlone() expectation {
	seen := -1
	before := 0
	return expectation{"three more looks at vault, and nothing sent", func(w *world) string {
		looks := strings.Count(w.sidecar.Output(), "probe answered")
		if seen < 0 {
			seen, before = looks, w.vault.SharesSent()
		}
		require.Equal(w, before, w.vault.SharesSent(), "shares were sent")
		if looks < seen+3 {
			return fmt.Sprintf("%d looks of 3", looks-seen)
		}
		return ""
	}}
}

func progress(n int) expectation {
	return expectation{fmt.Sprintf("vault to hold %d shares", n), func(w *world) string {
		s, err := w.vault.SealStatus(w.ctx)
		if err != nil || !s.Sealed || s.Progress != n {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	}}
}

// storageWaits waits until Vault's operations pile up at the shut gate.
func storageWaits() expectation {
	return expectation{"an operation to wait at the gate", func(w *world) string {
		s, err := w.gate.Status()
		if err != nil || s.Waiting == 0 {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	}}
}
