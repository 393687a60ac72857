package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What a gate does to an operation that arrives at it.
const (
	modeOpen = "open"
	modeHang = "hang"
	modeSlow = "slow"
	modeEIO  = "eio"
)

var errClosing = errors.New("stallfs is stopping, its gate stays open")

// A mode is one of the four behaviors; delay belongs to slow alone. The zero
// value is no mode.
type mode struct {
	name  string
	delay time.Duration
}

// parseMode reads "open", "hang", "eio" or "slow DURATION", where DURATION is
// Go's notation ("200ms", "1m30s") and more than zero.
func parseMode(text string) (mode, error) {
	words := strings.Fields(text)
	switch {
	case len(words) == 1 && (words[0] == modeOpen || words[0] == modeHang || words[0] == modeEIO):
		return mode{name: words[0]}, nil
	case len(words) == 2 && words[0] == modeSlow:
		delay, err := time.ParseDuration(words[1])
		if err != nil || delay <= 0 {
			return mode{}, fmt.Errorf("slow needs a duration above zero such as 200ms, not %q", words[1])
		}
		return mode{name: modeSlow, delay: delay}, nil
	}
	return mode{}, fmt.Errorf("unknown mode %q: want open, hang, eio or slow DURATION", text)
}

// String is the text parseMode reads.
func (m mode) String() string {
	if m.name == modeSlow {
		return m.name + " " + m.delay.String()
	}
	return m.name
}

// A gate is what every operation passes on its way to the storage.
type gate struct {
	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed and replaced when the mode changes
	closing bool
	waiting int
	passed  int
}

// status is what the control socket tells about a gate.
type status struct {
	Mode    string `json:"mode"`
	Waiting int    `json:"waiting"` // operations at the gate now, hung or slowed
	Passed  int    `json:"passed"`  // operations let through since the start
}

func newGate(m mode) *gate {
	return &gate{mode: m, changed: make(chan struct{})}
}

// set changes the mode. Whoever waits at the gate meets the new one at once.
func (g *gate) set(m mode) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return errClosing
	}
	g.change(m)
	return nil
}

// openForGood lets everything through from now on, whatever set is asked for
// later: a mount with operations stuck in it cannot be taken down.
func (g *gate) openForGood() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	g.change(mode{name: modeOpen})
}

func (g *gate) change(m mode) {
	g.mode = m
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) status() status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return status{Mode: g.mode.String(), Waiting: g.waiting, Passed: g.passed}
}

// pass returns when the operation may go on (0) or has failed (EIO). A slow
// gate counts from the operation's arrival, so time already spent hanging is
// part of the delay.
func (g *gate) pass() syscall.Errno {
	arrived := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		switch g.mode.name {
		case modeEIO:
			return syscall.EIO
		case modeHang:
			g.wait(nil)
		case modeSlow:
			left := g.mode.delay - time.Since(arrived)
			if left <= 0 {
				g.passed++
				return 0
			}
			g.wait(time.After(left))
		default:
			g.passed++
			return 0
		}
	}
}

// wait gives the lock away until the mode changes or the delay is over.
func (g *gate) wait(over <-chan time.Time) {
	changed := g.changed
	g.waiting++
	g.mu.Unlock()
	select {
	case <-changed:
	case <-over:
	}
	g.mu.Lock()
	g.waiting--
}
