//go:build linux

package vault

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAwaitListener_ReturnsWhenAProcessListens(t *testing.T) {
	addr := freeAddr(t, "127.0.0.1")
	c := refusedClient(t, "http://"+addr)
	before := descriptors(t)
	t.Run("returns when a process listens", func(t *testing.T) {
		looks := 0
		c.AwaitListener(t.Context(), func() time.Duration {
			if looks++; looks == 3 {
				listenAt(t, addr, nil)
			}
			return time.Millisecond
		})
		assert.Equal(t, 3, looks)
	})
	t.Run("ends with its context", func(t *testing.T) {
		c := refusedClient(t, "http://"+freeAddr(t, "127.0.0.1"))
		ctx, cancel := context.WithCancel(t.Context())
		looks := 0
		c.AwaitListener(ctx, func() time.Duration {
			if looks++; looks == 3 {
				cancel()
			}
			return time.Millisecond
		})
		assert.Equal(t, 3, looks)
	})
	t.Run("returns at once where nothing is certain", func(t *testing.T) {
		client(t, "https://vault.example:8200").AwaitListener(t.Context(), func() time.Duration {
			require.Fail(t, "it pauses")
			return 0
		})
	})
	assert.Less(t, descriptors(t), before+10)
}

func TestPauser_PausesAtLeastTheDuration(t *testing.T) {
	kernel := newPauser()
	defer kernel.close()
	require.NotNil(t, kernel.timer)
	closed := newPauser()
	require.NoError(t, closed.timer.Close())
	for sentence, p := range map[string]pauser{
		"with the kernel's timer":     kernel,
		"without":                     {},
		"with one that does not work": closed,
	} {
		t.Run(sentence, func(t *testing.T) {
			for _, d := range []time.Duration{0, time.Microsecond, 20 * time.Millisecond, time.Millisecond} {
				began := time.Now()
				p.pause(t.Context(), d)
				assert.GreaterOrEqual(t, time.Since(began), d)
			}
		})
	}
	t.Run("the kernel's timer is what pauses", func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		kernel.pause(ended, 20*time.Millisecond)
		assert.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond, "Go's would have ended with its context")
	})
}
