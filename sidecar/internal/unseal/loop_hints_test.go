package unseal

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
)

// hintFor sends a hint after each turn of the loop, as connections do that
// break all the time.
func (h *harness) hintFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		h.hint()
		time.Sleep(time.Millisecond)
	}
}

func TestLoop_HintsDoNotExceedTheProbeRate(t *testing.T) {
	for sentence, row := range map[string]struct {
		prepare func(v *fakeVault)
		most    int // probes a second
	}{
		"a Vault that is away":                  {func(v *fakeVault) { v.end() }, 100},
		"a Vault that answers with errors":      {func(v *fakeVault) { v.statusErr = errStorage }, 5},
		"a silent Vault":                        {func(v *fakeVault) { v.stopAnswering() }, 1},
		"a Vault that serves, sealed or not":    {func(*fakeVault) {}, 51},
		"a Vault whose storage does not answer": {func(v *fakeVault) { v.unseal(); v.hangStorage() }, 51},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.vault.begin("p")
				row.prepare(h.vault)
				h.start()
				h.advance(5 * time.Second)
				before := h.vault.count(&h.vault.probes)
				h.hintFor(10 * time.Second)
				assert.LessOrEqual(h, h.vault.count(&h.vault.probes)-before, 10*row.most)
				assert.LessOrEqual(h, len(h.logged()), 7)
			})
		})
	}
	t.Run("a Vault that was away for long is asked once a second still", func(t *testing.T) {
		inBubble(t, 1, 1, func(h *harness) {
			h.start()
			h.advance(16 * time.Minute)
			before := h.vault.count(&h.vault.probes)
			h.hintFor(10 * time.Second)
			assert.LessOrEqual(h, h.vault.count(&h.vault.probes)-before, 13)
		})
	})
}

func TestLoop_ProbesAtOnceAfterAHint(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(5 * time.Second)
		h.vault.end()
		h.hint()
		h.advance(25 * time.Millisecond)
		h.expectPhase(Unreachable)
	})
}

func TestLoop_NoticesEverythingWithoutHints(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		right := h.keys.shares
		h.keys.fail("missing")
		h.vault.begin("p")
		h.start(func(c *Config) { c.Wake = nil })
		h.advance(5 * time.Second)
		h.keys.mount(right...)
		h.advance(time.Second)
		h.expectPhase(Active)
		h.vault.end()
		h.advance(time.Second)
		h.expectPhase(Unreachable)
	})
}

// With a load balancer in front of two of them, one of which is away, say.
func TestLoop_LimitsTheLogOfAFlappingVault(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.start(func(c *Config) {
			c.Log = hclog.New(&hclog.LoggerOptions{Output: h, Level: hclog.Info, JSONFormat: true})
		})
		for range 1200 {
			h.vault.end()
			h.advance(500 * time.Millisecond)
			h.vault.begin("p")
			h.vault.unseal()
			h.advance(2500 * time.Millisecond)
		}
		assert.Greater(h, len(h.phases()), 3000)
		assert.LessOrEqual(h, len(h.logged()), 3*loggedPerHour, "with the messages of each recovery")
		assert.Positive(h, h.loggedTimes(msgFlapping))
		h.resetRecords()
		h.advance(2 * time.Minute)
		assert.Equal(h, []string{phases[Active].Message, msgRecovered}, h.logged(), "what lasts is logged after all")
	})
}

func TestLoop_LogsNoShareAtAnyLevel(t *testing.T) {
	inBubble(t, 3, 5, func(h *harness) {
		right := h.keys.shares
		h.keys.mount(append([]Share{wrongKey(1, 33)}, right...)...)
		h.vault.sendForeign(inHex(wrongKey(2, 33)))
		h.start(func(c *Config) {
			c.Log = hclog.New(&hclog.LoggerOptions{Output: h, Level: hclog.Trace})
		})
		h.vault.begin("p")
		h.advance(time.Minute)
		h.expectPhase(Active)
		h.vault.seal()
		h.advance(time.Minute)
		h.keys.mount(right...)
		h.advance(time.Minute)
		assert.Contains(h, h.output.String(), msgProbe)
		assert.Contains(h, h.output.String(), msgAttempt)
		assertHidden(h.T, notations(wrongKey(1, 33).bytes()), h.output.String(), "the log")
	})
}
