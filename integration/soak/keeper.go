package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// keeper does for one process what a kubelet does: it starts the process again
// whenever it has ended, unless it was told to wait.
type keeper struct {
	name  string
	start func() (*testenv.Process, error)
	// back returns "" once the process does its work.
	back func(ctx context.Context) string

	mu     sync.Mutex
	now    *testenv.Process
	runs   []*testenv.Process
	held   int
	broken error // why it could not be started
}

// run keeps the process until ctx is done. ended is called for each end, with
// whether the end was wanted.
func (k *keeper) run(ctx context.Context, ended func(p *testenv.Process, wanted bool)) {
	var last *testenv.Process
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		k.mu.Lock()
		if k.now != nil && k.now.Exited() && last != k.now {
			last = k.now
			ended(last, k.held > 0)
		}
		if (k.now == nil || k.now.Exited()) && k.held == 0 && k.broken == nil {
			k.begin()
		}
		k.mu.Unlock()
	}
}

func (k *keeper) begin() {
	k.now, k.broken = k.start()
	if k.broken == nil {
		k.runs = append(k.runs, k.now)
	}
}

func (k *keeper) process() *testenv.Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// log returns what all runs printed.
func (k *keeper) log() (all string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, p := range k.runs {
		all += fmt.Sprintf("== %s, run %d\n%s", k.name, i+1, p.Output())
	}
	return all
}

func (k *keeper) signal(s syscall.Signal) {
	if p := k.process(); p != nil && !p.Exited() {
		p.Signal(s)
	}
}

// hold keeps the process from being started again until release.
func (k *keeper) hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held++
}

// release lets the process be started again, and waits until it is back.
func (k *keeper) release(ctx context.Context) error {
	k.mu.Lock()
	k.held--
	k.mu.Unlock()
	return k.awaitBack(ctx)
}

func (k *keeper) awaitBack(ctx context.Context) error {
	return testenv.Await(ctx, time.Minute, k.name+" to be back", func() string {
		k.mu.Lock()
		p, broken := k.now, k.broken
		k.mu.Unlock()
		switch {
		case broken != nil:
			return broken.Error()
		case p == nil || p.Exited():
			return "it does not run"
		}
		return k.back(ctx)
	})
}

// awaitEnd waits until the process has ended.
func (k *keeper) awaitEnd(ctx context.Context, limit time.Duration) error {
	p := k.process()
	if p == nil {
		return errors.New("it never ran")
	}
	return testenv.Await(ctx, limit, k.name+" to end", func() string {
		if p.Exited() {
			return ""
		}
		return "it runs"
	})
}
