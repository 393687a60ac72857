package unseal

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestState_UnsealedAtIsWhenTheMountedKeyLastUnsealedVault(t *testing.T) {
	for sentence, prepare := range map[string]func(h *harness){
		"at once":                             func(*harness) {},
		"in an unseal that hung for too long": func(h *harness) { h.vault.unsealTimesOut = true },
		"by joining a raft cluster, later":    func(h *harness) { h.vault.joinDelay, h.vault.standby, h.vault.status.Raft = 10*time.Second, true, true },
		"after it had failed for a while":     func(h *harness) { h.vault.unsealErr = errors.New("answered 500") },
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
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.keys.mount()
		h.start()
		h.advance(5 * time.Second)
		h.expectPhase(NoKey)
		h.vault.unseal()
		h.advance(time.Minute)
		h.expectPhase(Active)
		assert.Zero(h, h.state().UnsealedAt)
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
