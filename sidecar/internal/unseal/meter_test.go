package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestResults_NameEachEndOfAnAttempt(t *testing.T) {
	assert.Equal(t, []string{"opened", "rejected", "interfered", "failed", "lost", "undecided", "accepted"}, Results())
}

func TestLoop_CountsEachAttemptByItsResult(t *testing.T) {
	for result, prepare := range map[string]func(h *harness){
		"opened":     func(*harness) {},
		"rejected":   func(h *harness) { h.keys.mount(wrongKey(1, 33), wrongKey(2, 33)) },
		"interfered": func(h *harness) { h.vault.sendForeign(inHex(wrongKey(1, 33))) },
		"failed":     func(h *harness) { h.vault.unsealErr = errStorage },
		"lost":       func(h *harness) { h.vault.unsealErr = brokenReply.err },
		"undecided":  func(h *harness) { h.vault.status.Threshold, h.vault.status.Shares = 0, 0 },
		"accepted":   func(h *harness) { h.vault.joinDelay, h.vault.status.Raft = time.Minute, true },
	} {
		t.Run(result, func(t *testing.T) {
			inBubble(t, 2, 2, func(h *harness) {
				h.vault.begin("p")
				prepare(h)
				h.start()
				h.advance(30 * time.Second)
				if assert.NotEmpty(h, h.meter.results) {
					assert.Equal(h, result, h.meter.results[0])
				}
			})
		})
	}
}

func TestLoop_CountsKeyChangesAndRecoveries(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(time.Minute)
		assert.Zero(h, h.meter.keyChanges, "the first keys are no change")
		assert.Len(h, h.meter.recoveries, 1)
		h.start() // the sidecar alone
		h.advance(time.Minute)
		h.keys.mount(append(h.keys.shares, wrongKey(1, 32))...)
		h.advance(time.Minute)
		assert.Equal(h, 1, h.meter.keyChanges)
		h.keys.fail("missing")
		h.advance(time.Minute)
		assert.Equal(h, 1, h.meter.keyChanges, "what cannot be used is none")
		assert.Len(h, h.meter.recoveries, 1, "Vault was not away")
		h.vault.end()
		h.advance(time.Minute)
		h.vault.begin("q")
		h.vault.unseal()
		h.advance(time.Minute)
		assert.Len(h, h.meter.recoveries, 2)
		assert.InDelta(h, time.Minute.Seconds(), h.meter.recoveries[1].Took.Seconds(), 1)
	})
}
