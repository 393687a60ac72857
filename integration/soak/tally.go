package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// tally is what a run had.
type tally struct {
	storms  int
	faults  map[string]int           // by name
	endings map[string]int           // what the storms ended with
	slowest map[string]time.Duration // of what is waited for after a storm
}

func newTally() *tally {
	return &tally{faults: map[string]int{}, endings: map[string]int{}, slowest: map[string]time.Duration{}}
}

func (t *tally) add(s *storm) {
	t.storms++
	for _, p := range s.faults {
		t.faults[p.name]++
	}
}

func (t *tally) ended(held, either bool) {
	ending := map[bool]string{false: "open", true: "held"}[held]
	if either {
		ending += " where either was right"
	}
	t.endings[ending]++
}

func (t *tally) took(what string, d time.Duration) {
	t.slowest[what] = max(t.slowest[what], d.Round(time.Millisecond))
}

func (t *tally) String() string {
	sum := 0
	for _, n := range t.faults {
		sum += n
	}
	return fmt.Sprintf("%d storms with %d faults: %s\nended: %s\nthe slowest: %s",
		t.storms, sum, listed(t.faults), listed(t.endings), listed(t.slowest))
}

func listed[V any](of map[string]V) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf("%s %v", name, of[name]))
	}
	return strings.Join(out, ", ")
}
