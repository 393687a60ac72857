package unseal

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A stranger who reaches Vault's port resets the progress and puts garbage shares there
// just before our last share, in both rounds, and then is gone.
func TestRecheck_OpensAVaultWhoseGoodKeyWasRefusedTwice(t *testing.T) {
	for threshold := 2; threshold <= 3; threshold++ {
		t.Run(fmt.Sprint(threshold), func(t *testing.T) {
			inBubble(t, threshold, threshold, func(h *harness) {
				hits := 0
				h.vault.beforeShare = func(n int) {
					if n%threshold != 0 || hits == 2 {
						return
					}
					hits++
					h.vault.with(func() {
						h.vault.parts = nil // sys/unseal {"reset": true}
						for range threshold - 1 {
							h.vault.add([]string{"aa", "bb", "cc"}[len(h.vault.parts)])
						}
					})
				}
				h.vault.begin("p")
				h.start()
				h.advance(time.Minute)
				assert.Equal(h, 2, hits)
				h.expectPhase(KeyRejected)
				h.advance(10 * time.Minute)
				h.expectPhase(Active)
			})
		})
	}
}

func TestRecheck_OfAWrongKeyIsRareAndQuiet(t *testing.T) {
	inBubble(t, 2, 3, func(h *harness) {
		h.keys.mount(wrongKey(1, 33), wrongKey(2, 33))
		h.vault.begin("p")
		h.start()
		h.advance(time.Minute)
		h.expectPhase(KeyRejected)
		logged, sent := len(h.logged()), len(h.vault.sentShares())
		h.advance(24 * time.Hour)
		h.expectPhase(KeyRejected)
		assert.Len(h, h.logged(), logged, "it is no news")
		rechecks := (len(h.vault.sentShares()) - sent) / 4 // of two shares, in two rounds
		assert.InDelta(h, 23, rechecks, 4)
		h.start() // and after a restart of the sidecar alone
		h.advance(time.Second)
		h.expectPhase(KeyRejected)
	})
}

// What somebody left in Vault and does not go on with keeps the key out for an hour.
func TestRecheck_WaitsForForeignSharesThatChange(t *testing.T) {
	inBubble(t, 3, 3, func(h *harness) {
		h.keys.mount(wrongKey(1, 33), wrongKey(2, 33), wrongKey(3, 33))
		h.vault.begin("p")
		h.start()
		h.advance(time.Minute)
		h.expectPhase(KeyRejected)
		sent := len(h.vault.sentShares())
		h.vault.sendForeign(inHex(wrongKey(8, 33)))
		h.advance(50 * time.Minute)
		h.expectSent(sent)
		h.vault.sendForeign(inHex(wrongKey(9, 33)))
		h.advance(50 * time.Minute)
		h.expectSent(sent)
		h.advance(20 * time.Minute)
		assert.Greater(h, len(h.vault.sentShares()), sent)
	})
}

func TestNext_ARecheckIsNoPhaseOfItsOwn(t *testing.T) {
	o := Observation{Vault: AnswerSealed, Keys: KeysUsable, Rechecking: true}
	phase, action := Next(KeyRejected, o)
	assert.Equal(t, []any{KeyRejected, SendShare}, []any{phase, action})
	o.Sending = true
	phase, action = Next(KeyRejected, o)
	assert.Equal(t, []any{KeyRejected, Wait}, []any{phase, action})
	phase, _ = Next(Unreachable, o)
	assert.Equal(t, Unsealing, phase, "of another process all is new")
}

// One foreign share an hour must not keep a good key out for ever.
func TestRecheck_IsPutOffByForeignSharesForSomeHoursAlone(t *testing.T) {
	inBubble(t, 2, 2, func(h *harness) {
		hits := 0
		h.vault.beforeShare = func(n int) {
			if n%2 != 0 || hits == 2 {
				return
			}
			hits++
			h.vault.with(func() { h.vault.parts = nil; h.vault.add("aa") })
		}
		h.vault.begin("p")
		h.start()
		h.advance(time.Minute)
		h.expectPhase(KeyRejected)
		for n := range 4 {
			h.vault.with(func() { h.vault.parts = nil })
			h.advance(3 * time.Second)
			h.vault.sendForeign(inHex(wrongKey(byte(n+20), 33)))
			h.advance(55 * time.Minute)
		}
		h.expectPhase(Active)
	})
}
