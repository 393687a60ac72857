package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// Vault, its storage, and the way to it. Most other faults matter to a Vault alone that
// has to be opened.
var vaultFaults = []fault{
	{name: "vault is killed", on: onVault, often: 3, begin: killVault},
	{name: "vault is terminated", on: onVault, often: 2, begin: terminateVault},
	{name: "vault is stopped", on: onVault, begin: stopVault},
	{name: "storage hangs", on: onStorage, begin: storage("hang")},
	{name: "storage fails", on: onStorage, begin: storage("eio")},
	{name: "storage crawls", on: onStorage, begin: storage("slow 30ms")},
	{name: "the proxy breaks connections", on: onFront, needs: []trait{hasFront}, begin: front(frontBreaks)},
	{name: "the proxy delays", on: onFront, needs: []trait{hasFront}, begin: front(frontDelays)},
	{name: "the proxy answers for vault", on: onFront, needs: []trait{hasFront}, begin: front(frontAnswers)},
	{name: "the proxy calls vault sealed", on: onFront, needs: []trait{hasFront}, begin: front(frontSaysSealed)},
}

func killVault(ctx context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
	w.front.down()
	w.vaultKeeper.hold()
	w.vaultKeeper.signal(syscall.SIGKILL)
	return func() error { return w.vaultKeeper.release(ctx) }, nil
}

// terminateVault does what a kubelet does: after a grace period it kills.
func terminateVault(ctx context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
	w.vaultKeeper.hold()
	w.vaultKeeper.signal(syscall.SIGTERM)
	return func() error {
		if err := w.vaultKeeper.awaitEnd(ctx, 5*time.Second); err != nil {
			w.vaultKeeper.signal(syscall.SIGKILL)
		}
		return w.vaultKeeper.release(ctx)
	}, nil
}

func stopVault(_ context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
	w.vaultKeeper.signal(syscall.SIGSTOP)
	return func() error { w.vaultKeeper.signal(syscall.SIGCONT); return nil }, nil
}

// storage sets a mode of stallfs.
func storage(mode string) begin {
	return func(ctx context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
		if err := w.stall.SetMode(mode); err != nil {
			return nil, err
		}
		return func() error {
			if err := w.stall.SetMode("open"); err != nil {
				return fmt.Errorf("after %s: %w", mode, err)
			}
			return nil
		}, nil
	}
}

func front(mode frontMode) begin {
	return func(_ context.Context, w *world, s *storm, r *rand.Rand) (func() error, error) {
		if mode != frontDelays {
			s.record(answered)
		}
		w.front.set(mode, r)
		return func() error { w.front.set(frontPasses, nil); return nil }, nil
	}
}
