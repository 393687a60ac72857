package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/lab"
)

// width is how many characters the longest bar has.
const width = 40

var meanings = map[string]string{
	"starting":       "the sidecar starts",
	"unreachable":    "vault cannot listen while its storage hangs",
	"unresponsive":   "vault does not answer",
	"unsealing":      "the key is sent",
	"unseal-hanging": "the unseal waits for storage",
	"activating":     "vault sets itself up, and reads its storage",
}

// drawTimeline draws a recovery. The bars have two scales, or the part after
// the thaw would not be seen at all.
func drawTimeline(w io.Writer, s lab.Status, began, thawed time.Time) {
	if s.Recovery == nil {
		return
	}
	steps := s.Recovery.Steps
	end := steps[len(steps)-1].Began.Add(seconds(steps[len(steps)-1].Seconds))
	fmt.Fprintf(w, "\n   storage hung for %v\n", thawed.Sub(began).Round(100*time.Millisecond))
	for _, step := range steps {
		if step.Began.Before(thawed) {
			bar(w, step, steps[0].Began, thawed, thawed.Sub(step.Began))
		}
	}
	fmt.Fprintf(w, "\n   then, from the thaw until vault served: %v\n", end.Sub(thawed).Round(time.Millisecond))
	for _, step := range steps {
		stepEnd := step.Began.Add(seconds(step.Seconds))
		if stepEnd.After(thawed) {
			from := step.Began
			if from.Before(thawed) {
				from = thawed
			}
			step.Began = from
			bar(w, step, thawed, end, stepEnd.Sub(from))
		}
	}
	fmt.Fprintln(w)
}

// bar draws one step between from and to.
func bar(w io.Writer, step lab.Step, from, to time.Time, took time.Duration) {
	scale := float64(width) / float64(max(to.Sub(from), 1))
	took = min(took, seconds(step.Seconds))
	left := int(float64(step.Began.Sub(from)) * scale)
	length := max(1, int(float64(took)*scale))
	left = min(left, width-1)
	length = min(length, width-left)
	fmt.Fprintf(w, "   %-15s|%s%s%s| %8s  %s\n", step.Name,
		strings.Repeat(" ", left), strings.Repeat("=", length), strings.Repeat(" ", width-left-length),
		took.Round(time.Millisecond), meanings[step.Name])
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
