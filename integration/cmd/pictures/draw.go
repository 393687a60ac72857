package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// gap is the time without a sample after which a line is broken: the sidecar was dead.
const gap = 1500 * time.Millisecond

// place is a moment's on the panel, in percent.
func (b *board) place(at time.Time) float64 {
	return 100 * float64(at.Sub(b.From)) / float64(b.To.Sub(b.From))
}

// tick is a time below a panel.
type tick struct {
	Place float64
	Text  string
}

// Ticks are the times below a panel.
func (b *board) Ticks() (out []tick) {
	const every = 15 * time.Second
	for t := b.From.Truncate(every).Add(every); t.Before(b.To); t = t.Add(every) {
		if place := b.place(t); place > 4 && place < 96 {
			out = append(out, tick{place, t.UTC().Format("15:04:05")})
		}
	}
	return out
}

// run is a stretch of a state-timeline with one value.
type run struct {
	Value       float64
	Left, Width float64 // percent
}

// Fits reports whether there is space for a text of the size that panels have.
func (r run) Fits(text string) bool { return r.Width > 1.35*float64(len(text)) }

// Runs are a series' stretches.
func (p *panel) Runs(s series) (out []run) {
	for i, point := range s.Points {
		left, right := p.Board.place(point.Timestamp.Time()), p.Board.place(point.Timestamp.Time().Add(time.Second))
		width := min(100, right) - left
		if s.follows(i) && s.Points[i-1].Value == point.Value {
			out[len(out)-1].Width += width
			continue
		}
		out = append(out, run{float64(point.Value), left, width})
	}
	return out
}

// follows reports whether a point comes right after the one before it.
func (s series) follows(i int) bool {
	return i > 0 && s.Points[i].Timestamp.Sub(s.Points[i-1].Timestamp) < gap
}

// Path is the line of a series as SVG: a step after each sample, 100 by 100.
func (p *panel) Path(s series) string {
	var out strings.Builder
	top := p.Top(s)
	for i, point := range s.Points {
		format := "M%.2f %.2f"
		if s.follows(i) {
			format = "H%.2fV%.2f"
		}
		fmt.Fprintf(&out, format, p.Board.place(point.Timestamp.Time()), 100-100*float64(point.Value)/top)
	}
	return out.String()
}

// Top is the upper end of a series' axis, which those on the same side share.
func (p *panel) Top(s series) float64 {
	highest := 0.0
	for _, other := range p.Series {
		if p.OnTheRight(other) == p.OnTheRight(s) {
			for _, point := range other.Points {
				highest = max(highest, float64(point.Value))
			}
		}
	}
	if highest == 0 {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(highest)))
	return step * math.Ceil(highest/step+0.1)
}

// Share is a bar's length, in percent of the longest.
func (p *panel) Share(s series) float64 {
	longest := 0.0
	for _, other := range p.Series {
		longest = max(longest, other.Last())
	}
	return 100 * s.Last() / longest
}
