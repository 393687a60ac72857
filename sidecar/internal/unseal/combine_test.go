package unseal

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// of returns n lengths.
func of(n, length int) []int { return slices.Repeat([]int{length}, n) }

func TestCombinations(t *testing.T) {
	for _, row := range []struct {
		sentence string
		lengths  []int
		t        int
		want     [][]int
	}{
		{"one whole key", of(1, 32), 1, [][]int{{0}}},
		{"the old and the new key side by side are two", of(2, 32), 1, [][]int{{0}, {1}}},
		{"keys of every AES length are whole keys", []int{16, 24, 32}, 1, [][]int{{0}, {1}, {2}}},
		{"at threshold 1 the share of a split key is none", []int{33, 32, 17}, 1, [][]int{{1}}},
		{"at threshold 1 shares of a split key alone are nothing", of(3, 33), 1, nil},
		{"all of 5-of-5 are one", of(5, 33), 5, [][]int{{0, 1, 2, 3, 4}}},
		{"three mounted shares at threshold 3 are one", of(3, 33), 3, [][]int{{0, 1, 2}}},
		{"two at threshold 3 are none", of(2, 33), 3, nil},
		{"four shares at threshold 3: neighbours first", of(4, 33), 3, [][]int{{0, 1, 2}, {1, 2, 3}, {0, 1, 3}, {0, 2, 3}}},
		{"shares of different length are never sent together", []int{33, 17, 33, 17}, 2, [][]int{{0, 2}, {1, 3}}},
		{"too few of each length are none", []int{33, 33, 17, 17}, 3, nil},
		{"the length that has enough is used", []int{17, 33, 17, 33, 33}, 3, [][]int{{1, 3, 4}}},
		{"none mounted", nil, 1, nil},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, combinations(row.lengths, row.t))
		})
	}
}

func TestCombinationsFindARotation(t *testing.T) {
	for _, row := range []struct {
		sentence string
		n, t     int
		new      []int
		within   int
	}{
		{"old and new 3-of-5, five of each", 10, 3, []int{5, 6, 7}, 6},
		{"three of each", 6, 3, []int{3, 4, 5}, 4},
		{"old and new 5-of-5", 10, 5, []int{5, 6, 7, 8, 9}, 6},
		{"old and new 2-of-3", 6, 2, []int{3, 4}, 4},
		{"the new ones first", 10, 3, []int{0, 1, 2}, 1},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			at := slices.IndexFunc(combinations(of(row.n, 33), row.t), func(c []int) bool { return slices.Equal(c, row.new) })
			require.GreaterOrEqual(t, at, 0, "the new set is not tried")
			assert.Less(t, at, row.within)
		})
	}
}

// With one bad share among those of 3-of-5, a good set comes soon, whichever
// is bad.
func TestCombinationsGetRoundOneBadShare(t *testing.T) {
	for bad := range 5 {
		good := slices.IndexFunc(combinations(of(5, 33), 3), func(c []int) bool { return !slices.Contains(c, bad) })
		assert.GreaterOrEqual(t, good, 0, "share %d", bad)
		assert.Less(t, good, 5, "share %d", bad)
	}
}

func TestCombinationsAreSoundHoweverManySharesThereAre(t *testing.T) {
	began := time.Now()
	for _, n := range []int{1, 2, 3, 5, 7, 10, 64, 128, 255} {
		for _, lengths := range [][]int{of(n, 33), append(of(n/2, 33), of(n-n/2, 17)...), append(of(n/2, 32), of(n-n/2, 33)...)} {
			for _, threshold := range []int{1, 2, 3, n / 2, n - 1, n} {
				if threshold < 1 {
					continue
				}
				all := combinations(lengths, threshold)
				require.LessOrEqual(t, len(all), maxCombinations)
				for i, c := range all {
					require.Len(t, c, threshold)
					require.True(t, slices.IsSorted(c))
					require.Len(t, slices.Compact(slices.Clone(c)), threshold, "a share is sent twice")
					for _, place := range c {
						require.Equal(t, lengths[c[0]], lengths[place], "lengths are mixed")
					}
					require.False(t, slices.ContainsFunc(all[:i], func(o []int) bool { return slices.Equal(o, c) }), "%v is tried twice", c)
				}
			}
		}
	}
	assert.Less(t, time.Since(began), 10*time.Second)
	assert.Len(t, combinations(of(255, 33), 128), maxCombinations)
	assert.Len(t, combinations(of(30, 32), 1), maxCombinations)
}
