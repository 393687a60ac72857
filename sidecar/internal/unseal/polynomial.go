package unseal

import (
	"maps"
	"slices"
)

// Shares of one key lie on one polynomial of degree t-1 for each byte of the
// key; the last byte of a share is its x (vault/shamir/shamir.go). Any t shares
// do, so t tell nothing. With one more, that they lie on one is no chance: it
// is 1 in 256 to the power of the key's length.

const maxRunShares = 64 // shares whose runs are looked at, one elimination each

// families returns the sets of more than t of these shares that lie on one
// polynomial, and what is left without the shares of a key with a higher
// threshold, all by their places. The shares at them are of one length. A share
// is in one set at most.
//
// To a share belongs the vector (1, x, ..., x^(t-1), y1, ..., yn). Those of a
// set span t dimensions, so that each t+1 of them depend on one another, while
// the vectors of different sets do not, unless there are more of them than the
// space has dimensions, t+n. So what hangs together in the dependencies is a
// set. That takes one elimination, whatever the order of the shares is, and
// however many sets there are. Where there are too many, or somebody has made a
// share that hangs two sets together, runs of neighbors are looked at.
func families(shares []Share, places []int, t int) (sets [][]int, left []int) {
	var higher, unclear []int
	for _, part := range dependent(shares, places, t) {
		switch rank := rank(shares, part, t); {
		case rank == t && distinct(shares, part):
			sets = append(sets, part)
		case rank > t && len(part) > rank && onOnePolynomial(shares, part, rank):
			higher = append(higher, part...)
		default:
			unclear = append(unclear, part...)
		}
	}
	slices.Sort(unclear)
	sets = append(sets, runs(shares, unclear[max(0, len(unclear)-maxRunShares):], t)...)
	gone := append(slices.Concat(sets...), higher...)
	left = slices.DeleteFunc(slices.Clone(places), func(place int) bool { return slices.Contains(gone, place) })
	return sets, left
}

// dependent returns the parts that hang together by dependencies, and have more
// than t shares.
func dependent(shares []Share, places []int, t int) [][]int {
	m := vectors(shares, places, t)
	defer m.wipe()
	pivots := m.reduce()
	part := make([]int, len(places)) // the name of the part that a column is in
	for c := range part {
		part[c] = c
	}
	for c := range places {
		for i, p := range pivots { // it is a sum of these
			if m[i][c] == 0 {
				continue
			}
			from, to := part[p], part[c]
			for k := range part {
				if part[k] == from {
					part[k] = to
				}
			}
		}
	}
	members := map[int][]int{}
	for c, name := range part {
		members[name] = append(members[name], places[c])
	}
	maps.DeleteFunc(members, func(_ int, part []int) bool { return len(part) <= t })
	return slices.Collect(maps.Values(members))
}

// vectors returns the matrix whose columns are the vectors of the shares.
func vectors(shares []Share, places []int, t int) matrix {
	n := len(shares[places[0]].bytes()) - 1
	m := newMatrix(t+n, len(places))
	for c, place := range places {
		share := shares[place].bytes()
		power := byte(1)
		for i := range t {
			m[i][c] = power
			power = multiply(power, share[n])
		}
		for i := range n {
			m[t+i][c] = share[i]
		}
	}
	return m
}

// onOnePolynomial reports whether the shares at these places, more than t, lie on one
// polynomial: they have an x each, and no more than t of them are independent.
func onOnePolynomial(shares []Share, places []int, t int) bool {
	return distinct(shares, places) && rank(shares, places, t) == t
}

func rank(shares []Share, places []int, t int) int {
	m := vectors(shares, places, t)
	defer m.wipe()
	return len(m.reduce())
}

// distinct reports whether no two of the shares have one x.
func distinct(shares []Share, places []int) bool {
	seen := map[byte]bool{}
	for _, place := range places {
		seen[shares[place].bytes()[shares[place].Len()-1]] = true
	}
	return len(seen) == len(places)
}

// runs looks for sets that begin as t+1 neighbors.
func runs(shares []Share, rest []int, t int) (sets [][]int) {
	for i := 0; i+t < len(rest); i++ {
		if !onOnePolynomial(shares, rest[i:i+t+1], t) {
			continue
		}
		set := slices.Clone(rest[i : i+t])
		var others []int
		for _, place := range slices.Concat(rest[:i], rest[i+t:]) {
			if onOnePolynomial(shares, append(set[:t:t], place), t) {
				set = append(set, place)
			} else {
				others = append(others, place)
			}
		}
		slices.Sort(set)
		sets = append(sets, set)
		rest, i = others, -1
	}
	return sets
}

// Arithmetic of GF(256) as Vault's shamir has it, modulo the polynomial 0x11b
// of AES (shamir/shamir.go). It looks nothing up by what it is given: the time
// it takes shows nothing of a key.

func multiply(a, b byte) (product byte) {
	for range 8 {
		product ^= a & -(b & 1)
		a, b = a<<1^0x1b&-(a>>7), b>>1
	}
	return product
}

// invert returns the inverse, a to the power of 254; that of 0 is 0.
func invert(a byte) byte {
	inverse := byte(1)
	for range 7 {
		a = multiply(a, a)
		inverse = multiply(inverse, a)
	}
	return inverse
}

// matrix is one of bytes of GF(256), row by row.
type matrix [][]byte

func newMatrix(rows, columns int) matrix {
	m := make(matrix, rows)
	for i := range m {
		m[i] = make([]byte, columns)
	}
	return m
}

func (m matrix) wipe() {
	for _, row := range m {
		clear(row)
	}
}

// reduce brings m into reduced row echelon form, and returns the column that
// each of its rows begins at. The others are zero.
func (m matrix) reduce() (pivots []int) {
	for column := range m[0] {
		top := len(pivots)
		at := top
		for at < len(m) && m[at][column] == 0 {
			at++
		}
		if at == len(m) {
			continue
		}
		m[top], m[at] = m[at], m[top]
		pivot := m[top]
		inverse := invert(pivot[column])
		for i := range pivot {
			pivot[i] = multiply(pivot[i], inverse)
		}
		for other, row := range m {
			factor := row[column]
			if other == top || factor == 0 {
				continue
			}
			for i, v := range pivot {
				row[i] ^= multiply(v, factor)
			}
		}
		pivots = append(pivots, column)
	}
	return pivots
}
