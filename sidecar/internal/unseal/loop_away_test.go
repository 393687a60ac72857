package unseal

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWhileVaultIsAwayNobodyAsksWhoListens(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.start()
		h.goOn(time.Second)
		h.expect(Unreachable)
		before := h.vault.count(&h.vault.named)
		asked := h.vault.count(&h.vault.asked)
		h.goOn(10 * time.Second)
		assert.Equal(h, before, h.vault.count(&h.vault.named))
		assert.Greater(h, h.vault.count(&h.vault.asked)-asked, 10*20)
	})
}

// The first answer after an absence tells at once which process it is of: a
// seal that follows is one by hand.
func TestAVaultThatComesBackUnsealedIsKnownAtOnce(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.start()
		h.goOn(time.Second)
		h.vault.begin("p")
		h.vault.unseal()
		h.goOn(100 * time.Millisecond)
		h.vault.seal()
		h.goOn(5 * time.Second)
		h.expect(Held)
		h.expectSent(0)
	})
}

// Who took Vault's port before it keeps the probes that it has, and never answers.
func TestProbesThatAnotherHolds_AreRenewedWhereProcessesHaveNoNames(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.vault.blind = errors.New("no /proc")
		held := make(chan struct{})
		defer close(held)
		h.vault.silent = held
		h.start()
		h.goOn(10 * time.Second)
		h.expect(Unresponsive)
		h.vault.mu.Lock()
		h.vault.silent = nil
		h.vault.mu.Unlock()
		h.goOn(renewAfter)
		h.expect(Active)
	})
}
