package main

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
)

// runWatchdog runs a watchdog over readings of how long ago the loop turned, and
// returns the code that it ended the process with, 0 when it did not.
func runWatchdog(t *testing.T, log func(*testing.T) hclog.Logger, readings ...time.Duration) (code int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(readings))*lookEvery+lookEvery/2)
		defer cancel()
		next := 0
		turned := func() time.Duration {
			reading := readings[min(next, len(readings)-1)]
			next++
			return reading
		}
		watchdog{turned, log(t), func(c int) { code = c }}.run(ctx)
	})
	return code
}

func TestWatchdog_EndsAProcessWhoseLoopIsStuck(t *testing.T) {
	const turns, stuck = 900 * time.Millisecond, time.Minute
	for name, row := range map[string]struct {
		readings []time.Duration
		code     int
	}{
		"the loop turns":                  {[]time.Duration{turns, turns, turns}, 0},
		"it is stuck":                     {[]time.Duration{turns, stuck, stuck}, exitFailed},
		"the node slept":                  {[]time.Duration{turns, stuck, turns, turns}, 0},
		"it turns again at the last look": {[]time.Duration{stuck, turns, stuck, turns}, 0},
		"it has not stood still for long": {[]time.Duration{stuck}, 0},
		"it slept, and then stood still":  {[]time.Duration{stuck, turns, stuck, stuck}, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log := func(*testing.T) hclog.Logger { return hclog.New(&hclog.LoggerOptions{Output: &out}) }
			assert.Equal(t, row.code, runWatchdog(t, log, row.readings...))
			if row.code != 0 {
				assert.Contains(t, out.String(), "the loop stands still")
			}
		})
	}
}

// blockedWriter is a log whose reader is gone, as a container runtime's may be.
type blockedWriter struct{ until <-chan struct{} }

func (w blockedWriter) Write(p []byte) (int, error) { <-w.until; return len(p), nil }

func TestWatchdog_DoesNotWaitForABlockedLog(t *testing.T) {
	const stuck = time.Minute
	readings := []time.Duration{stuck, stuck}
	log := func(t *testing.T) hclog.Logger {
		return hclog.New(&hclog.LoggerOptions{Output: blockedWriter{t.Context().Done()}})
	}
	assert.Equal(t, exitFailed, runWatchdog(t, log, readings...))
}
