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
// clock gets the time from the network. No action may come early or
// late, and no report may be wrong because of it.
func TestClock_JumpDoesNotAffectRecovery(t *testing.T) {
	t.Parallel()
	t.Run("beside a vault that serves, restarts and is refused", func(t *testing.T) {
		t.Parallel()
		var c clock
		run(t, setup{stallable: true},
			phase{"all is well", c.startSidecar, []condition{serving(), c.offsetIs(0)}},
			phase{"the clock jumps to tomorrow", c.setOffset(day),
				[]condition{c.offsetIs(day), staysHealthy(), sharesSent(0), activeTimes(1), durationsArePlausible()}},
			phase{"vault restarts", restartVaultAtOnce,
				[]condition{sharesSent(1), serving(), activeTimes(2), durationsArePlausible()}},
			phase{"the key is swapped, and swapped back", swapKeyTwice, []condition{sharesSent(0), serving()}},
			phase{"the node reboots and storage hangs", sequence(killVault, setStorage("hang"), startVault),
				[]condition{phaseIs("unreachable"), storageBlocked()}},
			phase{"the clock jumps to yesterday", c.setOffset(-day),
				[]condition{c.offsetIs(-day), aliveNotReady(), phaseIs("unreachable"), probesContinuously(), durationsArePlausible()}},
			phase{"storage is back", resumeStorageTimed,
				[]condition{serving(), sharesSent(1), activeTimes(3), durationsArePlausible()}},
			phase{"the key is swapped, and swapped back", swapKeyTwice, []condition{sharesSent(0), staysHealthy()}},
			phase{"the clock is put right", c.setOffset(0),
				[]condition{c.offsetIs(0), staysHealthy(), sharesSent(0), activeTimes(3), durationsArePlausible()}},
		)
	})
	t.Run("while an unseal hangs", func(t *testing.T) {
		t.Parallel()
		var c clock
		run(t, setup{stallable: true},
			phase{"the unseal hangs", sequence(setStorage("hang"), c.startSidecar), []condition{phaseIs("unseal-hanging")}},
			phase{"the clock jumps to tomorrow", c.setOffset(day), []condition{c.clockIsRead(day), phaseIs("unseal-hanging"), aliveNotReady()}},
			phase{"and to yesterday", c.setOffset(-day), []condition{c.clockIsRead(-day), phaseIs("unseal-hanging"), aliveNotReady()}},
			phase{"storage is back: the one unseal completes", resumeStorageTimed,
				[]condition{serving(), sharesSentInTotal(1), durationsArePlausible()}},
		)
	})
	t.Run("while a seal is held and a key is locked", func(t *testing.T) {
		t.Parallel()
		var c clock
		run(t, setup{},
			phase{"all is well", c.startSidecar, []condition{serving()}},
			phase{"an operator seals", sealVault, []condition{phaseIs("held")}},
			phase{"the clock jumps to tomorrow", c.setOffset(day), []condition{c.offsetIs(day), sendsNothing(), phaseIs("held")}},
			phase{"and to yesterday", c.setOffset(-day), []condition{c.offsetIs(-day), sendsNothing(), phaseIs("held")}},
			phase{"the Secret gets a wrong key: that ends the hold, and it is sent once", mountShares(randomShare(32)),
				[]condition{phaseIs("key-rejected"), sharesSent(1)}},
			phase{"the clock is put right", c.setOffset(0), []condition{c.offsetIs(0), sendsNothing(), phaseIs("key-rejected")}},
			phase{"the Secret gets the right key", mountVaultShares, []condition{serving(), sharesSent(1)}},
		)
	})
}

// clock is the wall clock of the scenario's sidecar.
type clock struct{ *testenv.Clock }

func (c *clock) startSidecar(sc *scenario) {
	var err error
	c.Clock, err = sc.env.NewClock()
	require.NoError(sc, err)
	sc.startSidecar(c.Wrap()...)
}

// setOffset sets the clock ahead of that of the machine.
func (c *clock) setOffset(ahead time.Duration) func(sc *scenario) {
	return func(sc *scenario) {
		_, err := c.Set(ahead)
		require.NoError(sc, err)
	}
}

// offsetIs waits until the log's newest line says so: the jump has reached the
// process.
func (c *clock) offsetIs(ahead time.Duration) condition {
	return condition{fmt.Sprintf("the log to be written %v ahead", ahead), func(sc *scenario) string {
		stamp, _, _ := strings.Cut(sc.sidecar.Tail(1), " ")
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

// clockIsRead waits until the process has read the clock that is so far ahead: for
// phases in which nothing is logged.
func (c *clock) clockIsRead(ahead time.Duration) condition {
	first := -1
	return condition{"the clock to be read twice", func(sc *scenario) string {
		readings, err := c.Set(ahead)
		require.NoError(sc, err)
		if first < 0 {
			first = readings
		}
		if readings < first+2 {
			return fmt.Sprintf("%d readings", readings-first)
		}
		return ""
	}}
}

// staysHealthy waits until the sidecar has looked at Vault three more times, and
// fails for good when it was not well meanwhile, or did not say so.
func staysHealthy() condition {
	first := -1
	return condition{"three more looks at vault, and all well meanwhile", func(sc *scenario) string {
		looks := strings.Count(sc.sidecar.Output(), "probe answered")
		if first < 0 {
			first = looks
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			code, _, err := sc.sidecar.Get(sc.ctx, path)
			if err != nil {
				return err.Error()
			}
			require.Equal(sc, http.StatusOK, code, path)
		}
		if looks < first+3 {
			return fmt.Sprintf("%d looks of 3", looks-first)
		}
		return ""
	}}
}

// activeTimes waits until Vault was found active for the nth time.
func activeTimes(n int) condition { return logContainsTimes("vault is unsealed, active", n) }

// durationsArePlausible checks that no jump shows in the durations of /status.
func durationsArePlausible() condition {
	return condition{"/status to report nothing longer than the scenario", func(sc *scenario) string {
		s, err := sc.sidecar.Status(sc.ctx)
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

// probesContinuously checks that a Vault that does not listen is still looked for
// every 20 to 30 ms, and not once a second as after a quarter of an hour.
func probesContinuously() condition {
	first, since := -1, time.Time{}
	return condition{"forty looks within ten seconds", func(sc *scenario) string {
		looks := strings.Count(sc.sidecar.Output(), "probe answered")
		if first < 0 {
			first, since = looks, time.Now()
		}
		require.Less(sc, time.Since(since), 10*time.Second, "%d looks of 40", looks-first)
		if looks < first+40 {
			return fmt.Sprintf("%d looks of 40", looks-first)
		}
		return ""
	}}
}

// resumeStorageTimed sets the storage mode open and checks that Vault serves soon after.
func resumeStorageTimed(sc *scenario) {
	began := time.Now()
	setStorage("open")(sc)
	await(sc, serving())
	took := time.Since(began)
	assert.Less(sc, took, 2*time.Second, "from the storage being back until vault served")
	sc.Logf("from the storage being back until vault served: %v", took)
}

// swapKeyTwice mounts a wrong key in the place of ours and then ours again.
// Either has to be noticed within a second.
func swapKeyTwice(sc *scenario) {
	for _, share := range []string{randomShare(32), sc.vault.Keys[0]} {
		noticed := strings.Count(sc.sidecar.Output(), "unseal key is usable")
		began := time.Now()
		mountShares(share)(sc)
		await(sc, logContainsTimes("unseal key is usable", noticed+1))
		assert.Less(sc, time.Since(began), time.Second, "until the swap was noticed")
	}
}
