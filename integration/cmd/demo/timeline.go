package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// width is how many characters the longest bar has.
const width = 30

// step is one part of an outage or of a recovery.
type step struct {
	name     string
	from, to time.Time
	meaning  string
}

// draw draws steps, each on a line, between the first beginning and the last
// end.
func draw(steps []step) {
	from, to := steps[0].from, steps[0].to
	for _, s := range steps {
		if s.from.Before(from) {
			from = s.from
		}
		if s.to.After(to) {
			to = s.to
		}
	}
	column := func(t time.Time) int {
		return int(math.Round(float64(width) * float64(t.Sub(from)) / float64(max(to.Sub(from), 1))))
	}
	for _, s := range steps {
		left := min(column(s.from), width-1)
		right := max(column(s.to), left+1)
		printLine("%-13s|%s%s%s|%8s  %s", s.name,
			strings.Repeat(" ", left), strings.Repeat("=", right-left), strings.Repeat(" ", width-right),
			formatDuration(s.to.Sub(s.from)), s.meaning)
	}
}

// printComparison draws how long the apps waited in both parts.
func printComparison(withSidecar, withCronJobs time.Duration) {
	var zero time.Time
	draw([]step{
		{"the sidecar", zero, zero.Add(withSidecar), "storage back to every app's Secret"},
		{"the CronJobs", zero, zero.Add(withCronJobs), "the same"},
	})
	fmt.Println()
	printLine("Every app had its Secret after %s with the sidecar, %s with the CronJobs.", formatDuration(withSidecar), formatDuration(withCronJobs))
}

// formatDuration is a duration of about four digits.
func formatDuration(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
