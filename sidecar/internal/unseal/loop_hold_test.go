package unseal

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withManualSeal runs a scenario in which an operator has sealed a Vault that
// served.
func withManualSeal(t *testing.T, scenario func(h *harness)) {
	t.Helper()
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		h.vault.seal()
		h.advance(5 * time.Second)
		h.expectPhase(Held)
		h.expectSent(1)
		h.resetRecords()
		scenario(h)
	})
}

func TestLoop_HoldsAManualSeal(t *testing.T) {
	t.Run("for as long as it lasts, and it is logged once", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.advance(6 * time.Hour)
			h.expectPhases(Held)
			h.expectSent(1)
			assert.Empty(h, h.logged())
			assert.Zero(h, h.keys.inMemory())
		})
	})
	t.Run("until it is unsealed manually", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.vault.unseal()
			h.advance(5 * time.Second)
			h.expectPhases(Held, Activating, Active)
			h.expectSent(1)
			h.vault.seal()
			h.advance(5 * time.Second)
			h.expectPhase(Held)
			h.expectSent(1)
		})
	})
	t.Run("until its process is another one", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.vault.end()
			h.advance(time.Second)
			h.vault.begin("q")
			h.advance(5 * time.Second)
			h.expectPhases(Held, Unreachable, Unsealing, Activating, Active)
			h.expectSent(2)
			assert.NotContains(h, h.logged(), msgOverruled)
			assert.NotContains(h, h.logged(), msgReleased)
		})
	})
	t.Run("until its process is another one, too fast to be seen refused", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.vault.begin("q")
			h.advance(5 * time.Second)
			h.expectPhases(Held, Unsealing, Activating, Active)
		})
	})
	t.Run("until the keys change", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.keys.mount(append(h.keys.shares, wrongKey(1, 32))...)
			h.advance(5 * time.Second)
			h.expectPhases(Held, Unsealing, Activating, Active)
			assert.Contains(h, h.logged(), msgReleased)
			assert.NotContains(h, h.logged(), msgOverruled, "nothing was overruled")
		})
	})
	t.Run("until the keys change while Vault is away", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.vault.stopAnswering()
			h.advance(time.Minute)
			h.keys.mount(append(h.keys.shares, wrongKey(1, 32))...)
			h.advance(time.Minute)
			h.vault.resumeAnswering()
			h.advance(5 * time.Second)
			h.expectPhases(Held, Unresponsive, Unsealing, Activating, Active)
			assert.Contains(h, h.logged(), msgReleased)
			assert.NotContains(h, h.logged(), msgOverruled)
		})
	})
	t.Run("but not until they are written again as they were", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			shares := h.keys.shares
			h.keys.fail("missing")
			h.advance(time.Minute)
			h.keys.mount(shares...)
			h.advance(time.Minute)
			h.expectPhases(Held)
			h.expectSent(1)
		})
	})
	t.Run("also when it was silent or failed meanwhile", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.vault.stopAnswering()
			h.advance(time.Minute)
			h.vault.resumeAnswering()
			h.advance(time.Minute)
			h.vault.set(&h.vault.statusErr, errStorage)
			h.advance(time.Minute)
			h.vault.set(&h.vault.statusErr, nil)
			h.advance(time.Minute)
			h.expectPhases(Held, Unresponsive, Held, Failing, Held)
			h.expectSent(1)
		})
	})
}

// A proxy listens throughout, so that the process of every Vault behind it has
// one name.
func TestLoop_ResponseOfAProxyMeansVaultMayHaveRestarted(t *testing.T) {
	behind := func(scenario func(h *harness)) func(*testing.T) {
		return func(t *testing.T) { withManualSeal(t, scenario) }
	}
	for name, gap := range map[string]error{
		"its 502":                     fmt.Errorf("answered 502, %w", ErrNotVault),
		"a connection that it breaks": fmt.Errorf("connection broken: %w", ErrBroken),
	} {
		t.Run(name+" ends what is known of the process", behind(func(h *harness) {
			h.vault.set(&h.vault.statusErr, gap)
			h.advance(10 * time.Second)
			h.vault.set(&h.vault.statusErr, nil)
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(2)
			assert.NotContains(h, h.logged(), msgOverruled)
			h.vault.seal()
			h.advance(time.Hour)
			h.expectPhase(Held)
			h.expectSent(2)
		}))
		t.Run(name+" is remembered by the next sidecar", behind(func(h *harness) {
			h.vault.set(&h.vault.statusErr, gap)
			h.advance(10 * time.Second)
			h.stop()
			h.vault.set(&h.vault.statusErr, nil)
			h.start()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
		}))
		t.Run(name+" has no refused key sent again", behind(func(h *harness) {
			h.keys.mount(wrongKey(1, 32))
			h.advance(time.Minute)
			h.expectPhase(KeyRejected)
			sent := len(h.vault.sentShares())
			for range 5 {
				h.vault.set(&h.vault.statusErr, gap)
				h.advance(10 * time.Second)
				h.vault.set(&h.vault.statusErr, nil)
				h.advance(10 * time.Second)
			}
			h.expectPhase(KeyRejected)
			h.expectSent(sent)
		}))
	}
	t.Run("also when a lookup alone is answered so", func(t *testing.T) {
		withServingVault(t, 5*time.Second, func(h *harness) {
			sent := len(h.vault.sentShares())
			h.vault.set(&h.vault.lookupErr, fmt.Errorf("answered 502, %w", ErrNotVault))
			for h.state().Phase == Active {
				h.advance(time.Millisecond)
			}
			h.vault.seal() // as the new one is
			h.vault.set(&h.vault.lookupErr, nil)
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(sent + 1)
		})
	})
	t.Run("also when a health is answered so", func(t *testing.T) {
		inBubble(t, 1, 1, func(h *harness) {
			h.vault.begin("p")
			h.start()
			h.advance(5 * time.Second)
			h.vault.set(&h.vault.healthErr, fmt.Errorf("answered 503, %w", ErrNotVault))
			h.advance(5 * time.Second)
			h.vault.seal() // as the new one is
			h.vault.set(&h.vault.healthErr, nil)
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(2)
		})
	})
}

func TestLoop_KeepsAHoldAcrossASidecarRestart(t *testing.T) {
	t.Run("that restarts alone", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.start()
			h.advance(time.Hour)
			h.expectPhases(Held, Starting, Held)
			h.expectSent(1)
		})
	})
	t.Run("that was not there when the operator sealed", func(t *testing.T) {
		inBubble(t, 1, 1, func(h *harness) {
			h.vault.begin("p")
			h.start()
			h.advance(5 * time.Second)
			h.stop()
			h.vault.seal()
			h.advance(5 * time.Second)
			h.start()
			h.advance(time.Minute)
			h.expectPhase(Held)
			h.expectSent(1)
		})
	})
	t.Run("but not a Vault that restarted meanwhile", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.stop()
			h.vault.begin("q")
			h.start()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(2)
		})
	})
	t.Run("and ends when the keys changed meanwhile", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.stop()
			h.keys.mount(append(h.keys.shares, wrongKey(1, 32))...)
			h.start()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			assert.Contains(h, h.logged(), msgReleased)
		})
	})
	t.Run("and not when the keys are missing at first", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.stop()
			shares := h.keys.shares
			h.keys.fail("missing")
			h.start()
			h.advance(time.Minute)
			h.expectPhase(Held)
			h.keys.mount(shares...)
			h.advance(time.Minute)
			h.expectPhase(Held)
			h.expectSent(1)
		})
	})
	t.Run("and without saved state it unseals, and logs what it cannot know", func(t *testing.T) {
		withManualSeal(t, func(h *harness) {
			h.store.loadErr = errors.New("corrupt")
			h.start()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			assert.Equal(h, 1, h.loggedTimes(msgStateLost))
			assert.Equal(h, 1, h.loggedTimes(msgNoState))
		})
	})
}

func TestLoop_UnsealsAManualSealWithoutHoldSeals(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		unsealPolicy := func(c *Config) { c.HoldSeals = false }
		h.vault.begin("p")
		h.start(unsealPolicy)
		h.advance(5 * time.Second)
		for n := range 3 {
			h.resetRecords()
			h.vault.seal()
			h.advance(5 * time.Second)
			h.expectPhases(Active, Unsealing, Activating, Active)
			h.expectSent(n + 2)
			assert.Equal(h, 1, h.loggedTimes(msgOverruled))
		}
		h.resetRecords()
		h.vault.set(&h.vault.unsealErr, errStorage)
		h.vault.seal()
		h.advance(time.Hour)
		h.vault.stopAnswering()
		h.advance(time.Hour)
		h.vault.resumeAnswering()
		h.advance(time.Hour)
		assert.Equal(h, 1, h.loggedTimes(msgOverruled), "once for each seal, however long it takes")
	})
}

// Vault closes its listeners before it seals itself, and answers connections
// that are open until it ends.
func TestLoop_ShutdownOfVaultIsNoManualSeal(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(5 * time.Second)
		h.resetRecords()
		h.vault.seal()
		h.vault.with(func() { h.vault.stopping = true })
		h.advance(5 * time.Second)
		h.expectPhases(Active, Unreachable)
		h.vault.end()
		h.advance(5 * time.Second)
		h.vault.with(func() { h.vault.stopping = false })
		h.vault.begin("q")
		h.advance(5 * time.Second)
		h.expectPhases(Active, Unreachable, Unsealing, Activating, Active)
	})
}

func TestLoop_FastRestartIsNoManualSeal(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(time.Second)
		for n := range 20 {
			h.advance(time.Duration(n) * 97 * time.Millisecond)
			h.vault.begin("after p: " + string(rune('a'+n)))
			if n%2 == 0 {
				h.hint() // its connection broke
			}
			h.advance(3 * time.Second)
			h.expectPhase(Active)
		}
		assert.NotContains(h, h.phases(), Held.String())
		h.expectSent(21)
	})
}

func TestLoop_UnknownProcessEndsWithARefusedConnection(t *testing.T) {
	withUnknownProcess := func(scenario func(h *harness)) func(*testing.T) {
		return func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.vault.set(&h.vault.processErr, errors.New("in another network namespace"))
				h.vault.begin("p")
				h.start()
				h.advance(5 * time.Second)
				h.expectPhase(Active)
				assert.Equal(h, 1, h.loggedTimes(msgNoProcess))
				scenario(h)
			})
		}
	}
	t.Run("a seal is held while Vault stays reachable", withUnknownProcess(func(h *harness) {
		h.vault.seal()
		h.advance(time.Hour)
		h.expectPhase(Held)
		h.expectSent(1)
	}))
	t.Run("a refused connection in between is a restart", withUnknownProcess(func(h *harness) {
		h.vault.seal()
		h.advance(time.Minute)
		h.vault.end()
		h.advance(time.Second)
		h.vault.begin("q")
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		h.expectSent(2)
	}))
	t.Run("a restart under a Vault that served is one too", withUnknownProcess(func(h *harness) {
		for range 5 {
			h.vault.end()
			h.advance(time.Second)
			h.vault.begin("q")
			h.advance(5 * time.Second)
			h.expectPhase(Active)
		}
		assert.NotContains(h, h.phases(), Held.String())
	}))
	t.Run("a wrong key is sent once while Vault stays reachable", withUnknownProcess(func(h *harness) {
		h.keys.mount(wrongKey(1, 32))
		h.vault.end()
		h.advance(time.Second)
		h.vault.begin("q")
		h.advance(time.Hour)
		h.expectPhase(KeyRejected)
		h.expectSent(2)
	}))
	t.Run("nothing of it is kept for another run", withUnknownProcess(func(h *harness) {
		h.vault.seal()
		h.advance(time.Minute)
		assert.NotContains(h, string(h.store.text), unknownProcess)
		h.start()
		h.advance(time.Minute)
		h.expectPhase(Active)
		assert.Equal(h, 2, h.loggedTimes(msgNoState))
	}))
}

// A table that cannot be read for a moment must not end a hold, and must not
// make one.
func TestLoop_BrieflyUnknownProcessChangesNoHold(t *testing.T) {
	withManualSeal(t, func(h *harness) {
		h.vault.set(&h.vault.processErr, errors.New("too many open files"))
		h.advance(time.Minute)
		h.vault.set(&h.vault.processErr, nil)
		h.advance(time.Minute)
		h.expectPhases(Held)
		h.expectSent(1)

		h.vault.set(&h.vault.processErr, errors.New("too many open files"))
		h.vault.end()
		h.advance(time.Second)
		h.vault.begin("q")
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		h.vault.set(&h.vault.processErr, nil)
		h.advance(time.Minute)
		h.expectPhase(Active)
	})
}

func TestLoop_LogsAFailedSaveOnce(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.store.saveErr = errors.New("read-only file system")
		h.vault.begin("p")
		h.start()
		h.advance(5 * time.Second)
		for range 3 {
			h.vault.seal()
			h.advance(5 * time.Second)
			h.expectPhase(Held)
			h.vault.unseal()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
		}
		assert.Equal(h, 1, h.loggedTimes(msgStateLost))
		require.Greater(h, h.store.saves, 3)
	})
}

func TestLoop_SavesItsStateOnlyWhenItChanges(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(time.Hour)
		assert.Equal(h, 2, h.store.saves, "an unsealed process is written once, and how it recovered")
		h.vault.seal()
		h.advance(time.Hour)
		assert.Equal(h, 3, h.store.saves, "a hold is written once")
	})
}

func TestLoop_RetriesAFailedSave(t *testing.T) {
	for sentence, c := range map[string]struct {
		later     time.Duration
		fullAgain bool
	}{
		"soon after there is room":  {5 * time.Second, true},
		"when it is stopped before": {time.Millisecond, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.store.saveErr = errors.New("no space left on device")
				h.vault.begin("p")
				h.start()
				h.advance(time.Hour)
				h.expectPhase(Active)
				assert.Equal(h, 1, h.loggedTimes(msgStateLost))
				h.store.mu.Lock()
				assert.LessOrEqual(h, h.store.saves, 725)
				h.store.saveErr = nil
				h.store.mu.Unlock()
				h.advance(c.later)
				if c.fullAgain {
					h.store.mu.Lock()
					h.store.saveErr = errors.New("full again")
					h.store.mu.Unlock()
				}
				h.stop()
				h.vault.seal()
				h.start()
				h.advance(5 * time.Second)
				h.expectPhase(Held)
			})
		})
	}
}
