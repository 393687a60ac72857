package keyfile

import (
	"cmp"
	"slices"
	"strings"
)

// byAge orders the names of entries, the oldest first, by all that a mounted
// Secret tells of their age: an entry that is called new or next is newer than
// others, one that is called old, previous or backup is older; of the rest the
// later name is the newer, with numbers by their value.
func byAge(a, b string) int {
	return cmp.Or(cmp.Compare(age(a), age(b)), compareNatural(a, b), strings.Compare(a, b))
}

func age(name string) (age int) {
	for _, word := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r < 'a' || r > 'z' }) {
		switch {
		case slices.Contains([]string{"new", "next"}, word):
			age++
		case slices.Contains([]string{"old", "prev", "previous", "bak", "backup"}, word):
			age--
		}
	}
	return age
}

// compareNatural compares runs of digits by their value, without a limit.
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		x, y := number(a), number(b)
		if x == "" || y == "" {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		a, b = a[len(x):], b[len(y):]
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// number returns the digits that text begins with.
func number(text string) string { return text[:len(text)-len(strings.TrimLeft(text, "0123456789"))] }
