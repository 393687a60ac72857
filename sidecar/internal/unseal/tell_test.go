package unseal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVoice(t *testing.T) {
	var v voice
	now := noon
	aloud := 0
	for range 1000 { // one a second
		if v.speaks(now) {
			aloud++
		}
		now = now.Add(time.Second)
	}
	assert.InDelta(t, tellsAnHour, aloud, 20, "a flapping Vault is hushed")
	assert.True(t, v.hushed)

	v, aloud = voice{}, 0
	for range 24 * 3600 {
		if v.speaks(now) {
			aloud++
		}
		now = now.Add(time.Second)
	}
	assert.Less(t, aloud, 25*tellsAnHour)
	assert.True(t, v.speaks(now.Add(time.Hour)), "after a quiet hour it speaks again")
	assert.False(t, v.hushed)

	v = voice{}
	for range 1000 { // a recovery of five phases every two minutes
		for range 5 {
			require.True(t, v.speaks(now))
		}
		now = now.Add(2 * time.Minute)
	}
}
