package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const oneOfTwo = "1 of the 2 shares that the threshold needs are mounted"

// lacking is a home whose open Vault takes two shares, and one is mounted.
func lacking(t *testing.T, scene func(h *home, all []Share)) {
	t.Helper()
	inBubble(t, 2, 3, func(h *home) {
		all := h.keys.shares
		h.keys.mount(all[0])
		h.vault.begin("p")
		h.vault.unseal()
		h.start()
		h.goOn(5 * time.Second)
		h.expect(Active)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
		assert.Equal(h, 1, h.state().Shares, "that it is well-formed is still true")
		assert.Equal(h, 1, h.loggedTimes(msgKeysProblem))
		scene(h, all)
	})
}

// rekeyed has Vault take other shares from now on, as a rekey does.
func (v *fakeVault) rekeyed(threshold int, shares ...Share) {
	v.with(func() {
		v.status.Threshold, v.status.Shares, v.right = threshold, len(shares), nil
		for _, s := range shares {
			v.right = append(v.right, inHex(s))
		}
	})
}

func TestTooFewSharesAreToldWhileVaultIsOpen(t *testing.T) {
	t.Run("once, for a day", func(t *testing.T) {
		lacking(t, func(h *home, _ []Share) {
			h.goOn(24 * time.Hour)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			assert.Equal(h, 1, h.loggedTimes(msgKeysProblem))
			h.expectSent(0)
		})
	})
	t.Run("until another is mounted", func(t *testing.T) {
		lacking(t, func(h *home, all []Share) {
			h.keys.mount(all[0], all[2])
			h.goOn(2 * time.Second)
			assert.Empty(h, h.state().KeyError)
			h.keys.mount(all[1])
			h.goOn(2 * time.Second)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
		})
	})
	t.Run("until a rekey makes them enough", func(t *testing.T) {
		lacking(t, func(h *home, _ []Share) {
			whole := wrongKey(7, 32)
			h.keys.mount(whole)
			h.goOn(2 * time.Second)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			h.forget()
			h.vault.rekeyed(1, whole)
			h.goOn(thresholdEvery + time.Second)
			assert.Empty(h, h.state().KeyError)
			assert.Equal(h, []string{msgKeysLoaded}, h.logged())
		})
	})
	t.Run("and in the same words when it is sealed", func(t *testing.T) {
		lacking(t, func(h *home, _ []Share) {
			h.vault.begin("q")
			h.goOn(2 * time.Second)
			h.expect(NoKey)
			assert.Equal(h, oneOfTwo, h.state().Reason)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			assert.Equal(h, 1, h.loggedTimes(msgKeysProblem))
		})
	})
	t.Run("and not for a moment of errors less", func(t *testing.T) {
		lacking(t, func(h *home, _ []Share) {
			h.forget()
			h.vault.set(&h.vault.healthErr, errStorage)
			h.goOn(10 * time.Second)
			h.expect(Failing)
			h.vault.set(&h.vault.healthErr, nil)
			h.goOn(10 * time.Second)
			h.expect(Active)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			for _, s := range h.states {
				assert.Equal(h, oneOfTwo, s.KeyError)
			}
		})
	})
}

func TestAThresholdThatIsNotToldIsAskedForAgain(t *testing.T) {
	lacking(t, func(h *home, _ []Share) {
		h.vault.with(func() { h.vault.statusLag = 24 * time.Hour })
		h.goOn(10 * time.Minute)
		h.expect(Active)
		assert.Empty(h, h.state().KeyError, "what was known is too old")
		h.vault.with(func() { h.vault.statusLag = 0 })
		h.goOn(3 * thresholdEvery)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
	})
}

func TestARekeyThatLeavesTheMountedKeyBehindIsTold(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.start()
		h.goOn(time.Minute)
		h.expect(Active)
		h.vault.rekeyed(2, wrongKey(7, 33), wrongKey(8, 33), wrongKey(9, 33))
		h.goOn(thresholdEvery + time.Second)
		h.expect(Active)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
	})
}

// Where the Secret holds what it should, no state tells of a lack: not when
// Vault changes over, nor when what it took before is gone.
func TestARotationIsNoLack(t *testing.T) {
	whole := []Share{wrongKey(1, 32)}
	split := []Share{wrongKey(2, 33), wrongKey(3, 33), wrongKey(4, 33)}
	for _, row := range []struct {
		sentence     string
		from, to     []Share
		before, then int // the thresholds
	}{
		{"from a whole key to shares", whole, split, 1, 2},
		{"from shares to a whole key", split, whole, 2, 1},
		{"to a higher threshold", split[:2], append(split, wrongKey(5, 33)), 2, 4},
	} {
		// Vault changes over at each of many moments between two looks.
		for late := time.Duration(0); late < thresholdEvery; late += 7 * time.Second {
			t.Run(row.sentence, func(t *testing.T) {
				inBubble(t, 1, 1, func(h *home) {
					h.keys.mount(row.from...)
					h.vault.rekeyed(row.before, row.from...)
					h.vault.begin("p")
					h.start()
					h.goOn(time.Minute + late)
					h.keys.mount(append(row.from[:len(row.from):len(row.from)], row.to...)...)
					h.goOn(2 * time.Second)
					h.vault.rekeyed(row.then, row.to...)
					h.goOn(2 * time.Second)
					h.keys.mount(row.to...)
					h.goOn(10 * time.Minute)
					h.expect(Active)
					for _, s := range h.states {
						assert.Empty(h, s.KeyError)
					}
					assert.Zero(h, h.loggedTimes(msgKeysProblem))
				})
			})
		}
	}
}

// A standby tells the threshold that it knew when it was opened.
func TestAStandbysThresholdIsNotBelieved(t *testing.T) {
	inBubble(t, 2, 3, func(h *home) {
		h.keys.mount(h.keys.shares[0])
		h.vault.begin("p")
		h.vault.with(func() { h.vault.standby = true })
		h.vault.unseal()
		h.start()
		h.goOn(time.Hour)
		h.expect(Standby)
		for _, s := range h.states {
			assert.Empty(h, s.KeyError)
		}
		h.vault.with(func() { h.vault.standby = false })
		h.goOn(5 * time.Second)
		h.expect(Active)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
		h.vault.with(func() { h.vault.standby = true })
		h.goOn(thresholdHolds + time.Second)
		h.expect(Standby)
		assert.Empty(h, h.state().KeyError, "another replica may have been rekeyed since")
	})
}

func TestWhatAnOldAnswerSaidIsNotTold(t *testing.T) {
	t.Run("when the seal status fails", func(t *testing.T) {
		lacking(t, func(h *home, _ []Share) {
			h.vault.set(&h.vault.statusErr, errStorage)
			h.goOn(thresholdHolds - time.Minute)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			h.goOn(time.Minute + 2*time.Second)
			h.expect(Active)
			assert.Empty(h, h.state().KeyError)
			asked := h.vault.count(&h.vault.asked)
			h.goOn(time.Hour)
			assert.Less(h, h.vault.count(&h.vault.asked)-asked, 2*3600, "the probes and one look a minute")
			h.vault.set(&h.vault.statusErr, nil)
			h.goOn(thresholdEvery + time.Second)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
		})
	})
	t.Run("when the seal status comes very late", func(t *testing.T) {
		lacking(t, func(h *home, _ []Share) {
			h.vault.with(func() { h.vault.statusLag = time.Hour })
			h.goOn(time.Hour - time.Minute)
			assert.Empty(h, h.state().KeyError)
			h.vault.with(func() { h.vault.statusLag = 0 })
			h.vault.rekeyed(1, wrongKey(7, 32))
			h.forget()
			h.goOn(10 * time.Minute)
			assert.Equal(h, "at threshold 1 the key has 16, 24 or 32 bytes, and no mounted share has: these are shares of a split key", h.state().KeyError)
			for _, s := range h.states {
				assert.NotEqual(h, oneOfTwo, s.KeyError, "so it was an hour ago")
			}
		})
	})
	t.Run("when Vault is away", func(t *testing.T) {
		lacking(t, func(h *home, _ []Share) {
			h.vault.end()
			h.goOn(thresholdHolds + time.Second)
			h.expect(Unreachable)
			assert.Empty(h, h.state().KeyError)
		})
	})
}

// What it told as a standby says nothing of a Vault that is active now.
func TestANewActiveVaultIsAskedAnew(t *testing.T) {
	inBubble(t, 2, 3, func(h *home) {
		whole := wrongKey(7, 32)
		h.keys.mount(whole)
		h.vault.begin("p")
		h.vault.with(func() { h.vault.standby = true })
		h.vault.unseal()
		h.start()
		h.goOn(10 * time.Second)
		h.expect(Standby)
		h.vault.rekeyed(1, whole)
		h.vault.with(func() { h.vault.standby = false })
		h.goOn(10 * time.Minute)
		h.expect(Active)
		for _, s := range h.states {
			assert.Empty(h, s.KeyError)
		}
	})
}

// Nothing is asked of a seal that shares do not open.
func TestAnotherSealLacksNothing(t *testing.T) {
	inBubble(t, 2, 3, func(h *home) {
		h.keys.mount(h.keys.shares[0])
		h.vault.with(func() { h.vault.status.Type = "awskms" })
		h.vault.begin("p")
		h.vault.unseal()
		h.start()
		h.goOn(time.Hour)
		h.expect(Active)
		assert.Empty(h, h.state().KeyError)
	})
}
