package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLogLimiter_LimitsFrequentMessages(t *testing.T) {
	var v LogLimiter
	now := noon
	allowed := 0
	for range 1000 { // one a second
		if v.Allow(now) {
			allowed++
		}
		now = now.Add(time.Second)
	}
	assert.InDelta(t, loggedPerHour, allowed, 20, "a flapping Vault is limited")
	assert.True(t, v.Limited)

	v, allowed = LogLimiter{}, 0
	for range 24 * 3600 {
		if v.Allow(now) {
			allowed++
		}
		now = now.Add(time.Second)
	}
	assert.Less(t, allowed, 25*loggedPerHour)
	assert.True(t, v.Allow(now.Add(time.Hour)), "after a quiet hour it is allowed again")
	assert.False(t, v.Limited)

	v = LogLimiter{}
	for range 1000 { // a recovery of five phases every two minutes
		for range 5 {
			require.True(t, v.Allow(now))
		}
		now = now.Add(2 * time.Minute)
	}
}
