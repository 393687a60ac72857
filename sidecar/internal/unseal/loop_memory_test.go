package unseal

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestState_UnsealedAtIsWhenTheMountedKeyLastUnsealedVault(t *testing.T) {
	for sentence, prepare := range map[string]func(h *harness){
		"at once": func(*harness) {},
		"in an unseal that hung for too long": func(h *harness) {
			h.vault.unsealTimesOut = true
			h.vault.hangStorage()
			time.AfterFunc(3*time.Second, h.vault.resumeStorage)
		},
		"by joining a raft cluster, later": func(h *harness) { h.vault.joinDelay, h.vault.standby, h.vault.status.Raft = 10*time.Second, true, true },
		"after it had failed for a while":  func(h *harness) { h.vault.unsealErr = errors.New("answered 500") },
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.vault.begin("p")
				prepare(h)
				h.start()
				h.advance(5 * time.Second)
				h.vault.set(&h.vault.unsealErr, nil)
				h.advance(time.Minute)
				require.True(h, h.state().Phase.Serving(), h.state().Phase)
				opened := h.state().UnsealedAt
				assert.False(h, opened.IsZero())
				assert.False(h, h.state().KeyChanged)

				h.start() // the sidecar alone
				h.advance(time.Minute)
				assert.True(h, opened.Equal(h.state().UnsealedAt), "it is remembered")
				h.keys.mount(NewShare(keyOf(8)), NewShare(keyOf(9)))
				h.advance(time.Minute)
				assert.True(h, h.state().KeyChanged)
				assert.True(h, opened.Equal(h.state().UnsealedAt))
			})
		})
	}
}

func TestState_UnsealedAtIgnoresAManualUnseal(t *testing.T) {
	errUID := fmt.Errorf("it runs as uid 7: %w", ErrWithheld)
	unsealAtShare := func(h *harness, n int) {
		h.vault.beforeShare = func(at int) {
			if at == n {
				h.vault.unseal()
			}
		}
	}
	for sentence, row := range map[string]struct {
		threshold int
		prepare   func(h *harness)
		before    Phase // that of the unseal by hand; it is Active where that comes during the attempt
	}{
		"without a key":                        {1, func(h *harness) { h.keys.mount() }, NoKey},
		"after a call that was withheld":       {1, func(h *harness) { h.vault.unsealErr = errUID }, Failing},
		"after one that was withheld for long": {1, func(h *harness) { h.vault.unsealErr, h.vault.unsealLag = errUID, 3*time.Second }, Failing},
		"after an error that came late, once Vault was seen sealed": {1, func(h *harness) {
			h.vault.unsealErr, h.vault.unsealLag = errStorage, 3*time.Second
			time.AfterFunc(3100*time.Millisecond, h.vault.unseal)
		}, Active},
		"after an error that came at once":        {1, func(h *harness) { h.vault.unsealErr = errStorage }, Failing},
		"before the first share of two":           {2, func(h *harness) { unsealAtShare(h, 1) }, Active},
		"before the last but one of three shares": {3, func(h *harness) { unsealAtShare(h, 2) }, Active},
		"before the last of three shares, after another client's": {3, func(h *harness) {
			h.vault.sendForeign(inHex(wrongKey(9, 33)))
			h.vault.beforeShare = func(n int) {
				switch n {
				case 2: // a reset, or ours would come to the threshold early
					h.vault.with(func() { h.vault.parts = nil })
				case 3:
					h.vault.unseal()
				}
			}
		}, Active},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, row.threshold, row.threshold, func(h *harness) {
				h.vault.begin("p")
				var wrong []Share
				for i, right := range h.keys.shares {
					wrong = append(wrong, wrongKey(byte(i), right.Len()))
				}
				h.keys.mount(wrong...)
				row.prepare(h)
				h.start()
				h.advance(4500 * time.Millisecond)
				h.expectPhase(row.before)
				h.vault.unseal()
				h.advance(time.Minute)
				h.expectPhase(Active)
				assert.Zero(h, h.state().UnsealedAt)
				var saved SavedState
				require.NoError(h, h.store.Load(&saved))
				assert.False(h, saved.Fits(wrong))
			})
		})
	}
}

// The key that was proved wrong was tried before the unseal by hand, and did not open
// Vault.
func TestProofSchedule_ManualUnsealKeepsAnInvalidProof(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		var published []Proof
		p := NewProofSchedule(ProofSchedule{Log: nopLogger, Publish: func(p Proof) { published = append(published, p) }})
		h.vault.begin("p")
		h.vault.unseal()
		h.start(func(c *Config) {
			publish := c.Publish
			c.Publish = func(s Snapshot) {
				publish(s)
				p.setState(s)
			}
		})
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		p.report(Proof{At: time.Now(), Result: ProofInvalid})
		h.vault.set(&h.vault.unsealErr, errStorage)
		h.vault.begin("q")
		h.advance(5 * time.Second)
		h.expectPhase(Failing)
		h.vault.unseal()
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		require.Len(h, published, 1)
		assert.Equal(h, ProofInvalid, published[0].Result)
	})
}

func TestState_HistorySurvivesASidecarRestart(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		for i := range maxHistory + 2 {
			h.vault.begin(string(rune('a' + i)))
			if i == 0 || i == 3 {
				h.start() // in the middle, the sidecar alone: no recovery of Vault's
			}
			h.advance(10 * time.Second)
			h.expectPhase(Active)
			h.vault.end()
			h.advance(time.Duration(i+1) * time.Minute)
		}
		h.vault.begin("last")
		h.advance(10 * time.Second)
		history := h.state().History
		require.Len(h, history, maxHistory)
		for i, r := range history {
			assert.True(h, r.Done)
			if i > 0 {
				assert.True(h, r.Began.Before(history[i-1].Began), "the newest first")
				assert.Less(h, r.Took, history[i-1].Took)
			}
		}
		h.start()
		h.advance(10 * time.Second)
		again := h.state().History
		require.Len(h, again, maxHistory)
		for i := range again {
			assert.Equal(h, history[i].String(), again[i].String(), "over a restart of the sidecar, which adds none")
		}
	})
}

func TestState_HistoryOmitsDamagedEntries(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		text, err := json.Marshal(SavedState{History: []*Recovery{nil, {Done: true}, {Done: true, Steps: []Step{{Phase: Unsealing, Took: time.Second}}}}})
		require.NoError(h, err)
		h.store.text = text
		h.vault.begin("p")
		h.start()
		h.advance(10 * time.Second)
		require.Len(h, h.state().History, 2)
		assert.Equal(h, "unsealing 1s", h.state().History[1].String())
	})
}
