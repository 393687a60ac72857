package unseal

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// unnamed is a process that no input names.
const unnamed = "boot/1/the-process-of-this-test"

// FuzzSavedState starts with any state: a Vault that restarted is opened all the same, and
// what is saved then is read the same.
func FuzzSavedState(f *testing.F) {
	for _, text := range []string{
		`{"salt":"AAAA","unsealed":"p","held":{"process":"p","keys":"k"},` +
			`"refused":{"scope":{"process":"p","threshold":1},"combinations":[[0]]}}`,
		`{"opened":{"at":"2026-01-01T00:00:00Z","keys":"k"},"history":[null,{"steps":[]},` +
			`{"began":"9999-12-31T23:59:59-23:59","took":-1,"done":true,` +
			`"steps":[{"phase":"active","at":"0000-01-01T00:00:00+23:59","took":9223372036854775807}]}]}`,
		`{"history":[{"steps":[{"phase":"failing"}]}` + strings.Repeat(`,{"steps":[{}]}`, 6) + `]}`,
		"{}", "null", "[]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), unnamed) {
			return
		}
		inBubble(t, 1, 1, func(h *harness) {
			h.store.text = text
			h.vault.begin(unnamed)
			h.start()
			h.advance(5 * time.Second)
			require.Equal(h, Active.String(), h.state().Phase.String(), h.logged())
			require.LessOrEqual(h, len(h.state().History), maxHistory)
			for _, r := range h.state().History {
				_, err := json.Marshal(r.Began.UTC())
				require.NoError(h, err)
				require.NotEmpty(h, r.String())
			}
			h.stop()
			var saved SavedState
			require.NoError(h, json.Unmarshal(h.store.text, &saved))
			require.Equal(h, unnamed, saved.Unsealed)
			require.True(h, saved.Fits(h.keys.shares))
			require.False(h, saved.Rejects(h.keys.shares))
			written, err := json.Marshal(saved.persistable())
			require.NoError(h, err)
			require.Equal(h, string(h.store.text), string(written))
		})
	})
}

// FuzzProofNotes reads notes that another process of the pod has written.
func FuzzProofNotes(f *testing.F) {
	f.Add([]byte(`{"at":"9999-12-31T23:59:59-23:59","result":"invalid","salt":"AAAA"}`), true)
	f.Add([]byte(`{"result":"invalid","salt":"AAAA","reason":"a\u009b`+strings.Repeat("ä", 300)+`"}`), true)
	f.Add([]byte(`{"begun":true,"result":"valid","salt":"AA==","keys":"k"}`), false)
	f.Fuzz(func(t *testing.T, text []byte, ours bool) {
		var n ProofNotes
		if json.Unmarshal(text, &n) != nil {
			return
		}
		shares := []Share{NewShare(secretBytes()[:32])}
		if ours && len(n.Salt) > 0 {
			n.Keys = fingerprint(n.Salt, shares)
		}
		proof := n.Verdict(shares)
		if proof.Result == "" {
			require.Zero(t, proof)
			return
		}
		require.True(t, ours && proof.Result.verdict(), "whoever does not know the key says nothing of it")
		require.LessOrEqual(t, len(proof.Reason), 600)
		require.True(t, utf8.ValidString(proof.Reason))
		require.False(t, strings.ContainsFunc(proof.Reason, func(r rune) bool { return !unicode.IsPrint(r) }))
		_, err := json.Marshal(proof.At.UTC())
		require.NoError(t, err)
	})
}

// FuzzCombinations takes any shares: what is sent together could be of one key, and is sent once.
func FuzzCombinations(f *testing.F) {
	f.Add(uint8(2), uint8(33), secretBytes())
	f.Add(uint8(1), uint8(16), slices.Repeat(secretBytes(), 20))
	f.Fuzz(func(t *testing.T, threshold, length uint8, content []byte) {
		length = 16 + length%18
		var shares []Share
		for part := range slices.Chunk(content, int(length)) {
			if len(part) >= 16 && len(shares) < 255 {
				shares = append(shares, NewShare(slices.Clone(part)))
			}
		}
		all := combinations(shares, int(threshold))
		require.LessOrEqual(t, len(all), maxCombinations)
		for i, c := range all {
			sorted := slices.Sorted(slices.Values(c))
			require.Equal(t, sorted, slices.Compact(slices.Clone(sorted)), "a share is sent once")
			require.GreaterOrEqual(t, sorted[0], 0)
			require.Less(t, sorted[len(sorted)-1], len(shares))
			if threshold == 0 {
				require.Len(t, c, len(shares))
				continue
			}
			require.Len(t, c, int(threshold))
			for _, place := range c {
				require.Equal(t, shares[c[0]].Len(), shares[place].Len(), "shares of two lengths are not of one key")
			}
			require.False(t, slices.ContainsFunc(all[:i], func(o []int) bool { return slices.Equal(o, c) }))
		}
	})
}
