package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// watcher is status --watch: on a terminal the picture is drawn again and
// again, in a pipe a new one follows when something changed.
type watcher struct {
	look     func() (seen, error)
	json     bool
	terminal *os.File // nil: a pipe

	answered time.Time // when there was an answer; zero: never
	last     string    // what was told last, without running times
	lost     bool      // the last look had no answer
}

// run looks until ctx is done. It fails when there was no answer at the end.
func (w *watcher) run(ctx context.Context, out io.Writer) int {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		w.turn(ctx, out)
		select {
		case <-ctx.Done():
			if w.lost {
				return exitFailed
			}
			return exitStopped
		case <-tick.C:
		}
	}
}

func (w *watcher) turn(ctx context.Context, out io.Writer) {
	now := time.Now()
	s, err := w.look()
	if ctx.Err() != nil {
		return
	}
	w.lost = err != nil
	var text, mark string
	switch {
	case err != nil:
		mark = "no answer"
		text = fmt.Sprintf("No answer from the sidecar: %v\n", err)
		if !w.answered.IsZero() {
			text = fmt.Sprintf("No answer from the sidecar since %s: %v\n", w.answered.UTC().Format("15:04:05Z"), err)
		}
	case w.json:
		text, mark = string(s.raw), settled(s.status)
	default:
		width, _, _ := size(w.terminal)
		text, mark = s.status.Text(now, width), settled(s.status)
	}
	if err == nil {
		w.answered = now
	}
	if w.terminal != nil && !w.json {
		w.draw(out, text)
		return
	}
	if mark == w.last {
		return
	}
	if w.last != "" && !w.json {
		text = "\n" + text
	}
	w.last = mark
	fmt.Fprint(out, text)
}

// draw writes the text over the one before, as far as it fits.
func (w *watcher) draw(out io.Writer, text string) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if _, height, known := size(w.terminal); known && len(lines) >= height {
		lines = lines[:height-1]
	}
	const home, eraseLine, eraseBelow = "\x1b[H", "\x1b[K", "\x1b[J"
	fmt.Fprint(out, home+strings.Join(lines, eraseLine+"\n")+eraseLine+"\n"+eraseBelow)
}

// settled is the status without the times that run by themselves.
func settled(s status.Status) string {
	s.Seconds = 0
	if s.Stuck > 0 {
		s.Stuck = 1
	}
	if s.Recovery != nil && !s.Recovery.Done {
		r := *s.Recovery
		r.Seconds = 0
		r.Steps = slices.Clone(r.Steps)
		if last := len(r.Steps) - 1; last >= 0 {
			r.Steps[last].Seconds = 0
		}
		s.Recovery = &r
	}
	b, _ := json.Marshal(s) // a struct of plain values
	return string(b)
}
