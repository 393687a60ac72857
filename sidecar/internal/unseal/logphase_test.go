package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLogLimiter_LimitsFrequentMessages(t *testing.T) {
	var v logLimiter
	now := noon
	allowed := 0
	for range 1000 { // one a second
		if v.allow(now) {
			allowed++
		}
		now = now.Add(time.Second)
	}
	assert.InDelta(t, loggedPhasesPerHour, allowed, 20, "a flapping Vault is limited")
	assert.True(t, v.limited)

	v, allowed = logLimiter{}, 0
	for range 24 * 3600 {
		if v.allow(now) {
			allowed++
		}
		now = now.Add(time.Second)
	}
	assert.Less(t, allowed, 25*loggedPhasesPerHour)
	assert.True(t, v.allow(now.Add(time.Hour)), "after a quiet hour it is allowed again")
	assert.False(t, v.limited)

	v = logLimiter{}
	for range 1000 { // a recovery of five phases every two minutes
		for range 5 {
			require.True(t, v.allow(now))
		}
		now = now.Add(2 * time.Minute)
	}
}
