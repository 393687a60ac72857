package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
)

// ended runs a watchdog over looks, each of which tells how long ago the loop
// turned, and returns the code that it ended the process with, 0 when it did not.
func ended(t *testing.T, log hclog.Logger, looks ...time.Duration) (code int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ticks, over := make(chan time.Time), make(chan struct{})
	next := 0
	turned := func() time.Duration {
		look := looks[min(next, len(looks)-1)]
		next++
		return look
	}
	go func() {
		defer close(over)
		watchdog{turned, log, func(c int) { code = c }}.run(ctx, ticks)
	}()
	for range looks {
		select {
		case ticks <- time.Time{}:
		case <-over:
			return code
		}
	}
	cancel()
	<-over
	return code
}

func TestWatchdog_EndsAProcessWhoseLoopStandsStill(t *testing.T) {
	const turns, stands = 900 * time.Millisecond, time.Minute
	for name, row := range map[string]struct {
		looks []time.Duration
		code  int
	}{
		"the loop turns":                  {[]time.Duration{turns, turns, turns}, 0},
		"it stands still":                 {[]time.Duration{turns, stands, stands}, exitFailed},
		"the node slept":                  {[]time.Duration{turns, stands, turns, turns}, 0},
		"it turns again at the last look": {[]time.Duration{stands, turns, stands, turns}, 0},
		"it has not stood still for long": {[]time.Duration{stands}, 0},
		"it slept, and then stood still":  {[]time.Duration{stands, turns, stands, stands}, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, row.code, ended(t, hclog.New(&hclog.LoggerOptions{Output: &out}), row.looks...))
			if row.code != 0 {
				assert.Contains(t, out.String(), "the loop stands still")
			}
		})
	}
}

// mute is a log whose reader has gone away, as a runtime's may.
type mute struct{ until <-chan struct{} }

func (m mute) Write(p []byte) (int, error) { <-m.until; return len(p), nil }

func TestWatchdog_DoesNotWaitForALogThatNobodyReads(t *testing.T) {
	const stands = time.Minute
	looks := []time.Duration{stands, stands}
	assert.Equal(t, exitFailed, ended(t, hclog.New(&hclog.LoggerOptions{Output: mute{t.Context().Done()}}), looks...))
}
