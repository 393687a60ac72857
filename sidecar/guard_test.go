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

// fragile is a half that panics where it is told to.
type fragile struct {
	publish, run func()
	mu           sync.Mutex
	phases       []unseal.Phase
}

func (f *fragile) Publish(s unseal.State) {
	if f.publish != nil {
		f.publish()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.phases = append(f.phases, s.Phase)
}

func (f *fragile) Run(ctx context.Context) error {
	if f.run != nil {
		f.run()
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f *fragile) saw() []unseal.Phase {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.phases
}

// guard guards one half after another, the last again and again.
func guard(log io.Writer, halves ...half) (g *guarded, started *[]time.Time) {
	started = &[]time.Time{}
	return &guarded{
		log: hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Info}),
		start: func() (half, error) {
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

const wicked = "\x1b[2J\u202e" + "secret"

func TestAPanicEndsNothing(t *testing.T) {
	oops := func() { panic(wicked + strings.Repeat("x", 1<<20)) }
	var none map[string]int
	for sentence, broken := range map[string]half{
		"in Run":                       &fragile{run: oops},
		"in Publish":                   &fragile{publish: oops},
		"in Publish, of the runtime's": &fragile{publish: func() { none["x"] = 1 }},
		"it cannot even be made":       nil,
		"it ends without having to":    brokenPromise{},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				well := &fragile{}
				g, started := guard(&log, broken, well)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); g.Run(ctx) }()
				synctest.Wait()
				g.Publish(unseal.State{Phase: unseal.Held})
				g.Publish(unseal.State{Phase: unseal.Active})
				time.Sleep(2 * time.Second)
				assert.Equal(t, []unseal.Phase{unseal.Active}, well.saw(), "the newest state alone")
				assert.Len(t, *started, 2)
				g.Publish(unseal.State{Phase: unseal.Standby})
				assert.Equal(t, []unseal.Phase{unseal.Active, unseal.Standby}, well.saw())
				cancel()
				<-ended
				assert.Equal(t, 1, strings.Count(log.String(), kube.MsgPanicked), log.String())
				assert.Less(t, log.Len(), 1000)
				assert.NotContains(t, log.String(), "\x1b")
			})
		})
	}
}

// brokenPromise ends although nobody asked it to.
type brokenPromise struct{}

func (brokenPromise) Publish(unseal.State) {}

func (brokenPromise) Run(context.Context) error { return errors.New("ended") }

func TestItStartsAgainEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g, started := guard(&log, &fragile{run: func() { panic("again") }})
		g.Publish(unseal.State{Phase: unseal.Active})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		g.Run(ctx)
		assert.InDelta(t, 9+10, len(*started), 4, "1 s, doubling up to 5 minutes")
		gaps := (*started)[len(*started)-1].Sub((*started)[len(*started)-2])
		assert.GreaterOrEqual(t, gaps, startsAgain)
		assert.Equal(t, 1, strings.Count(log.String(), kube.MsgPanicked), "said once: %s", log.String())
		assert.Contains(t, log.String(), "guard_test.go:", "it says where")
	})
}
