package unseal

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMemory_FitsTheKeyThatUnsealedVault(t *testing.T) {
	shares := func(first byte) []Share {
		return []Share{NewShare(append([]byte{first}, make([]byte, 31)...))}
	}
	var m SavedState
	assert.False(t, m.Fits(shares(1)), "nothing has opened it")

	m.LastUnseal = &LastUnseal{At: time.Now(), Keys: m.fingerprint(shares(1))}
	kept, err := json.Marshal(m)
	require.NoError(t, err)
	var later SavedState
	require.NoError(t, json.Unmarshal(kept, &later))
	assert.True(t, later.Fits(shares(1)), "the same key")
	assert.False(t, later.Fits(shares(2)), "another")
	assert.False(t, later.Fits(append(shares(1), shares(2)...)), "another beside it")
	assert.False(t, later.Fits(nil), "none")

	later.Salt = nil
	assert.False(t, later.Fits(shares(1)), "what was written down is not whole")
	assert.Empty(t, later.Salt, "and is left as it is")
}

func TestMemory_RefusesTheKeyThatVaultRejected(t *testing.T) {
	keys := []Share{shareOf(1, 32), shareOf(2, 32)}
	var m SavedState
	assert.False(t, m.Rejects(keys), "nothing was refused")

	m.Rejected = &RejectedKeys{Scope: AttemptScope{Keys: m.fingerprint(keys), Threshold: 1, Shares: 1}, Combinations: [][]int{{0}}}
	assert.False(t, m.Rejects(keys), "one of the two was not tried")
	m.Rejected.Combinations = [][]int{{0}, {1}}
	assert.True(t, m.Rejects(keys), "both were refused")
	assert.False(t, m.Rejects([]Share{shareOf(1, 32), shareOf(3, 32)}), "others are mounted")
	assert.False(t, m.Rejects(nil), "none is mounted")

	m.LastUnseal = &LastUnseal{At: time.Now(), Keys: m.fingerprint(keys)}
	assert.False(t, m.Rejects(keys), "they opened it after all")
}
