package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The sidecar, and what it depends on in its pod.
var sidecarFaults = []fault{
	{name: "the sidecar is killed", on: onSidecar, often: 3, needs: []trait{hasRestarts}, begin: killSidecar},
	{name: "the sidecar is terminated", on: onSidecar, often: 3, needs: []trait{hasRestarts}, begin: terminateSidecar},
	{name: "the sidecar is stopped", on: onSidecar, needs: []trait{hasSignals}, begin: stopSidecar},
	{name: "the key is wrong", on: onKeys, begin: mounts(wrongKey)},
	{name: "the key is missing", on: onKeys, begin: mounts(missingKey)},
	{name: "half of the key is mounted", on: onKeys, begin: mounts(halfKey)},
	{name: "the key is swapped again and again", on: onKeys, begin: swapKeys},
	{name: "the state directory is full", on: onState, needs: []trait{hasState}, begin: fillState},
	{name: "the clock jumps", on: onClock, needs: []trait{hasClock}, begin: jumpClock},
}

func killSidecar(ctx context.Context, w *world, s *storm, _ *rand.Rand) (func() error, error) {
	w.sidecarKeeper.hold()
	w.sidecarKeeper.signal(syscall.SIGKILL)
	s.record(sidecarEnded)
	return func() error { return w.sidecarKeeper.release(ctx) }, nil
}

func terminateSidecar(ctx context.Context, w *world, s *storm, _ *rand.Rand) (func() error, error) {
	w.sidecarKeeper.hold()
	w.sidecarKeeper.signal(syscall.SIGTERM)
	s.record(sidecarEnded)
	if err := w.sidecarKeeper.awaitEnd(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	if code, _ := w.sidecarKeeper.process().ExitCode(0); code != 0 {
		return nil, fmt.Errorf("exit code %d after SIGTERM", code)
	}
	return func() error { return w.sidecarKeeper.release(ctx) }, nil
}

func stopSidecar(_ context.Context, w *world, s *storm, _ *rand.Rand) (func() error, error) {
	s.record(sidecarStood)
	w.sidecarKeeper.signal(syscall.SIGSTOP)
	return func() error { w.sidecarKeeper.signal(syscall.SIGCONT); return nil }, nil
}

func wrongKey(w *world, r *rand.Rand) []string {
	var out []string
	for range w.mounted() {
		out = append(out, w.randomShare(r))
	}
	return out
}

func missingKey(*world, *rand.Rand) []string { return nil }

// halfKey is too few shares, or for a threshold of 1 a share that was cut.
func halfKey(w *world, r *rand.Rand) []string {
	all := w.mounted()
	if len(all) > 1 {
		return all[:1+r.IntN(2)]
	}
	half := all[0][:len(all[0])/2]
	w.keepSecret(half)
	return []string{half}
}

func mounts(shares func(*world, *rand.Rand) []string) begin {
	return func(_ context.Context, w *world, s *storm, r *rand.Rand) (func() error, error) {
		s.record(keysChanged)
		if err := w.secret.WriteShares(shares(w, r)...); err != nil {
			return nil, err
		}
		return func() error { return w.secret.WriteShares(w.mounted()...) }, nil
	}
}

// swapKeys mounts other shares every few milliseconds, faster than they can be tried.
func swapKeys(ctx context.Context, w *world, s *storm, r *rand.Rand) (func() error, error) {
	s.record(keysChanged)
	kinds := []func(*world, *rand.Rand) []string{wrongKey, missingKey, halfKey,
		func(w *world, _ *rand.Rand) []string { return w.mounted() },
		func(w *world, r *rand.Rand) []string { return append([]string{w.randomShare(r)}, w.mounted()...) },
	}
	end := repeat(ctx, func(ctx context.Context) error {
		return w.secret.WriteShares(kinds[r.IntN(len(kinds))](w, r)...)
	}, func() time.Duration { return between(r, 10*time.Millisecond, 400*time.Millisecond) })
	return func() error { return errors.Join(end(), w.secret.WriteShares(w.mounted()...)) }, nil
}

// fillState leaves no byte on the disk of the state directory.
func fillState(_ context.Context, w *world, s *storm, _ *rand.Rand) (func() error, error) {
	s.record(stateFull)
	path := filepath.Join(w.stateDir, "filler")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() error { return os.RemoveAll(path) }, nil // with another fault all is gone
}

// jumpClock moves the clock by up to two days either way, and leaves it there. A
// sidecar that starts again has the machine's.
func jumpClock(ctx context.Context, w *world, _ *storm, r *rand.Rand) (func() error, error) {
	ahead := between(r, -48*time.Hour, 48*time.Hour)
	return nil, w.await(ctx, time.Minute, "the clock to be set", func() string {
		if _, err := w.clock.Set(ahead); err != nil {
			return err.Error()
		}
		return ""
	})
}

// repeat does something again and again until the returned function is called, which
// waits for the end and returns the first error.
func repeat(ctx context.Context, do func(context.Context) error, pause func() time.Duration) (end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-time.After(pause()):
			}
		}
	}()
	return func() error { cancel(); return <-ended }
}
