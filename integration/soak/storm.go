package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// planned is a fault with its moments, from the beginning of the storm.
type planned struct {
	fault
	at, lasts time.Duration
	r         *rand.Rand // of the fault alone, so that no race changes what others draw
}

// storm is a plan, and what came of it.
type storm struct {
	faults []planned
	began  time.Time
	calm   time.Time // when the last fault was removed

	mu     sync.Mutex
	events []event
}

// newStorm chooses among the faults.
func newStorm(r *rand.Rand, among []fault) *storm {
	s := &storm{}
	taken := map[string]bool{}
	for wanted := 1 + r.IntN(5); len(s.faults) < wanted; {
		f := among[r.IntN(len(among))]
		if taken[f.on] {
			continue
		}
		taken[f.on] = true
		s.faults = append(s.faults, planned{
			fault: f,
			at:    between(r, 0, 2*time.Second),
			lasts: between(r, 100*time.Millisecond, 4*time.Second),
			r:     rand.New(rand.NewPCG(r.Uint64(), r.Uint64())),
		})
	}
	return s
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return (from + time.Duration(r.Int64N(int64(to-from)))).Round(10 * time.Millisecond)
}

func (s *storm) String() string {
	var names []string
	for _, p := range s.faults {
		names = append(names, fmt.Sprintf("%s at %v for %v", p.name, p.at, p.lasts))
	}
	return strings.Join(names, "; ")
}

// has reports whether one of the faults acts on this.
func (s *storm) has(on string) bool {
	for _, p := range s.faults {
		if p.on == on {
			return true
		}
	}
	return false
}

// run lets the faults happen and returns when all are over and removed, and a Vault that
// ended by itself is back.
func (s *storm) run(ctx context.Context, w *world) error {
	s.began = time.Now()
	w.mu.Lock()
	if w.storm != nil && w.storm.has(onState) { // what could not be saved then is tried again only after seconds
		s.record(stateFull)
	}
	w.storm = s
	w.mu.Unlock()
	errs := make([]error, len(s.faults))
	var all sync.WaitGroup
	for i, p := range s.faults {
		all.Go(func() {
			if err := p.happen(ctx, w, s); err != nil {
				errs[i] = fmt.Errorf("%s: %w", p.name, err)
			}
		})
	}
	all.Wait()
	errs = append(errs, w.vaultKeeper.awaitBack(ctx))
	s.calm = time.Now()
	w.logf("calm after %v", s.calm.Sub(s.began).Round(time.Millisecond))
	return errors.Join(errs...)
}

func (p planned) happen(ctx context.Context, w *world, s *storm) error {
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := wait(p.at); err != nil {
		return err
	}
	w.logf("begins: %s", p.name)
	stop, err := p.begin(ctx, w, s, p.r)
	if err != nil {
		return err
	}
	if err := wait(p.lasts); err != nil {
		return err
	}
	if stop != nil {
		err = stop()
	}
	w.logf("over: %s", p.name)
	return err
}
