// Package soak throws faults at Vault, at the sidecar and at Kubernetes, at random
// and several at once, and judges what is left once they are over. It exists for
// what no scenario of the integration tests thought of.
//
// A run is a row of worlds, each with real servers of its own and a peace, and then
// of storms, each with a calm after it:
//
//   - A storm is one to five faults of the tables in faults_*.go. Each begins and ends at
//     a moment of its own. No two act on the same thing: see fault.on.
//   - A calm begins when the last fault was removed and what it took away is back:
//     a killed process runs and listens. What was not part of the storm is not
//     waited for.
//   - Within Limit of that, all is as judge.go says: Vault is open and everything
//     reports so, unless model.go says that the storm ends with a seal that is held.
//     Then Vault stays sealed until the operator opens it, and the judge is asked
//     again.
//
// Faults, moments and worlds follow from the seed alone. What the servers make of
// them does not: a run that failed may have to be repeated a few times.
package soak

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"
)

// Limit is how long after a storm all has to be as it should be.
const Limit = 2 * time.Second

// A start or a storm that takes longer is considered hung.
const (
	startLimit = 5 * time.Minute
	stormLimit = 10 * time.Minute // with its calm: more than all that is waited for in it
)

// Config is what a run is.
type Config struct {
	Seed       uint64
	First      int           // the number of the first world
	For        time.Duration // no storm begins later; zero: one world
	Storms     int           // in each world, the last one excepted; zero: 10
	Kubernetes bool          // the worlds have an API server and External Secrets
	Keep       string        // the folder that gets the logs of a run that fails
	Log        func(format string, args ...any)
}

// Run returns an error when a calm was not as it should be.
func Run(ctx context.Context, c Config) error {
	if c.Storms == 0 {
		c.Storms = 10
	}
	until := time.Now().Add(c.For)
	t := newTally()
	defer func() { c.Log("%v", t) }()
	for i := c.First; i == c.First || time.Now().Before(until); i++ {
		if err := runWorld(ctx, c, t, i, until); err != nil {
			return fmt.Errorf("SEED=%d WORLD=%d: %w", c.Seed, i, err)
		}
	}
	return nil
}

func runWorld(ctx context.Context, c Config, t *tally, number int, until time.Time) (err error) {
	w, err := newWorld(c, t, number)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\nall logs are in %s", err, w.keep(c.Keep, err))
		}
		if closing := w.close(); err == nil {
			err = closing
		}
	}()
	w.logf("world %d: %v", number, w.traits)
	if err := inTime(ctx, startLimit, w.start, w.beginPeace); err != nil {
		return fmt.Errorf("before the first storm: %w", err)
	}
	for i := 0; i < c.Storms && (i == 0 || c.For == 0 || time.Now().Before(until)); i++ {
		s := newStorm(stormRand(c.Seed, number, i), w.faults())
		w.logf("storm %d: %v", i, s)
		t.add(s)
		run := func(ctx context.Context) error { return s.run(ctx, w) }
		judge := func(ctx context.Context) error { return w.judge(ctx, s) }
		if err := inTime(ctx, stormLimit, run, judge); err != nil {
			return fmt.Errorf("storm %d, %v: %w", i, s, err)
		}
	}
	return inTime(ctx, stormLimit, w.judgeDump)
}

// inTime does one thing after another, all of them within the limit.
func inTime(ctx context.Context, limit time.Duration, steps ...func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stormRand is independent of how many numbers other storms drew.
func stormRand(seed uint64, world, storm int) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%d/%d/%d", seed, world, storm))))
}
