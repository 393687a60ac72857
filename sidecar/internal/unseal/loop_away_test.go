package unseal

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLoop_LooksUpNoProcessWhileVaultIsUnreachable(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.start()
		h.advance(time.Second)
		h.expectPhase(Unreachable)
		before := h.vault.count(&h.vault.processReads)
		asked := h.vault.count(&h.vault.probes)
		h.advance(10 * time.Second)
		assert.Equal(h, before, h.vault.count(&h.vault.processReads))
		assert.Greater(h, h.vault.count(&h.vault.probes)-asked, 10*20)
	})
}

// The first answer after an absence identifies its process at once: a
// seal that follows is one by hand.
func TestLoop_RecordsTheProcessOfAVaultThatReturnsUnsealed(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.start()
		h.advance(time.Second)
		h.vault.begin("p")
		h.vault.unseal()
		h.advance(100 * time.Millisecond)
		h.vault.seal()
		h.advance(5 * time.Second)
		h.expectPhase(Held)
		h.expectSent(0)
	})
}

// Who took Vault's port before it keeps the probes that it has, and never answers.
func TestLoop_RenewsUnansweredProbesWhereTheProcessIsUnknown(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.processErr = errors.New("no /proc")
		held := make(chan struct{})
		defer close(held)
		h.vault.silent = held
		h.start()
		h.advance(10 * time.Second)
		h.expectPhase(Unresponsive)
		h.vault.mu.Lock()
		h.vault.silent = nil
		h.vault.mu.Unlock()
		h.advance(renewAfter)
		h.expectPhase(Active)
	})
}
