package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withServingVault runs a scenario in which Vault serves; its storage is read
// at the given interval.
func withServingVault(t *testing.T, every time.Duration, scenario func(h *harness)) {
	t.Helper()
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start(func(c *Config) { c.StorageProbe = every })
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		h.resetRecords()
		h.vault.with(func() { h.vault.lookups = nil })
		scenario(h)
	})
}

func TestLoop_EndsARecoveryByReadingStorage(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.unseal()
		h.vault.hangStorage()
		h.start()
		h.advance(time.Second)
		h.expectPhases(Starting, Activating)
		h.advance(time.Hour)
		h.expectPhases(Starting, Activating, StorageHanging)
		assert.Len(h, h.vault.lookups, 1, "the lookup that waits is left open")
		assert.False(h, h.state().Phase.Serving())
		h.vault.resumeStorage()
		h.advance(time.Millisecond)
		h.expectPhases(Starting, Activating, StorageHanging, Active)
		h.advance(time.Hour)
		assert.Len(h, h.vault.lookups, 1, "without an interval it is looked at once")
	})
}

func TestLoop_ReportsStorageThatHangsWhileVaultServes(t *testing.T) {
	withServingVault(t, 30*time.Second, func(h *harness) {
		h.vault.hangStorage()
		h.advance(40 * time.Second)
		h.expectPhases(Active, StorageHanging)
		h.advance(6 * time.Hour)
		h.expectPhases(Active, StorageHanging)
		assert.Equal(h, []string{phases[StorageHanging].Message}, h.logged())
		began := time.Now()
		h.vault.resumeStorage()
		h.advance(time.Millisecond)
		h.expectPhases(Active, StorageHanging, Active)
		h.advance(time.Minute)
		h.expectSent(1)
		assert.Less(h, h.state().Since.Sub(began), time.Millisecond)
		assert.InDelta(h, 6*time.Hour.Seconds(), h.state().Last.Took.Seconds(), 60)
	})
}

func TestLoop_ReportsStorageErrorsAsFailing(t *testing.T) {
	for _, when := range []string{"before it served", "later"} {
		t.Run(when, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.vault.begin("p")
				if when == "before it served" {
					h.vault.set(&h.vault.lookupErr, errStorage)
				}
				h.start(func(c *Config) { c.StorageProbe = 5 * time.Second })
				h.advance(10 * time.Second)
				h.vault.set(&h.vault.lookupErr, errStorage)
				h.advance(time.Hour)
				h.expectPhase(Failing)
				assert.Equal(h, errStorage.Error(), h.state().Reason)
				assert.Equal(h, 1, h.loggedTimes(phases[Failing].Message), "%q", h.phases())
				assert.Less(h, len(h.vault.lookups), retriesPerHour, "they are spaced")
				assert.Greater(h, len(h.vault.lookups), fastRetries)
				h.vault.set(&h.vault.lookupErr, nil)
				h.advance(6 * time.Second)
				h.expectPhase(Active)
				phases := h.phases()
				assert.Equal(h, []string{Failing.String(), Active.String()}, phases[len(phases)-2:])
			})
		})
	}
}

func TestLoop_SlowStorageStaysActive(t *testing.T) {
	withServingVault(t, time.Second, func(h *harness) {
		for range 100 {
			h.vault.hangStorage()
			h.advance(1900 * time.Millisecond)
			h.vault.resumeStorage()
			h.advance(10 * time.Millisecond)
		}
		h.expectPhases(Active)
	})
}

func TestLoop_ReadsStorageAtTheConfiguredInterval(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 30 * time.Second, time.Hour} {
		t.Run(every.String(), func(t *testing.T) {
			withServingVault(t, every, func(h *harness) {
				h.advance(20 * every)
				require.InDelta(h, 20, len(h.vault.lookups), 3)
				for n := 1; n < len(h.vault.lookups); n++ {
					gap := h.vault.lookups[n].Sub(h.vault.lookups[n-1])
					assert.GreaterOrEqual(h, gap, every*9/10)
					assert.LessOrEqual(h, gap, every*11/10+time.Second)
				}
				h.expectPhases(Active)
			})
		})
	}
}

func TestLoop_MaximalStorageIntervalNeverReadsStorage(t *testing.T) {
	withServingVault(t, 1<<63-1, func(h *harness) {
		h.advance(time.Hour)
		assert.Empty(h, h.vault.lookups)
	})
}

func TestLoop_BrokenLookupConnectionIsNoStorageFailure(t *testing.T) {
	withServingVault(t, 5*time.Second, func(h *harness) {
		h.vault.set(&h.vault.lookupErr, brokenReply.err)
		h.advance(time.Minute)
		h.expectPhases(Active)
		assert.Less(h, len(h.vault.lookups), 65)
	})
}

func TestLoop_RecoversAVaultThatRestartsWhileStorageHangs(t *testing.T) {
	withServingVault(t, 5*time.Second, func(h *harness) {
		h.vault.hangStorage()
		h.advance(10 * time.Second)
		h.expectPhase(StorageHanging)
		h.vault.end()
		h.vault.resumeStorage()
		h.advance(time.Second)
		h.vault.begin("q")
		h.advance(time.Second)
		h.expectPhases(Active, StorageHanging, Unreachable, Unsealing, Activating, Active)
	})
}

func TestLoop_HoldsAVaultThatIsSealedWhileStorageHangs(t *testing.T) {
	withServingVault(t, 5*time.Second, func(h *harness) {
		h.vault.hangStorage()
		h.advance(10 * time.Second)
		h.vault.seal()
		h.advance(2 * time.Second)
		h.expectPhases(Active, StorageHanging, Held)
	})
}

// Vault answers an unseal that hung for longer than it lets a request last
// with an error, though it is open by then.
func TestLoop_ErrorAfterAHungUnsealIsNoFailureOnceUnsealed(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.hangStorage()
		h.vault.unsealTimesOut = true
		h.start()
		h.advance(5 * time.Minute)
		h.expectPhase(UnsealHanging)
		h.vault.resumeStorage()
		h.advance(time.Second)
		h.expectPhases(Starting, Unsealing, UnsealHanging, Activating, Active)
		h.expectSent(1)
	})
}
