package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// jitters are draws from [0, 1), with its ends.
var jitters = []float64{0, 0.25, 0.5, 0.999999}

func TestPollInterval_FollowsPhaseAndAge(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		sentence  string
		phase     Phase
		age       time.Duration
		low, high time.Duration
	}{
		{"the first probe goes out at once", Starting, 0, 0, 0},
		{"a refused connection is tried again in 10 to 20 ms", Unreachable, 0, 10 * ms, 20 * ms},
		{"so it is after 10 seconds", Unreachable, 10 * time.Second, 10 * ms, 20 * ms},
		{"in 20 to 30 ms when it has waited for long", Unreachable, 20 * time.Second, 20 * ms, 30 * ms},
		{"so it is just before a quarter of an hour", Unreachable, 15*time.Minute - 1, 20 * ms, 30 * ms},
		{"after that it is about a second", Unreachable, 15 * time.Minute, 900 * ms, 1100 * ms},
		{"for ever", Unreachable, 1000 * time.Hour, 900 * ms, 1100 * ms},
		{"a failing Vault is asked soon", Failing, 0, 50 * ms, 50 * ms},
		{"then more slowly", Failing, 2 * time.Second, 500 * ms, 500 * ms},
		{"once a second at the slowest", Failing, time.Hour, time.Second, time.Second},
		{"an unsealed Vault is asked for its health at once", Activating, 0, 0, 0},
		{"and again, more slowly", Activating, time.Second, 250 * ms, 250 * ms},
		{"once a second at the slowest", Activating, time.Hour, time.Second, time.Second},
		{"beside an unseal it is asked once a second", Unsealing, 0, time.Second, time.Second},
		{"and beside one that hangs", UnsealHanging, time.Hour, time.Second, time.Second},
		{"a silent Vault is asked again beside", Unresponsive, time.Hour, time.Second, time.Second},
		{"a Vault that serves is looked at within a second", Active, time.Hour, 850 * ms, 900 * ms},
		{"a held one too", Held, time.Hour, 850 * ms, 900 * ms},
		{"a standby too", Standby, 0, 850 * ms, 900 * ms},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			for _, r := range jitters {
				got := pollInterval(row.phase, row.age, r)
				assert.GreaterOrEqual(t, got, row.low)
				assert.LessOrEqual(t, got, row.high)
			}
		})
	}
	for _, p := range append(Phases(), Active+1) {
		for _, age := range []time.Duration{0, time.Millisecond, time.Minute, 1 << 62} {
			for _, r := range jitters {
				assert.GreaterOrEqual(t, pollInterval(p, age, r), time.Duration(0), "%s", p)
				assert.LessOrEqual(t, pollInterval(p, age, r), 1100*time.Millisecond, "%s: slower than the loop has to be", p)
			}
		}
	}
}

func TestRetryInterval_GrowsToFiveSeconds(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 100; n++ {
		low, high := retryInterval(n, 0), retryInterval(n, 0.999999)
		assert.GreaterOrEqual(t, low, last, "retry %d comes sooner than the one before", n)
		assert.GreaterOrEqual(t, low, 50*time.Millisecond)
		assert.LessOrEqual(t, high, 5*time.Second)
		assert.LessOrEqual(t, high, low*5/4)
		last = low
	}
	assert.Equal(t, 50*time.Millisecond, retryInterval(1, 0))
	assert.Equal(t, 100*time.Millisecond, retryInterval(2, 0))
	assert.Equal(t, 200*time.Millisecond, retryInterval(3, 0))
	assert.Equal(t, 4*time.Second, retryInterval(1<<40, 0))
}

// retriesPerHour is an upper bound for the first hour: 0.8 s apart, then 4 s.
const retriesPerHour = fastRetries + (3600-fastRetries*4/5)/4 + 20

func TestFailureInterval_IsShortForAQuarterOfAnHour(t *testing.T) {
	waited := time.Duration(0)
	for n := 1; waited < fastPollWindow; n++ {
		waited += failureInterval(n, 0)
		assert.LessOrEqual(t, failureInterval(n, 0.999999), time.Second, "retry %d", n)
	}
	assert.Equal(t, retryInterval(1, 0), failureInterval(1, 0))
	assert.Equal(t, retryInterval(1<<40, 0), failureInterval(1<<40, 0))
}

func TestInterferenceBackoff_IsShortAndRandom(t *testing.T) {
	for _, r := range jitters {
		assert.Zero(t, interferenceBackoff(1, r), "after what may have lain there the next attempt comes at once")
		for n := 2; n < 100; n++ {
			assert.GreaterOrEqual(t, interferenceBackoff(n, r), time.Duration(0))
			assert.LessOrEqual(t, interferenceBackoff(n, r), 250*time.Millisecond)
		}
	}
	assert.Greater(t, interferenceBackoff(20, 0.9), interferenceBackoff(20, 0.1), "two senders must not stay in step")
}
