package unseal

import "slices"

// maxCombinations bounds how many combinations are tried for one version of
// the keys: a guess at a key must not look like an attack on it.
const maxCombinations = 20

// combinations lists which shares to send together, by their places in
// lengths, best guess first. Only shares of one length can belong together
// (shamir.Combine refuses others), and with t = 1 only a whole AES key can be
// right. Runs of neighbours come first: a rotation leaves the old and the new
// shares side by side, each set in its own run.
func combinations(lengths []int, t int) [][]int {
	var out [][]int
	add := func(c []int) bool {
		if !slices.ContainsFunc(out, func(o []int) bool { return slices.Equal(o, c) }) {
			out = append(out, slices.Clone(c))
		}
		return len(out) < maxCombinations
	}
	groups := byLength(lengths, t)
	for _, g := range groups {
		for i := 0; i+t <= len(g); i++ {
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

// byLength groups the places of shares that can belong together, in order.
func byLength(lengths []int, t int) [][]int {
	var order []int
	groups := map[int][]int{}
	for i, n := range lengths {
		if t == 1 && n != 16 && n != 24 && n != 32 {
			continue
		}
		if groups[n] == nil {
			order = append(order, n)
		}
		groups[n] = append(groups[n], i)
	}
	var out [][]int
	for _, n := range order {
		if len(groups[n]) >= t {
			out = append(out, groups[n])
		}
	}
	return out
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
