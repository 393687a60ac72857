package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// fakeHalf is a half that calls a function, such as one that panics, in each method.
type fakeHalf struct {
	publish, run func()
	mu           sync.Mutex
	phases       []unseal.Phase
}

func (f *fakeHalf) Publish(s unseal.Snapshot) {
	if f.publish != nil {
		f.publish()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.phases = append(f.phases, s.Phase)
}

func (f *fakeHalf) Run(ctx context.Context) error {
	if f.run != nil {
		f.run()
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fakeHalf) published() []unseal.Phase {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.phases
}

// newTestGuard guards one half after another, the last again and again.
func newTestGuard(log io.Writer, halves ...component) (g *restarted, started *[]time.Time) {
	started = &[]time.Time{}
	return &restarted{
		log: hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Info}),
		start: func() (component, error) {
			*started = append(*started, time.Now())
			next := halves[0]
			if len(halves) > 1 {
				halves = halves[1:]
			}
			if next == nil {
				return nil, errors.New("no token")
			}
			return next, nil
		},
	}, started
}

const hostilePanic = "\x1b[2J\u202e" + "secret"

func TestRestarted_RestartsAfterAPanic(t *testing.T) {
	oops := func() { panic(hostilePanic + strings.Repeat("x", 1<<20)) }
	var none map[string]int
	for sentence, broken := range map[string]component{
		"in Run":                       &fakeHalf{run: oops},
		"in Publish":                   &fakeHalf{publish: oops},
		"in Publish, of the runtime's": &fakeHalf{publish: func() { none["x"] = 1 }},
		"it cannot be created":         nil,
		"it ends by itself":            endingHalf{},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				well := &fakeHalf{}
				g, started := newTestGuard(&log, broken, well)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); g.Run(ctx) }()
				synctest.Wait()
				g.Publish(unseal.Snapshot{Phase: unseal.Held})
				g.Publish(unseal.Snapshot{Phase: unseal.Active})
				time.Sleep(2 * time.Second)
				assert.Equal(t, []unseal.Phase{unseal.Active}, well.published(), "the newest state alone")
				assert.Len(t, *started, 2)
				g.Publish(unseal.Snapshot{Phase: unseal.Standby})
				assert.Equal(t, []unseal.Phase{unseal.Active, unseal.Standby}, well.published())
				cancel()
				<-ended
				assert.Equal(t, 1, strings.Count(log.String(), kube.MsgPanicked), log.String())
				assert.Less(t, log.Len(), 1000)
				assert.NotContains(t, log.String(), "\x1b")
			})
		})
	}
}

// endingHalf ends although its context has not.
type endingHalf struct{}

func (endingHalf) Publish(unseal.Snapshot) {}

func (endingHalf) Run(context.Context) error { return errors.New("ended") }

func TestRestarted_RestartsWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g, started := newTestGuard(&log, &fakeHalf{run: func() { panic("again") }})
		g.Publish(unseal.Snapshot{Phase: unseal.Active})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		g.Run(ctx)
		assert.InDelta(t, 9+10, len(*started), 4, "1 s, doubling up to 5 minutes")
		gaps := (*started)[len(*started)-1].Sub((*started)[len(*started)-2])
		assert.GreaterOrEqual(t, gaps, startsAgain)
		assert.Equal(t, 1, strings.Count(log.String(), kube.MsgPanicked), "logged once: %s", log.String())
		assert.Contains(t, log.String(), "restarted_linux_test.go:", "with its place")
	})
}
