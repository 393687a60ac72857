package unseal

import (
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
