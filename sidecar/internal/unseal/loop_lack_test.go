package unseal

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const oneOfTwo = "1 of the 2 shares that the threshold needs are mounted"

// withMissingShare runs a scenario in which Vault is unsealed, its threshold is
// two and one share is mounted.
func withMissingShare(t *testing.T, scenario func(h *harness, all []Share)) {
	t.Helper()
	inBubble(t, 2, 3, func(h *harness) {
		all := h.keys.shares
		h.keys.mount(all[0])
		h.vault.begin("p")
		h.vault.unseal()
		h.start()
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
		assert.Equal(h, 1, h.state().Shares, "that it is well-formed is still true")
		assert.Equal(h, 1, h.loggedTimes(msgKeysProblem))
		scenario(h, all)
	})
}

// rekeyTo has Vault take other shares from now on, as a rekey does.
func (v *fakeVault) rekeyTo(threshold int, shares ...Share) {
	v.with(func() {
		v.status.Threshold, v.status.Shares, v.right = threshold, len(shares), nil
		for _, s := range shares {
			v.right = append(v.right, inHex(s))
		}
	})
}

func TestLoop_ReportsTooFewSharesWhileVaultIsUnsealed(t *testing.T) {
	t.Run("once, for a day", func(t *testing.T) {
		withMissingShare(t, func(h *harness, _ []Share) {
			h.advance(24 * time.Hour)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			assert.Equal(h, 1, h.loggedTimes(msgKeysProblem))
			h.expectSent(0)
		})
	})
	t.Run("until another is mounted", func(t *testing.T) {
		withMissingShare(t, func(h *harness, all []Share) {
			h.keys.mount(all[0], all[2])
			h.advance(2 * time.Second)
			assert.Empty(h, h.state().KeyError)
			h.keys.mount(all[1])
			h.advance(2 * time.Second)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
		})
	})
	t.Run("until a rekey makes them enough", func(t *testing.T) {
		withMissingShare(t, func(h *harness, _ []Share) {
			whole := wrongKey(7, 32)
			h.keys.mount(whole)
			h.advance(2 * time.Second)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			h.resetRecords()
			h.vault.rekeyTo(1, whole)
			h.advance(thresholdEvery + time.Second)
			assert.Empty(h, h.state().KeyError)
			assert.Equal(h, []string{msgKeysLoaded}, h.logged())
		})
	})
	t.Run("and in the same words when it is sealed", func(t *testing.T) {
		withMissingShare(t, func(h *harness, _ []Share) {
			h.vault.begin("q")
			h.advance(2 * time.Second)
			h.expectPhase(NoKey)
			assert.Equal(h, oneOfTwo, h.state().Reason)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			assert.Equal(h, 1, h.loggedTimes(msgKeysProblem))
		})
	})
	t.Run("and not for a moment of errors less", func(t *testing.T) {
		withMissingShare(t, func(h *harness, _ []Share) {
			h.resetRecords()
			h.vault.set(&h.vault.healthErr, errStorage)
			h.advance(10 * time.Second)
			h.expectPhase(Failing)
			h.vault.set(&h.vault.healthErr, nil)
			h.advance(10 * time.Second)
			h.expectPhase(Active)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			for _, s := range h.states {
				assert.Equal(h, oneOfTwo, s.KeyError)
			}
		})
	})
}

func TestLoop_ReadsTheThresholdAgainAfterNoAnswer(t *testing.T) {
	withMissingShare(t, func(h *harness, _ []Share) {
		h.vault.with(func() { h.vault.statusLag = 24 * time.Hour })
		h.advance(10 * time.Minute)
		h.expectPhase(Active)
		assert.Empty(h, h.state().KeyError, "what was known is too old")
		h.vault.with(func() { h.vault.statusLag = 0 })
		h.advance(3 * thresholdEvery)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
	})
}

func TestLoop_ReportsARekeyThatNeedsMoreShares(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(time.Minute)
		h.expectPhase(Active)
		h.vault.rekeyTo(2, wrongKey(7, 33), wrongKey(8, 33), wrongKey(9, 33))
		h.advance(thresholdEvery + time.Second)
		h.expectPhase(Active)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
	})
}

// While the Secret holds enough shares, no state reports a shortfall: not when
// Vault changes over, nor when what it took before is gone.
func TestLoop_ReportsNoShortfallDuringAKeyRotation(t *testing.T) {
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
			t.Run(fmt.Sprintf("%s, %v late", row.sentence, late), func(t *testing.T) {
				inBubble(t, 1, 1, func(h *harness) {
					h.keys.mount(row.from...)
					h.vault.rekeyTo(row.before, row.from...)
					h.vault.begin("p")
					h.start()
					h.advance(time.Minute + late)
					h.keys.mount(append(row.from[:len(row.from):len(row.from)], row.to...)...)
					h.advance(2 * time.Second)
					h.vault.rekeyTo(row.then, row.to...)
					h.advance(2 * time.Second)
					h.keys.mount(row.to...)
					h.advance(10 * time.Minute)
					h.expectPhase(Active)
					for _, s := range h.states {
						assert.Empty(h, s.KeyError)
					}
					assert.Zero(h, h.loggedTimes(msgKeysProblem))
				})
			})
		}
	}
}

// A standby reports the threshold that it knew when it was unsealed.
func TestLoop_IgnoresTheThresholdOfAStandby(t *testing.T) {
	inBubble(t, 2, 3, func(h *harness) {
		h.keys.mount(h.keys.shares[0])
		h.vault.begin("p")
		h.vault.with(func() { h.vault.standby = true })
		h.vault.unseal()
		h.start()
		h.advance(time.Hour)
		h.expectPhase(Standby)
		for _, s := range h.states {
			assert.Empty(h, s.KeyError)
		}
		h.vault.with(func() { h.vault.standby = false })
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		assert.Equal(h, oneOfTwo, h.state().KeyError)
		h.vault.with(func() { h.vault.standby = true })
		h.advance(thresholdHolds + time.Second)
		h.expectPhase(Standby)
		assert.Empty(h, h.state().KeyError, "another replica may have been rekeyed since")
	})
}

func TestLoop_DropsAnOutdatedThreshold(t *testing.T) {
	t.Run("when the seal status fails", func(t *testing.T) {
		withMissingShare(t, func(h *harness, _ []Share) {
			h.vault.set(&h.vault.statusErr, errStorage)
			h.advance(thresholdHolds - time.Minute)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
			h.advance(time.Minute + 2*time.Second)
			h.expectPhase(Active)
			assert.Empty(h, h.state().KeyError)
			asked := h.vault.count(&h.vault.probes)
			h.advance(time.Hour)
			assert.Less(h, h.vault.count(&h.vault.probes)-asked, 2*3600, "the probes and one look a minute")
			h.vault.set(&h.vault.statusErr, nil)
			h.advance(thresholdEvery + time.Second)
			assert.Equal(h, oneOfTwo, h.state().KeyError)
		})
	})
	t.Run("when the seal status comes very late", func(t *testing.T) {
		withMissingShare(t, func(h *harness, _ []Share) {
			h.vault.with(func() { h.vault.statusLag = time.Hour })
			h.advance(time.Hour - time.Minute)
			assert.Empty(h, h.state().KeyError)
			h.vault.with(func() { h.vault.statusLag = 0 })
			h.vault.rekeyTo(1, wrongKey(7, 32))
			h.resetRecords()
			h.advance(10 * time.Minute)
			assert.Equal(h, "at threshold 1 the key has 16, 24 or 32 bytes, and no mounted share has: these are shares of a split key", h.state().KeyError)
			for _, s := range h.states {
				assert.NotEqual(h, oneOfTwo, s.KeyError, "so it was an hour ago")
			}
		})
	})
	t.Run("when Vault is away", func(t *testing.T) {
		withMissingShare(t, func(h *harness, _ []Share) {
			h.vault.end()
			h.advance(thresholdHolds + time.Second)
			h.expectPhase(Unreachable)
			assert.Empty(h, h.state().KeyError)
		})
	})
}

// The answer of a standby is not valid once it is active.
func TestLoop_ReadsTheThresholdAgainWhenAStandbyBecomesActive(t *testing.T) {
	inBubble(t, 2, 3, func(h *harness) {
		whole := wrongKey(7, 32)
		h.keys.mount(whole)
		h.vault.begin("p")
		h.vault.with(func() { h.vault.standby = true })
		h.vault.unseal()
		h.start()
		h.advance(10 * time.Second)
		h.expectPhase(Standby)
		h.vault.rekeyTo(1, whole)
		h.vault.with(func() { h.vault.standby = false })
		h.advance(10 * time.Minute)
		h.expectPhase(Active)
		for _, s := range h.states {
			assert.Empty(h, s.KeyError)
		}
	})
}

// Nothing is asked of a seal that shares do not open.
func TestLoop_ReportsNoShortfallForAutoUnseal(t *testing.T) {
	inBubble(t, 2, 3, func(h *harness) {
		h.keys.mount(h.keys.shares[0])
		h.vault.with(func() { h.vault.status.Type = "awskms" })
		h.vault.begin("p")
		h.vault.unseal()
		h.start()
		h.advance(time.Hour)
		h.expectPhase(Active)
		assert.Empty(h, h.state().KeyError)
	})
}
