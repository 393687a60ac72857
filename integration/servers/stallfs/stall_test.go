package main

import (
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseMode_RoundTrip(t *testing.T) {
	for _, text := range []string{"open", "hang", "eio", "slow 200ms", "slow 1m30s"} {
		t.Run(text, func(t *testing.T) {
			m, err := parseMode(text)
			require.NoError(t, err)
			assert.Equal(t, text, m.String())
		})
	}
	for _, text := range []string{"", "shut", "open wide", "slow", "slow down", "slow 0s", "slow -1s", "slow 1s 2s"} {
		t.Run(fmt.Sprintf("%q is refused", text), func(t *testing.T) {
			_, err := parseMode(text)
			assert.Error(t, err)
		})
	}
}

// In each row an operation arrives, and the mode changes a second later.
func TestStall_AdmitsByMode(t *testing.T) {
	const second, forever = time.Second, time.Hour
	for _, row := range []struct {
		sentence string
		first    string
		then     string
		takes    time.Duration
		ends     syscall.Errno
	}{
		{"goes on at once in open", "open", "open", 0, 0},
		{"goes on at once, the hang a second later is not for it", "open", "hang", 0, 0},
		{"fails at once in eio", "eio", "open", 0, syscall.EIO},
		{"takes the delay of slow", "slow 5s", "slow 5s", 5 * second, 0},
		{"waits in a hang until open", "hang", "open", second, 0},
		{"fails when hang turns into eio", "hang", "eio", second, syscall.EIO},
		{"stays when hang is said again", "hang", "hang", forever, 0},
		{"has its hang counted as part of slow's delay", "hang", "slow 3s", 3 * second, 0},
		{"has waited longer than slow asks for", "hang", "slow 1ms", second, 0},
		{"is let go early when slow turns into open", "slow 5s", "open", second, 0},
		{"fails early when slow turns into eio", "slow 5s", "eio", second, syscall.EIO},
		{"hangs after slow, past the delay", "slow 5s", "hang", forever, 0},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStall(mustParse(t, row.first))
				start := time.Now()
				var took time.Duration
				ended := make(chan syscall.Errno, 1)
				go func() {
					errno := s.admit()
					took = time.Since(start)
					ended <- errno
				}()
				time.Sleep(second)
				synctest.Wait()
				require.NoError(t, s.set(mustParse(t, row.then)))
				if row.takes == forever {
					time.Sleep(forever)
					assert.Equal(t, 1, s.status().Waiting, "the operation still waits after an hour")
					s.openPermanently()
					<-ended
					return
				}
				assert.Equal(t, row.ends, <-ended)
				assert.Equal(t, row.takes, took)
				assert.Zero(t, s.status().Waiting)
			})
		})
	}
}

func TestStall_CountsWaitingAndPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStall(mustParse(t, "hang"))
		for range 3 {
			go s.admit()
		}
		synctest.Wait()
		assert.Equal(t, status{Mode: "hang", Waiting: 3}, s.status())
		require.NoError(t, s.set(mustParse(t, "open")))
		synctest.Wait()
		assert.Equal(t, status{Mode: "open", Passed: 3}, s.status())
	})
}

func TestStall_PermanentlyOpenRefusesSet(t *testing.T) {
	s := newStall(mustParse(t, "hang"))
	s.openPermanently()
	assert.ErrorIs(t, s.set(mustParse(t, "hang")), errClosing)
	assert.Zero(t, s.admit())
}

func mustParse(t *testing.T, text string) mode {
	t.Helper()
	m, err := parseMode(text)
	require.NoError(t, err)
	return m
}
