package unseal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shareOf returns a share of n bytes, each of them b.
func shareOf(b byte, n int) Share { return NewShare(bytes.Repeat([]byte{b}, n)) }

func TestKeySet_PicksACombination(t *testing.T) {
	never := func([]int) bool { return false }
	whole, split := shareOf(1, 32), shareOf(1, 33)
	for _, row := range []struct {
		sentence string
		shares   []Share
		err      error
		t        int
		refused  func([]int) bool
		want     []int
		state    KeyState
	}{
		{"the whole key", []Share{whole}, nil, 1, never, []int{0}, KeysUsable},
		{"the second of two, when the first was refused", []Share{whole, shareOf(2, 32)}, nil, 1,
			func(c []int) bool { return c[0] == 0 }, []int{1}, KeysUsable},
		{"nothing, when all were refused", []Share{whole}, nil, 1, func([]int) bool { return true }, nil, KeysRejected},
		{"too few for the threshold are not sent", []Share{split, shareOf(2, 33)}, nil, 3, never, nil, KeysUnusable},
		{"shares of unequal length are not sent", []Share{split, shareOf(2, 17)}, nil, 2, never, nil, KeysUnusable},
		{"a share of a split key is no whole key", []Share{split}, nil, 1, never, nil, KeysUnusable},
		{"a file that cannot be read", nil, errors.New("missing"), 1, never, nil, KeysUnusable},
		{"no threshold is known: all go", []Share{split, shareOf(2, 33)}, nil, 0, never, []int{1, 0}, KeysUsable},
		{"no shares at all and no threshold", []Share{}, nil, 0, never, nil, KeysUnusable},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			var r keySet
			var m SavedState
			r.load(&fakeKeys{shares: row.shares, err: row.err}, row.t, m.fingerprint)
			for _, loaded := range []bool{true, false} { // it picks without the shares in memory too
				if !loaded {
					r.wipe()
				}
				got, state, reason := r.pick(row.refused)
				assert.Equal(t, row.want, got)
				assert.Equal(t, row.state, state)
				assert.Equal(t, state == KeysUsable, reason == "", "a reason for what will not do: %q", reason)
			}
		})
	}
}

func TestKeySet_ReportsChanges(t *testing.T) {
	var r keySet
	var m SavedState
	one := func() []Share { return []Share{shareOf(1, 32)} }
	set := func(shares []Share, err error) bool {
		return r.load(&fakeKeys{shares: shares, err: err}, 1, m.fingerprint)
	}
	missing := errors.New("missing")

	assert.True(t, set(nil, missing), "the first read is always a change")
	assert.False(t, set(nil, missing), "the same problem is not")
	assert.True(t, set(nil, errors.New("malformed")), "another problem is")
	assert.Empty(t, r.version)
	assert.True(t, set(one(), nil), "a key is")
	version := r.version
	assert.NotEmpty(t, version)
	assert.False(t, set(one(), nil), "the same key is not")
	assert.True(t, set(nil, missing), "a key that is gone is")
	assert.Equal(t, version, r.version, "what was last usable is remembered")
	assert.True(t, set(one(), nil), "a key that is back is")
	assert.Equal(t, version, r.version)
	assert.True(t, set([]Share{shareOf(2, 32)}, nil), "another key is")
	assert.NotEqual(t, version, r.version)
}

func TestKeySet_WipesReplacedShares(t *testing.T) {
	var r keySet
	var m SavedState
	var keys fakeKeys
	keys.mount(shareOf(1, 32))
	r.load(&keys, 1, m.fingerprint)
	first := r.shares[0]
	assert.Equal(t, 32, first.Len())
	keys.mount(shareOf(2, 32))
	r.load(&keys, 1, m.fingerprint)
	second := r.shares[0]
	assert.Zero(t, first.Len(), "shares that are replaced are wiped")
	assert.Equal(t, 32, second.Len())
	keys.fail("gone")
	r.load(&keys, 1, m.fingerprint)
	assert.Zero(t, second.Len(), "shares that are gone are wiped")
	assert.Empty(t, r.shares)
	assert.Equal(t, []int{32}, r.lengths, "what is known of them stays")
}

// halfWritten is replaced while it is read for the first time.
type halfWritten struct{ fakeKeys }

func (k *halfWritten) Read() ([]Share, []Remark, error) {
	defer k.mount(shareOf(1, 32))
	return k.fakeKeys.Read()
}

func TestKeySet_ReadsAgainWhatWasReplacedMeanwhile(t *testing.T) {
	var r keySet
	var m SavedState
	keys := halfWritten{fakeKeys{err: errors.New("malformed")}}
	assert.True(t, r.load(&keys, 1, m.fingerprint))
	assert.Empty(t, r.problem)
	assert.Len(t, r.shares, 1)
	assert.NotEqual(t, keys.Revision(), r.revision, "and once more at the next look")
}

func TestRefused_CountsWithinItsScope(t *testing.T) {
	scope := AttemptScope{Process: "p", Keys: "k", Threshold: 2, Shares: 3}
	var m SavedState
	assert.False(t, m.Rejected.has(scope, []int{0, 1}), "nothing was refused yet")
	combination := []int{0, 1}
	m.Rejected = m.Rejected.with(scope, combination)
	combination[0] = 7
	assert.True(t, m.Rejected.has(scope, []int{0, 1}), "it is a copy that is kept")
	assert.False(t, m.Rejected.has(scope, []int{0, 2}))
	assert.False(t, m.Rejected.has(scope, []int{1, 0}))
	for sentence, other := range map[string]AttemptScope{
		"another process":   {Process: "q", Keys: "k", Threshold: 2, Shares: 3},
		"other keys":        {Process: "p", Keys: "l", Threshold: 2, Shares: 3},
		"another threshold": {Process: "p", Keys: "k", Threshold: 1, Shares: 3},
		"more shares":       {Process: "p", Keys: "k", Threshold: 2, Shares: 5},
	} {
		t.Run(sentence, func(t *testing.T) { assert.False(t, m.Rejected.has(other, []int{0, 1})) })
	}

	m.Rejected = m.Rejected.with(scope, []int{0, 2})
	assert.Len(t, m.Rejected.Combinations, 2)
	other := AttemptScope{Process: "q", Keys: "k", Threshold: 2, Shares: 3}
	m.Rejected = m.Rejected.with(other, []int{0, 2})
	assert.False(t, m.Rejected.has(scope, []int{0, 1}), "a new scope drops the old one's")
	assert.True(t, m.Rejected.has(other, []int{0, 2}))
	assert.Len(t, m.Rejected.Combinations, 1)
}

func TestMemory_PersistsNoUnknownProcess(t *testing.T) {
	real := SavedState{
		Salt: []byte("salt"), Unsealed: "boot/1", Hold: &SealHold{Process: "boot/1", Keys: "k"},
		Rejected: &RejectedKeys{Scope: AttemptScope{Process: "boot/1"}, Combinations: [][]int{{0}}},
	}
	assert.Equal(t, real, real.persistable(), "what names a process lasts")

	madeUp := SavedState{
		Salt: []byte("salt"), Unsealed: unknownProcess + "3", Hold: &SealHold{Process: unknownProcess + "3", Keys: "k"},
		Rejected: &RejectedKeys{Scope: AttemptScope{Process: unknownProcess + "3"}, Combinations: [][]int{{0}}},
	}
	assert.Equal(t, SavedState{Salt: []byte("salt")}, madeUp.persistable())
	assert.NotNil(t, madeUp.Hold, "only the copy lost it")
	assert.Equal(t, SavedState{}, SavedState{}.persistable())
}

func TestFingerprint_IsSaltedAndDependsOnTheOrder(t *testing.T) {
	raw := secretBytes()
	a, b := NewShare(raw), shareOf(2, 33)
	salted := SavedState{Salt: []byte("one salt")}
	name := salted.fingerprint([]Share{a, b})
	assert.Len(t, name, 32)
	assert.Equal(t, name, salted.fingerprint([]Share{a, b}), "the same shares have one name")
	assert.NotEqual(t, name, salted.fingerprint([]Share{b, a}), "their order is part of it")
	assert.NotEqual(t, name, salted.fingerprint([]Share{a}))
	assert.NotEqual(t, name, (&SavedState{Salt: []byte("another salt")}).fingerprint([]Share{a, b}), "each place has its own names")
	assert.NotEqual(t,
		salted.fingerprint([]Share{shareOf(1, 16), shareOf(1, 17)}),
		salted.fingerprint([]Share{shareOf(1, 17), shareOf(1, 16)}), "where one share ends and the next begins is part of it")

	var fresh, other SavedState
	fresh.fingerprint([]Share{a})
	other.fingerprint([]Share{a})
	assert.Len(t, fresh.Salt, 16, "a salt is made when there is none")
	assert.NotEqual(t, fresh.Salt, other.Salt)
	salt := bytes.Clone(fresh.Salt)
	fresh.fingerprint([]Share{b})
	assert.Equal(t, salt, fresh.Salt, "and then kept")

	text, err := json.Marshal(salted)
	require.NoError(t, err)
	assertHidden(t, notations(raw), string(text)+name, "the memory")
	assert.NotContains(t, name, hex.EncodeToString(raw[:3]))
}

func TestMemory_SurvivesJSON(t *testing.T) {
	m := SavedState{
		Salt: []byte("salt"), Unsealed: "boot/1", Hold: &SealHold{Process: "boot/1", Keys: "k"},
		Rejected: &RejectedKeys{Scope: AttemptScope{Process: "boot/1", Keys: "k", Threshold: 3, Shares: 5}, Combinations: [][]int{{0, 1, 2}}},
	}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	var again SavedState
	require.NoError(t, json.Unmarshal(text, &again))
	assert.Equal(t, m, again)
}
