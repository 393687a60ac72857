package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// summary is printed for many rounds.
type summary struct{ min, median, max time.Duration }

func summarize(d []time.Duration) summary {
	d = slices.Sorted(slices.Values(d))
	n := len(d)
	return summary{d[0], (d[(n-1)/2] + d[n/2]) / 2, d[n-1]}
}

func formatDuration(d time.Duration) string {
	return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
}

// formatSeconds formats longer durations, and those that reached recoveryLimit.
func formatSeconds(d time.Duration) string {
	if d >= recoveryLimit {
		return fmt.Sprintf(">%.0fs", recoveryLimit.Seconds())
	}
	return fmt.Sprintf("%.2fs", d.Seconds())
}

// printFigure prints one figure.
func printFigure(what, format string, figures ...any) {
	fmt.Printf("%-34s %s\n", what, fmt.Sprintf(format, figures...))
}

// sleep waits for a time that is part of the measurement.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
