package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// sequence returns a look function that returns one status after another, and an
// error for nil; the last one stays.
func sequence(each ...*status.Status) func() (seen, error) {
	i := -1
	return func() (seen, error) {
		i = min(i+1, len(each)-1)
		if each[i] == nil {
			return seen{}, errors.New("connection refused")
		}
		return seen{raw: []byte("{}\n"), status: *each[i]}, nil
	}
}

// runWatcher runs a watcher for this many turns.
func runWatcher(t *testing.T, w watcher, turns int) (text string, code int) {
	var out strings.Builder
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(turns)*watchEvery-time.Millisecond)
		defer cancel()
		code = w.run(ctx, &out)
	})
	return out.String(), code
}

func TestStatusWatch_PrintsOnlyChangesToAPipe(t *testing.T) {
	began := time.Now()
	shown := func(p unseal.Phase, seconds float64) *status.Status {
		return &status.Status{Phase: p, Seconds: seconds, Recovery: &status.Recovery{
			Began: began, Seconds: seconds, Steps: []status.Step{{Name: p, Began: began, Seconds: seconds}}}}
	}
	script := []*status.Status{shown(unseal.Unreachable, 1), shown(unseal.Unreachable, 2), shown(unseal.Unsealing, 0), nil, nil, shown(unseal.Unsealing, 3)}
	text, code := runWatcher(t, watcher{look: sequence(script...)}, 8)
	assert.Equal(t, 0, code)
	var heads []string
	for block := range strings.SplitSeq("\n"+text, "\n\n") {
		head, _, _ := strings.Cut(strings.TrimPrefix(block, "\n"), "\n")
		if strings.HasSuffix(head, ".") || strings.HasPrefix(head, "No answer") {
			heads = append(heads, head)
		}
	}
	require.Len(t, heads, 4, text)
	assert.Equal(t, "Unreachable, for 1s.", heads[0])
	assert.Equal(t, "Unsealing, for 0s.", heads[1])
	assert.Regexp(t, `^No answer from the sidecar since \d\d:\d\d:\d\dZ: connection refused$`, heads[2])
	assert.Equal(t, "Unsealing, for 3s.", heads[3])
	assert.NotContains(t, text, "\x1b")

	text, _ = runWatcher(t, watcher{look: sequence(script[0], script[1], script[2]), json: true}, 5)
	assert.Equal(t, "{}\n{}\n", text)
}

func TestStatusWatch_FailsWithoutAnAnswerAtTheEnd(t *testing.T) {
	text, code := runWatcher(t, watcher{look: sequence(nil)}, 3)
	assert.Equal(t, exitFailed, code)
	assert.Equal(t, "No answer from the sidecar: connection refused\n", text)
}

func TestStatusWatch_RedrawsATerminalEachSecond(t *testing.T) {
	terminal, err := os.Open(os.DevNull) // it has no size
	require.NoError(t, err)
	defer terminal.Close()
	s := &status.Status{Phase: unseal.Active}
	text, _ := runWatcher(t, watcher{look: sequence(s), terminal: terminal}, 3)
	assert.Equal(t, 3, strings.Count(text, "\x1b[H"))
	assert.Equal(t, 3, strings.Count(text, "\x1b[J"))
	assert.Contains(t, text, "Active, for 0s.\x1b[K\n")
}
