package unseal

import (
	"crypto/rand"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keyOfLength returns random bytes.
func keyOfLength(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// split splits a random key of 32 bytes into shares as Vault does: a random
// polynomial for each byte, and the x last (vault/shamir/shamir.go).
func split(n, t int) []Share {
	rows := make([][]byte, t)
	for i := range rows {
		rows[i] = keyOfLength(32)
	}
	var out []Share
	for _, x := range mathrand.Perm(255)[:n] {
		share := make([]byte, 33)
		share[32] = byte(x + 1)
		for i := t - 1; i >= 0; i-- { // Horner's rule
			for at := range 32 {
				share[at] = multiply(share[at], share[32]) ^ rows[i][at]
			}
		}
		out = append(out, NewShare(share))
	}
	return out
}

// unrelatedShares returns shares of these lengths that have nothing in common, not
// even an x.
func unrelatedShares(lengths ...int) (out []Share) {
	for i, n := range lengths {
		b := keyOfLength(n)
		b[n-1] = byte(i + 1)
		out = append(out, NewShare(b))
	}
	return out
}

// repeatLength returns n times the same length.
func repeatLength(n, length int) []int { return slices.Repeat([]int{length}, n) }

func TestCombinations_FollowTheThreshold(t *testing.T) {
	five := split(5, 3)
	twin := split(2, 2)
	twin[1].bytes()[32] = twin[0].bytes()[32]
	for _, row := range []struct {
		sentence string
		shares   []Share
		t        int
		want     [][]int
	}{
		{"one whole key", unrelatedShares(32), 1, [][]int{{0}}},
		{"the old and the new key side by side are two, the newer one first", unrelatedShares(32, 32), 1, [][]int{{1}, {0}}},
		{"keys of every AES length are whole keys", unrelatedShares(16, 24, 32), 1, [][]int{{2}, {1}, {0}}},
		{"at threshold 1 the share of a split key is none", unrelatedShares(33, 32, 17), 1, [][]int{{1}}},
		{"at threshold 1 shares of a split key alone are nothing", unrelatedShares(33, 33, 33), 1, nil},
		{"all of 5-of-5 are one", split(5, 5), 5, [][]int{{0, 1, 2, 3, 4}}},
		{"three mounted shares at threshold 3 are one", five[:3], 3, [][]int{{0, 1, 2}}},
		{"two at threshold 3 are none", five[:2], 3, nil},
		{"four that are of one key are one", five[:4], 3, [][]int{{0, 1, 2}}},
		{"four that are not: neighbors first, the newest of them before the others", unrelatedShares(repeatLength(4, 33)...), 3,
			[][]int{{1, 2, 3}, {0, 1, 2}, {0, 1, 3}, {0, 2, 3}}},
		{"shares of different length are never sent together", unrelatedShares(33, 17, 33, 17), 2, [][]int{{1, 3}, {0, 2}}},
		{"too few of each length are none", unrelatedShares(33, 33, 17, 17), 3, nil},
		{"the length that has enough is used", unrelatedShares(17, 33, 17, 33, 33), 3, [][]int{{1, 3, 4}}},
		{"shares with one x are not of one key", twin, 2, nil},
		{"shares of a key with a higher threshold are none", five, 2, nil},
		{"those of a lower one may be it", split(5, 2), 3, [][]int{{0, 1, 2}}},
		{"none mounted", nil, 1, nil},
		{"no threshold and none mounted", nil, 0, nil},
		{"no threshold: each of them, the newest first", unrelatedShares(33, 32, 33), 0, [][]int{{2, 1, 0}}},
		{"no threshold: those that are of one key together", slices.Concat(unrelatedShares(33), five, unrelatedShares(32)), 0, [][]int{{1, 2, 3, 4, 5, 6, 0}}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, combinations(row.shares, row.t))
		})
	}
}

// interleave puts one share of each key after another.
func interleave(keys ...[]Share) (out []Share) {
	for i := range 64 {
		for _, key := range keys {
			if i < len(key) {
				out = append(out, key[i])
			}
		}
	}
	return out
}

func TestCombinations_FindTheKeyAmongManyShares(t *testing.T) {
	for _, row := range []struct {
		sentence string
		key      []Share // whose threshold is t
		t        int
		others   func(key []Share) []Share // all that is mounted
		within   int                       // tries
	}{
		{"old and new 3-of-5, whatever their order", split(5, 3), 3, func(k []Share) []Share { return interleave(k, split(5, 3)) }, 2},
		{"three keys", split(5, 3), 3, func(k []Share) []Share { return interleave(split(5, 3), k, split(4, 3)) }, 3},
		{"old 2-of-3 and new 5-of-7", split(7, 5), 5, func(k []Share) []Share { return interleave(split(3, 2), k) }, 2},
		{"new 2-of-2 beside old 3-of-5", split(2, 2), 2, func(k []Share) []Share { return interleave(split(5, 3), k) }, 1},
		{"one bad share among five", split(4, 3), 3, func(k []Share) []Share { return append(unrelatedShares(33), k...) }, 1},
		{"a bad share with the x of a good one", split(4, 3), 3, func(k []Share) []Share {
			bad := keyOfLength(33)
			bad[32] = k[2].bytes()[32]
			return append(slices.Clone(k), NewShare(bad))
		}, 1},
		{"twenty bad shares", split(4, 3), 3, func(k []Share) []Share { return interleave(k, unrelatedShares(repeatLength(20, 33)...)) }, 1},
		{"sixty-four shares of two keys", split(32, 31), 31, func(k []Share) []Share { return interleave(k, split(32, 31)) }, 2},
		{"the minimal set of a key beside exact sets of others", split(4, 3), 3, func(k []Share) []Share { return interleave(split(3, 3), k) }, 1},
		{"exactly as many as needed of each, side by side", split(3, 3), 3, func(k []Share) []Share { return append(split(3, 3), k...) }, 1},
		{"the same, the newer ones not Vault's", split(3, 3), 3, func(k []Share) []Share { return append(slices.Clone(k), split(3, 3)...) }, 4},
		{"more keys than the shares can distinguish, side by side", split(5, 4), 4, func(k []Share) []Share {
			all := slices.Clone(k)
			for range 11 {
				all = append(all, split(5, 4)...)
			}
			return all
		}, 12},
		{"a share that was made to hang two keys together", split(5, 3), 3, func(k []Share) []Share {
			other := split(5, 3)
			return slices.Concat(other, k, []Share{linkingShare(k[:3], other[:3])})
		}, 2},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			all := row.others(row.key)
			began := time.Now()
			tried := combinations(all, row.t)
			t.Log(len(all), "shares,", time.Since(began))
			at := slices.IndexFunc(tried, func(c []int) bool {
				return !slices.ContainsFunc(c, func(place int) bool {
					return !slices.ContainsFunc(row.key, func(s Share) bool { return s.Equal(all[place]) })
				})
			})
			require.GreaterOrEqual(t, at, 0, "the key is not tried")
			assert.Less(t, at, row.within)
		})
	}
}

// linkingShare returns a share whose vector is a sum of those of both keys' shares,
// at t = 3 (family.go): its x is another, and its bytes are made for it.
func linkingShare(one, other []Share) Share {
	const x = 255
	all := slices.Concat(one, other)
	// 3 equations in 6 unknowns: the powers of x. Three are chosen.
	m := newMatrix(3, 7)
	for c, s := range all {
		at := s.bytes()[32]
		m[0][c], m[1][c], m[2][c] = 1, at, multiply(at, at)
	}
	chosen := []byte{0, 0, 0, 3, 5, 7} // of the other key
	m[0][6], m[1][6], m[2][6] = 1, x, multiply(x, x)
	for i := range 3 {
		for c := 3; c < 6; c++ {
			m[i][6] ^= multiply(chosen[c], m[i][c])
			m[i][c] = 0
		}
	}
	m.reduce()
	for i := range 3 {
		chosen[i] = m[i][6]
	}
	out := make([]byte, 33)
	out[32] = x
	for c, s := range all {
		for i := range 32 {
			out[i] ^= multiply(chosen[c], s.bytes()[i])
		}
	}
	return NewShare(out)
}

func TestCombinations_WipeTheirMatrix(t *testing.T) {
	m := vectors(split(5, 3), []int{0, 1, 2, 3}, 3)
	m.reduce()
	m.wipe()
	assert.Equal(t, make([]byte, len(m)*len(m[0])), slices.Concat(m...))
}

func TestCombinations_AreBounded(t *testing.T) {
	twins := make([]Share, 255)
	for i := range twins {
		b := keyOfLength(33)
		b[32] = 1
		twins[i] = NewShare(b)
	}
	for _, n := range []int{1, 2, 3, 5, 10, 64, 255} {
		for _, shares := range [][]Share{
			unrelatedShares(repeatLength(n, 33)...), unrelatedShares(append(repeatLength(n/2, 33), repeatLength(n-n/2, 17)...)...), unrelatedShares(append(repeatLength(n/2, 32), repeatLength(n-n/2, 33)...)...),
			split(n, max(1, n/3)), twins[:n],
		} {
			for _, threshold := range []int{1, 2, 3, n / 2, n - 1, n} {
				if threshold < 1 {
					continue
				}
				all := combinations(shares, threshold)
				require.LessOrEqual(t, len(all), maxCombinations)
				for i, c := range all {
					require.Len(t, c, threshold)
					require.True(t, slices.IsSorted(c))
					require.Len(t, slices.Compact(slices.Clone(c)), threshold, "a share is sent twice")
					for _, place := range c {
						require.True(t, threshold == 1 || shares[c[0]].Len() == shares[place].Len(), "lengths are mixed")
					}
					require.False(t, slices.ContainsFunc(all[:i], func(o []int) bool { return slices.Equal(o, c) }), "%v is tried twice", c)
				}
			}
		}
	}
	assert.Len(t, combinations(unrelatedShares(repeatLength(30, 32)...), 1), maxCombinations)
	assert.Len(t, combinations(unrelatedShares(repeatLength(255, 33)...), 128), maxCombinations)
}

// The figures: 5 shares, 64, and the most that there can be.
func BenchmarkCombinations(b *testing.B) {
	for _, row := range []struct {
		sentence string
		shares   []Share
		t        int
	}{
		{"3 of 5, old and new", interleave(split(5, 3), split(5, 3)), 3},
		{"31 of 32, old and new", interleave(split(32, 31), split(32, 31)), 31},
		{"64 unrelated shares at 3", unrelatedShares(repeatLength(64, 33)...), 3},
		{"64 unrelated shares at 20", unrelatedShares(repeatLength(64, 33)...), 20},
		{"255 unrelated shares at 128", unrelatedShares(repeatLength(255, 33)...), 128},
		{"64 unrelated shares, no threshold", unrelatedShares(repeatLength(64, 33)...), 0},
		{"255 unrelated shares, no threshold", unrelatedShares(repeatLength(255, 33)...), 0},
	} {
		b.Run(row.sentence, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				combinations(row.shares, row.t)
			}
		})
	}
}

func TestCombinations_AcceptAnyThreshold(t *testing.T) {
	mounted := [][]Share{
		nil, unrelatedShares(32), unrelatedShares(33, 33), split(5, 3), append(split(4, 2), split(3, 3)...), unrelatedShares(16, 33, 2, 33, 1, 32),
	}
	for _, shares := range mounted {
		for _, threshold := range []int{math.MinInt, -255, -1, 0, 1, 2, 3, 5, 8, 254, 255, 256, math.MaxInt} {
			r := keySet{lengths: lengthsOf(shares), combinations: combinations(shares, threshold), threshold: threshold}
			_ = r.shortOf(threshold)
			for _, c := range r.combinations {
				if threshold > 0 {
					assert.Len(t, c, threshold)
				} else {
					assert.Len(t, c, len(shares), "an unknown threshold: all of them")
				}
			}
			m := SavedState{Salt: newSalt()}
			m.Rejected = &RejectedKeys{Scope: AttemptScope{Keys: m.fingerprint(shares), Threshold: threshold}}
			assert.False(t, m.Rejects(shares) && len(r.combinations) > 0)
		}
	}
}
