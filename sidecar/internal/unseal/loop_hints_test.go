package unseal

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
)

// hintAlways hints every time the loop has turned, as connections do that
// break all the time.
func (h *home) hintAlways(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		h.hint()
		time.Sleep(time.Millisecond)
	}
}

func TestHintsNeverMakeItAskWithoutPause(t *testing.T) {
	for sentence, row := range map[string]struct {
		prepare func(v *fakeVault)
		most    int // probes a second
	}{
		"a Vault that is away":                  {func(v *fakeVault) { v.end() }, 100},
		"a Vault that answers with errors":      {func(v *fakeVault) { v.statusErr = errStorage }, 5},
		"a silent Vault":                        {func(v *fakeVault) { v.mute() }, 1},
		"a Vault that serves, sealed or not":    {func(*fakeVault) {}, 51},
		"a Vault whose storage does not answer": {func(v *fakeVault) { v.unseal(); v.freeze() }, 51},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *home) {
				h.vault.begin("p")
				row.prepare(h.vault)
				h.start()
				h.goOn(5 * time.Second)
				before := h.vault.count(&h.vault.asked)
				h.hintAlways(10 * time.Second)
				assert.LessOrEqual(h, h.vault.count(&h.vault.asked)-before, 10*row.most)
				assert.LessOrEqual(h, len(h.logged()), 7)
			})
		})
	}
	t.Run("a Vault that was away for long is asked once a second still", func(t *testing.T) {
		inBubble(t, 1, 1, func(h *home) {
			h.start()
			h.goOn(16 * time.Minute)
			before := h.vault.count(&h.vault.asked)
			h.hintAlways(10 * time.Second)
			assert.LessOrEqual(h, h.vault.count(&h.vault.asked)-before, 13)
		})
	})
}

func TestAConnectionThatBreaksIsFollowedAtOnce(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.start()
		h.goOn(5 * time.Second)
		h.vault.end()
		h.hint()
		h.goOn(25 * time.Millisecond)
		h.expect(Unreachable)
	})
}

func TestWithoutHintsNothingIsMissed(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		right := h.keys.shares
		h.keys.fail("missing")
		h.vault.begin("p")
		h.start(func(c *Config) { c.Wake = nil })
		h.goOn(5 * time.Second)
		h.keys.mount(right...)
		h.goOn(time.Second)
		h.expect(Active)
		h.vault.end()
		h.goOn(time.Second)
		h.expect(Unreachable)
	})
}

// With a load balancer in front of two of them, one of which is away, say.
func TestAVaultThatFlapsDoesNotFillTheLog(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.start(func(c *Config) {
			c.Log = hclog.New(&hclog.LoggerOptions{Output: h, Level: hclog.Info, JSONFormat: true})
		})
		for range 1200 {
			h.vault.end()
			h.goOn(500 * time.Millisecond)
			h.vault.begin("p")
			h.vault.unseal()
			h.goOn(2500 * time.Millisecond)
		}
		assert.Greater(h, len(h.phases()), 3000)
		assert.LessOrEqual(h, len(h.logged()), 3*tellsAnHour, "with what is told of each recovery")
		assert.Positive(h, h.loggedTimes(msgHushed))
		h.forget()
		h.goOn(2 * time.Minute)
		assert.Equal(h, []string{phases[Active].Message, msgRecovered}, h.logged(), "what lasts is told after all")
	})
}

func TestNoLevelOfTheLogShowsAShare(t *testing.T) {
	inBubble(t, 3, 5, func(h *home) {
		right := h.keys.shares
		h.keys.mount(append([]Share{wrongKey(1, 33)}, right...)...)
		h.vault.stranger(inHex(wrongKey(2, 33)))
		h.start(func(c *Config) {
			c.Log = hclog.New(&hclog.LoggerOptions{Output: h, Level: hclog.Trace})
		})
		h.vault.begin("p")
		h.goOn(time.Minute)
		h.expect(Active)
		h.vault.seal()
		h.goOn(time.Minute)
		h.keys.mount(right...)
		h.goOn(time.Minute)
		assert.Contains(h, h.output.String(), msgProbe)
		assert.Contains(h, h.output.String(), msgAttempt)
		assertHidden(h.T, notations(wrongKey(1, 33).bytes()), h.output.String(), "the log")
	})
}
