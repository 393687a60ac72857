package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	// startsAgain bounds the wait before a start after a panic. It begins with a
	// second and doubles.
	startsAgain = 5 * time.Minute
	// ranWell is how long a run lasts after which the wait begins anew.
	ranWell = 10 * time.Minute
)

// component is what is restarted.
type component interface {
	Publish(unseal.Snapshot)
	Run(context.Context) error
}

// restarted is a half that cannot end the process, which unseals Vault. One that
// panics is left, and another begins with the newest state.
type restarted struct {
	first component // taken before start is called; may be nil
	start func() (component, error)
	log   hclog.Logger

	mu     sync.Mutex
	newest *unseal.Snapshot
	now    component // nil while none runs
	end    context.CancelCauseFunc
}

// Publish takes the core's newest state. It neither blocks nor panics.
func (g *restarted) Publish(s unseal.Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.newest = &s
	g.publish()
}

// publish hands the newest state on. The lock is held.
func (g *restarted) publish() {
	if g.now == nil || g.newest == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			g.now = nil
			g.end(kube.PanicOf(r))
		}
	}()
	g.now.Publish(*g.newest)
}

// Run works until ctx is done.
func (g *restarted) Run(ctx context.Context) {
	said := ""
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := g.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= ranWell {
			failures = 0
		}
		wait := kube.Jittered(min(time.Second<<min(failures, 16), startsAgain))
		failures++
		if text := fmt.Sprint(err); text != said {
			said = text
			g.log.Error(kube.MsgPanicked, "error", err, kube.KeyAgain, kube.Short(wait), "advice", kube.AdvicePanicked)
		} else {
			g.log.Debug(kube.MsgPanicked, "error", err, kube.KeyAgain, kube.Short(wait))
		}
		kube.Sleep(ctx, wait)
	}
}

// once starts one and returns what ended it.
func (g *restarted) once(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if r := recover(); r != nil {
			err = kube.PanicOf(r)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now = nil
	}()
	next := g.first
	g.first = nil
	if next == nil {
		if next, err = g.start(); err != nil {
			return err
		}
	}
	g.begin(next, cancel)
	if err := next.Run(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (g *restarted) begin(next component, end context.CancelCauseFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now, g.end = next, end
	g.publish()
}
