package unseal

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// keepingVault keeps what it is sent, and not a copy of it.
type keepingVault struct {
	*fakeVault
	kept [][]byte
}

func (v *keepingVault) Unseal(ctx context.Context, s Share) (SealStatus, error) {
	v.kept = append(v.kept, s.bytes())
	return v.fakeVault.Unseal(ctx, s)
}

func TestLoop_WipesEachShareOnceItIsSent(t *testing.T) {
	inBubble(t, 2, 2, func(h *harness) {
		v := &keepingVault{fakeVault: h.vault}
		h.vault.begin("p")
		h.start(func(c *Config) { c.Vault = v })
		h.advance(time.Second)
		h.expectPhase(Active)
		assert.Len(h, v.kept, 2)
		for _, raw := range v.kept {
			assert.Equal(h, make([]byte, 33), raw)
		}
	})
}
