package kube

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	// startsAgain bounds the wait before a start after a panic. It begins with a
	// second and doubles.
	startsAgain = 5 * time.Minute
	// ranWell is how long a run lasts after which the wait begins anew.
	ranWell = 10 * time.Minute
)

// half is what is guarded: a Kube.
type half interface {
	Publish(unseal.State)
	Run(context.Context) error
}

// Guarded is a Kube that cannot end the process, which unseals Vault. One that
// panics is left, and another begins with the newest state.
type Guarded struct {
	start func() (half, error)
	log   hclog.Logger

	mu     sync.Mutex
	newest *unseal.State
	now    half // nil while none runs
	end    context.CancelCauseFunc
}

// NewGuarded fails as New does.
func NewGuarded(c Config) (*Guarded, error) {
	first, err := New(c)
	if err != nil {
		return nil, err
	}
	return &Guarded{log: c.Log, start: func() (half, error) {
		if k := first; k != nil {
			first = nil
			return k, nil
		}
		return New(c)
	}}, nil
}

// Publish takes the core's newest state. It neither blocks nor panics.
func (g *Guarded) Publish(s unseal.State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.newest = &s
	g.publish()
}

// publish hands the newest state on. The lock is held.
func (g *Guarded) publish() {
	if g.now == nil || g.newest == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			g.now = nil
			g.end(panicOf(r))
		}
	}()
	g.now.Publish(*g.newest)
}

// Run works until ctx is done.
func (g *Guarded) Run(ctx context.Context) {
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
		wait := jittered(min(time.Second<<min(failures, 16), startsAgain))
		failures++
		if text := fmt.Sprint(err); text != said {
			said = text
			g.log.Error(msgPanicked, keyError, err, keyAgain, short(wait), keyAdvice, advicePanicked)
		} else {
			g.log.Debug(msgPanicked, keyError, err, keyAgain, short(wait))
		}
		sleep(ctx, wait)
	}
}

// once starts one and returns what ended it.
func (g *Guarded) once(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if r := recover(); r != nil {
			err = panicOf(r)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now = nil
	}()
	next, err := g.start()
	if err != nil {
		return err
	}
	g.begin(next, cancel)
	if err := next.Run(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (g *Guarded) begin(next half, end context.CancelCauseFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now, g.end = next, end
	g.publish()
}

// group is goroutines that end together when one of them panics.
type group struct {
	sync.WaitGroup
	end context.CancelCauseFunc
}

// Go starts one.
func (g *group) Go(f func()) {
	g.WaitGroup.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				g.end(panicOf(r))
			}
		}()
		f()
	})
}

// panicOf makes an error of what was recovered: what it says, which may repeat
// what others wrote, and where it was.
func panicOf(r any) error {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	where, panicking := "", false
	for more := true; more && where == ""; {
		var frame runtime.Frame
		frame, more = frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if panicking && !inRuntime {
			where = fmt.Sprintf(" (%s:%d)", filepath.Base(frame.File), frame.Line)
		}
		panicking = panicking || frame.Function == "runtime.gopanic"
	}
	return fmt.Errorf("panic: %s%s", safetext.Line(fmt.Sprint(r), maxWords), where)
}
