package unseal

import (
	"maps"
	"slices"
)

const (
	// maxCombinations bounds how many combinations are tried for one version of
	// the keys: a guess at a key must not look like an attack on it.
	maxCombinations = 20
	// maxGuesses bounds how many are looked at for them.
	maxGuesses = 1000
	// maxThreshold is the highest that is looked for where none is known.
	maxThreshold = 8
)

// combinations lists which shares to send together, by their places in shares,
// best guess first. Only shares of one length can belong together
// (shamir.Combine refuses others), and with t = 1 only a whole AES key can be
// right. Of shares that are known to be of one key the first t are sent, and
// none of them with others. What is left is guessed, runs of neighbors first: a
// rotation leaves the old and the new shares side by side, each set in its own
// run. Of several the one that ends last comes first: a Read gives the newest
// shares last. With no threshold known, t = 0, all of them are one combination.
func combinations(shares []Share, t int) [][]int {
	if t <= 0 && len(shares) > 0 {
		return [][]int{sendingOrder(shares)}
	}
	sets, groups := candidates(shares, t)
	var out [][]int
	looked := 0
	add := func(c []int) bool {
		looked++
		known := slices.ContainsFunc(out, func(o []int) bool { return slices.Equal(o, c) })
		if !known && distinct(shares, c) {
			out = append(out, slices.Clone(c))
		}
		return len(out) < maxCombinations && looked < maxGuesses
	}
	for _, set := range sets {
		if !add(set[:t]) {
			return out
		}
	}
	for _, g := range groups {
		for i := len(g) - t; i >= 0; i-- {
			if !add(g[i : i+t]) {
				return out
			}
		}
	}
	for _, g := range groups {
		if !choose(g, t, nil, add) {
			return out
		}
	}
	return out
}

// sendingOrder puts all shares in an order in which a Vault that reports no threshold
// finds its own among them: it takes them as they come, so many at a time.
func sendingOrder(shares []Share) (order []int) {
	for t := 2; t <= maxThreshold && t < len(shares) && len(order) == 0; t++ {
		sets, _ := candidates(shares, t)
		order = slices.Concat(sets...)
	}
	for i := len(shares) - 1; i >= 0; i-- {
		if !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	return order
}

// candidates returns the sets of shares that are known to be of one key, and in
// groups what is left that could be, the newest first.
func candidates(shares []Share, t int) (sets, groups [][]int) {
	newestFirst := func(a, b []int) int { return slices.Max(b) - slices.Max(a) }
	for _, group := range byLength(lengthsOf(shares), t) {
		if t > 1 && len(group) > t {
			var found [][]int
			found, group = families(shares, group, t)
			sets = append(sets, found...)
		}
		if len(group) >= t {
			groups = append(groups, group)
		}
	}
	slices.SortFunc(sets, newestFirst)
	slices.SortFunc(groups, newestFirst)
	return sets, groups
}

func lengthsOf(shares []Share) []int {
	out := make([]int, len(shares))
	for i, s := range shares {
		out[i] = s.Len()
	}
	return out
}

// byLength groups the places of shares that can belong together.
func byLength(lengths []int, t int) [][]int {
	groups := map[int][]int{}
	for i, n := range lengths {
		switch {
		case t > 1:
			groups[n] = append(groups[n], i)
		case n == 16 || n == 24 || n == 32: // each is a key of its own
			groups[0] = append(groups[0], i)
		}
	}
	maps.DeleteFunc(groups, func(_ int, places []int) bool { return len(places) < t })
	return slices.Collect(maps.Values(groups))
}

// choose calls add with every t of from, in lexicographic order, until add
// says stop.
func choose(from []int, t int, have []int, add func([]int) bool) bool {
	if len(have) == t {
		return add(have)
	}
	for i := 0; len(from)-i >= t-len(have); i++ {
		if !choose(from[i+1:], t, append(slices.Clone(have), from[i]), add) {
			return false
		}
	}
	return true
}
