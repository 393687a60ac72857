package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What happens to an operation that arrives.
const (
	modeOpen = "open"
	modeHang = "hang"
	modeSlow = "slow"
	modeEIO  = "eio"
)

var errClosing = errors.New("stallfs is stopping, the mode stays open")

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

// A stall admits operations to the storage according to its mode.
type stall struct {
	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed and replaced when the mode changes
	closing bool
	waiting int
	passed  int
}

// status is the answer of the control socket.
type status struct {
	Mode    string `json:"mode"`
	Waiting int    `json:"waiting"` // operations held now, hung or slowed
	Passed  int    `json:"passed"`  // operations let through since the start
}

func newStall(m mode) *stall {
	return &stall{mode: m, changed: make(chan struct{})}
}

// set changes the mode. It applies at once to operations that wait.
func (s *stall) set(m mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errClosing
	}
	s.setLocked(m)
	return nil
}

// openPermanently lets everything through from now on, whatever set is asked for
// later: a mount with operations stuck in it cannot be taken down.
func (s *stall) openPermanently() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.setLocked(mode{name: modeOpen})
}

func (s *stall) setLocked(m mode) {
	s.mode = m
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stall) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return status{Mode: s.mode.String(), Waiting: s.waiting, Passed: s.passed}
}

// admit returns when the operation may go on (0) or has failed (EIO). A slow
// stall counts from the operation's arrival, so time already spent hanging is
// part of the delay.
func (s *stall) admit() syscall.Errno {
	arrived := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch s.mode.name {
		case modeEIO:
			return syscall.EIO
		case modeHang:
			s.waitForChange(nil)
		case modeSlow:
			left := s.mode.delay - time.Since(arrived)
			if left <= 0 {
				s.passed++
				return 0
			}
			s.waitForChange(time.After(left))
		default:
			s.passed++
			return 0
		}
	}
}

// waitForChange gives the lock away until the mode changes or the delay is over.
func (s *stall) waitForChange(over <-chan time.Time) {
	changed := s.changed
	s.waiting++
	s.mu.Unlock()
	select {
	case <-changed:
	case <-over:
	}
	s.mu.Lock()
	s.waiting--
}
