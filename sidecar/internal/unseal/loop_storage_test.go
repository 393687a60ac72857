package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serving is a home whose Vault serves, with its storage looked at every so
// often.
func serving(t *testing.T, every time.Duration, scene func(h *home)) {
	t.Helper()
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.start(func(c *Config) { c.StorageProbe = every })
		h.goOn(5 * time.Second)
		h.expect(Active)
		h.forget()
		h.vault.with(func() { h.vault.lookups = nil })
		scene(h)
	})
}

func TestARecoveryIsClosedByReadingStorage(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.vault.unseal()
		h.vault.freeze()
		h.start()
		h.goOn(time.Second)
		h.expectPhases(Starting, Activating)
		h.goOn(time.Hour)
		h.expectPhases(Starting, Activating, StorageHanging)
		assert.Len(h, h.vault.lookups, 1, "the lookup that waits is left open")
		assert.False(h, h.state().Phase.Serving())
		h.vault.thaw()
		h.goOn(time.Millisecond)
		h.expectPhases(Starting, Activating, StorageHanging, Active)
		h.goOn(time.Hour)
		assert.Len(h, h.vault.lookups, 1, "without an interval it is looked at once")
	})
}

func TestStorageThatHangsUnderAnUnsealedVault(t *testing.T) {
	serving(t, 30*time.Second, func(h *home) {
		h.vault.freeze()
		h.goOn(40 * time.Second)
		h.expectPhases(Active, StorageHanging)
		h.goOn(6 * time.Hour)
		h.expectPhases(Active, StorageHanging)
		assert.Equal(h, []string{phases[StorageHanging].Message}, h.logged())
		began := time.Now()
		h.vault.thaw()
		h.goOn(time.Millisecond)
		h.expectPhases(Active, StorageHanging, Active)
		h.goOn(time.Minute)
		h.expectSent(1)
		assert.Less(h, h.state().Since.Sub(began), time.Millisecond)
		assert.InDelta(h, 6*time.Hour.Seconds(), h.state().Last.Took.Seconds(), 60)
	})
}

func TestStorageThatAnswersErrors(t *testing.T) {
	for _, when := range []string{"before it served", "later"} {
		t.Run(when, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *home) {
				h.vault.begin("p")
				if when == "before it served" {
					h.vault.set(&h.vault.lookupErr, errStorage)
				}
				h.start(func(c *Config) { c.StorageProbe = 5 * time.Second })
				h.goOn(10 * time.Second)
				h.vault.set(&h.vault.lookupErr, errStorage)
				h.goOn(time.Hour)
				h.expect(Failing)
				assert.Equal(h, errStorage.Error(), h.state().Reason)
				assert.Equal(h, 1, h.loggedTimes(phases[Failing].Message), "%q", h.phases())
				assert.Less(h, len(h.vault.lookups), 3600/4+20, "they are spaced")
				assert.Greater(h, len(h.vault.lookups), 3600/5-20)
				h.vault.set(&h.vault.lookupErr, nil)
				h.goOn(6 * time.Second)
				h.expect(Active)
				phases := h.phases()
				assert.Equal(h, []string{Failing.String(), Active.String()}, phases[len(phases)-2:])
			})
		})
	}
}

func TestStorageThatIsOnlySlowServes(t *testing.T) {
	serving(t, time.Second, func(h *home) {
		for range 100 {
			h.vault.freeze()
			h.goOn(1900 * time.Millisecond)
			h.vault.thaw()
			h.goOn(10 * time.Millisecond)
		}
		h.expectPhases(Active)
	})
}

func TestStorageIsLookedAtInItsInterval(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 30 * time.Second, time.Hour} {
		serving(t, every, func(h *home) {
			h.goOn(20 * every)
			require.InDelta(h, 20, len(h.vault.lookups), 3)
			for n := 1; n < len(h.vault.lookups); n++ {
				gap := h.vault.lookups[n].Sub(h.vault.lookups[n-1])
				assert.GreaterOrEqual(h, gap, every*9/10)
				assert.LessOrEqual(h, gap, every*11/10+time.Second)
			}
			h.expectPhases(Active)
		})
	}
}

func TestAnIntervalWithoutEndIsNoneAtAll(t *testing.T) {
	serving(t, 1<<63-1, func(h *home) {
		h.goOn(time.Hour)
		assert.Empty(h, h.vault.lookups)
	})
}

func TestALookupWhoseConnectionBreaksIsNoStorageTrouble(t *testing.T) {
	serving(t, 5*time.Second, func(h *home) {
		h.vault.set(&h.vault.lookupErr, isBroken.err)
		h.goOn(time.Minute)
		h.expectPhases(Active)
		assert.Less(h, len(h.vault.lookups), 65)
	})
}

func TestAVaultThatGoesAwayWhileItsStorageHangs(t *testing.T) {
	serving(t, 5*time.Second, func(h *home) {
		h.vault.freeze()
		h.goOn(10 * time.Second)
		h.expect(StorageHanging)
		h.vault.end()
		h.vault.thaw()
		h.goOn(time.Second)
		h.vault.begin("q")
		h.goOn(time.Second)
		h.expectPhases(Active, StorageHanging, Unreachable, Unsealing, Activating, Active)
	})
}

func TestAVaultThatIsSealedWhileItsStorageHangs(t *testing.T) {
	serving(t, 5*time.Second, func(h *home) {
		h.vault.freeze()
		h.goOn(10 * time.Second)
		h.vault.seal()
		h.goOn(2 * time.Second)
		h.expectPhases(Active, StorageHanging, Held)
	})
}

// Vault answers an unseal that hung for longer than it lets a request last
// with an error, though it is open by then.
func TestAHungUnsealThatIsAnsweredByAnErrorIsNoError(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.vault.freeze()
		h.vault.timesOut = true
		h.start()
		h.goOn(5 * time.Minute)
		h.expect(UnsealHanging)
		h.vault.thaw()
		h.goOn(time.Second)
		h.expectPhases(Starting, Unsealing, UnsealHanging, Activating, Active)
		h.expectSent(1)
	})
}
