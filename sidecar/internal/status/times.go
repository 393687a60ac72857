package status

import (
	"fmt"
	"time"
)

// seconds is so long a duration, or the half of the longest there is: a Duration of more is
// negative.
func seconds(s float64) time.Duration {
	const most = 1 << 62
	return time.Duration(min(max(s*float64(time.Second), -most), most))
}

// clock is a time in UTC, with its date when that is not today's.
func clock(t, now time.Time) string {
	if t.UTC().Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.UTC().Format("15:04:05Z")
	}
	return DateTime(t)
}

func DateTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// Short is a duration with the digits that a person reads.
func Short(s float64) string {
	d := seconds(s)
	switch {
	case d < time.Millisecond/2:
		return "<1ms"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return span(s)
}

// span is a duration by the second, or coarser when it is long.
func span(s float64) string {
	d := seconds(max(0, s))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}
