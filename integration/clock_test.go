package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const day = 24 * time.Hour

// The wall clock jumps, as it does when a node that has no battery for its
// clock gets the time from the network. Nothing may be hurried, put off or
// told wrong by it.
func TestTheClockJumps(t *testing.T) {
	t.Parallel()
	t.Run("beside a vault that serves, restarts and is refused", func(t *testing.T) {
		t.Parallel()
		var c clock
		play(t, home{gated: true},
			phase{"all is well", c.startSidecar, []expectation{serving(), c.isAhead(0)}},
			phase{"the clock jumps to tomorrow", c.jump(day),
				[]expectation{c.isAhead(day), staysWell(), sent(0), enteredActive(1), tellsTrueDurations()}},
			phase{"vault restarts", restartVaultAtOnce,
				[]expectation{sent(1), serving(), enteredActive(2), tellsTrueDurations()}},
			phase{"the key is swapped, and swapped back", swapTheKeyTwice, []expectation{sent(0), serving()}},
			phase{"the node reboots and storage hangs", all(killVault, storage("hang"), startVault),
				[]expectation{phaseIs("unreachable"), storageWaits()}},
			phase{"the clock jumps to yesterday", c.jump(-day),
				[]expectation{c.isAhead(-day), aliveNotReady(), phaseIs("unreachable"), looksAllTheTime(), tellsTrueDurations()}},
			phase{"storage thaws", thawAndTakeTheTime,
				[]expectation{serving(), sent(1), enteredActive(3), tellsTrueDurations()}},
			phase{"the key is swapped, and swapped back", swapTheKeyTwice, []expectation{sent(0), staysWell()}},
			phase{"the clock is put right", c.jump(0),
				[]expectation{c.isAhead(0), staysWell(), sent(0), enteredActive(3), tellsTrueDurations()}},
		)
	})
	t.Run("while an unseal hangs", func(t *testing.T) {
		t.Parallel()
		var c clock
		play(t, home{gated: true},
			phase{"the unseal hangs", all(storage("hang"), c.startSidecar), []expectation{phaseIs("unseal-hanging")}},
			phase{"the clock jumps to tomorrow", c.jump(day), []expectation{c.isRead(day), phaseIs("unseal-hanging"), aliveNotReady()}},
			phase{"and to yesterday", c.jump(-day), []expectation{c.isRead(-day), phaseIs("unseal-hanging"), aliveNotReady()}},
			phase{"storage thaws: the one unseal completes", thawAndTakeTheTime,
				[]expectation{serving(), sentInAll(1), tellsTrueDurations()}},
		)
	})
	t.Run("while a seal is held and a key is locked", func(t *testing.T) {
		t.Parallel()
		var c clock
		play(t, home{},
			phase{"all is well", c.startSidecar, []expectation{serving()}},
			phase{"an operator seals", sealVault, []expectation{phaseIs("held")}},
			phase{"the clock jumps to tomorrow", c.jump(day), []expectation{c.isAhead(day), leavesVaultAlone(), phaseIs("held")}},
			phase{"and to yesterday", c.jump(-day), []expectation{c.isAhead(-day), leavesVaultAlone(), phaseIs("held")}},
			phase{"the Secret gets a wrong key: that ends the hold, and it is sent once", mountShares(garbage(32)),
				[]expectation{phaseIs("key-rejected"), sent(1)}},
			phase{"the clock is put right", c.jump(0), []expectation{c.isAhead(0), leavesVaultAlone(), phaseIs("key-rejected")}},
			phase{"the Secret gets the right key", mountVaultsShares, []expectation{serving(), sent(1)}},
		)
	})
}

// clock is the wall clock of the scenario's sidecar.
type clock struct{ *testenv.Clock }

func (c *clock) startSidecar(w *world) {
	var err error
	c.Clock, err = w.lab.Clock()
	require.NoError(w, err)
	w.startSidecar(c.Wrap()...)
}

// jump lets the clock be so far ahead of the machine's from now on.
func (c *clock) jump(ahead time.Duration) func(w *world) {
	return func(w *world) {
		_, err := c.Set(ahead)
		require.NoError(w, err)
	}
}

// isAhead waits until the log's newest line says so: the jump has reached the
// process.
func (c *clock) isAhead(ahead time.Duration) expectation {
	return expectation{fmt.Sprintf("the log to be written %v ahead", ahead), func(w *world) string {
		stamp, _, _ := strings.Cut(w.sidecar.Tail(1), " ")
		at, err := time.Parse("2006-01-02T15:04:05.000Z", stamp)
		if err != nil {
			return err.Error()
		}
		if found := time.Until(at); (found - ahead).Abs() > time.Minute {
			return fmt.Sprintf("%v ahead", found.Round(time.Second))
		}
		return ""
	}}
}

// isRead waits until the process has read the clock that is so far ahead: for
// phases in which nothing is logged.
func (c *clock) isRead(ahead time.Duration) expectation {
	first := -1
	return expectation{"the clock to be read twice", func(w *world) string {
		readings, err := c.Set(ahead)
		require.NoError(w, err)
		if first < 0 {
			first = readings
		}
		if readings < first+2 {
			return fmt.Sprintf("%d readings", readings-first)
		}
		return ""
	}}
}

// staysWell waits until the sidecar has looked at Vault three more times, and
// fails for good when it was not well meanwhile, or did not say so.
func staysWell() expectation {
	first := -1
	return expectation{"three more looks at vault, and all well meanwhile", func(w *world) string {
		looks := strings.Count(w.sidecar.Output(), "probe answered")
		if first < 0 {
			first = looks
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			code, _, err := w.sidecar.Get(w.ctx, path)
			if err != nil {
				return err.Error()
			}
			require.Equal(w, http.StatusOK, code, path)
		}
		if looks < first+3 {
			return fmt.Sprintf("%d looks of 3", looks-first)
		}
		return ""
	}}
}

// enteredActive waits until Vault was found active for the nth time.
func enteredActive(n int) expectation { return logsTimes("vault is unsealed, active", n) }

// tellsTrueDurations checks that no jump got into what /status tells.
func tellsTrueDurations() expectation {
	return expectation{"/status to tell of nothing longer than the scenario", func(w *world) string {
		s, err := w.sidecar.Status(w.ctx)
		if err != nil {
			return err.Error()
		}
		told := map[string]float64{"the phase": s.Seconds}
		if r := s.Recovery; r != nil {
			told["the recovery"] = r.Seconds
			for _, step := range r.Steps {
				told["the step "+step.Name] = step.Seconds
			}
		}
		for what, seconds := range told {
			if seconds < 0 || seconds > time.Hour.Seconds() {
				return fmt.Sprintf("%s lasts %v s", what, seconds)
			}
		}
		return ""
	}}
}

// looksAllTheTime checks that a Vault that does not listen is still looked for
// every 20 to 30 ms, and not once a second as after a quarter of an hour.
func looksAllTheTime() expectation {
	first, since := -1, time.Time{}
	return expectation{"forty looks within ten seconds", func(w *world) string {
		looks := strings.Count(w.sidecar.Output(), "probe answered")
		if first < 0 {
			first, since = looks, time.Now()
		}
		require.Less(w, time.Since(since), 10*time.Second, "%d looks of 40", looks-first)
		if looks < first+40 {
			return fmt.Sprintf("%d looks of 40", looks-first)
		}
		return ""
	}}
}

// thawAndTakeTheTime opens the gate, and checks that Vault serves soon after.
func thawAndTakeTheTime(w *world) {
	began := time.Now()
	storage("open")(w)
	await(w, serving())
	took := time.Since(began)
	assert.Less(w, took, 2*time.Second, "from the thaw until vault served")
	w.Logf("from the thaw until vault served: %v", took)
}

// swapTheKeyTwice mounts a wrong key in the place of ours and then ours again.
// Either has to be noticed within a second.
func swapTheKeyTwice(w *world) {
	for _, share := range []string{garbage(32), w.vault.Keys[0]} {
		noticed := strings.Count(w.sidecar.Output(), "unseal key is usable")
		began := time.Now()
		mountShares(share)(w)
		await(w, logsTimes("unseal key is usable", noticed+1))
		assert.Less(w, time.Since(began), time.Second, "until the swap was noticed")
	}
}
