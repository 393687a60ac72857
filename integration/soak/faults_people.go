package soak

import (
	"context"
	"math/rand/v2"
	"time"
)

// What people and strangers do to Vault.
var peopleFaults = []fault{
	{name: "strangers send shares", on: onShares, begin: sendShares},
	{name: "an operator seals vault", on: onSeal, often: 4, begin: sealVault},
	{name: "a rekey is under way", on: onRekey, begin: beginRekey},
}

// sendShares sends garbage now and then, not without pause: see the README of the
// sidecar for what that does.
func sendShares(ctx context.Context, w *world, s *storm, r *rand.Rand) (func() error, error) {
	s.record(sharesSent)
	return repeat(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = w.vault.Unseal(ctx, w.randomShare(r)) // that it is refused, or Vault away, is the point
		return nil
	}, func() time.Duration { return between(r, 100*time.Millisecond, 800*time.Millisecond) }), nil
}

// sealVault seals an open Vault. Of a request that got no answer it is not known
// what came of it.
func sealVault(ctx context.Context, w *world, s *storm, _ *rand.Rand) (func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if status, err := w.vault.SealStatus(ctx); err != nil || status.Sealed {
		return nil, nil
	}
	before := time.Now() // a process that ends after it was sealed ends after this
	if err := w.vault.Seal(ctx); err != nil {
		w.logf("sealing by hand: %v", err)
		s.record(perhapsSealed)
		return nil, nil
	}
	s.recordAt(sealed, before)
	return nil, nil
}

// beginRekey begins a ceremony, which the judge looks for and then cancels.
func beginRekey(ctx context.Context, w *world, s *storm, _ *rand.Rand) (func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var answer struct{ Nonce string }
	body := map[string]any{"secret_shares": 1, "secret_threshold": 1}
	if _, err := w.vault.Call(ctx, "PUT", "sys/rekey/init", body, &answer); err != nil {
		w.logf("beginning a rekey: %v", err)
		return nil, nil // Vault is not open
	}
	s.record(rekeyBegun)
	w.rekeyNonce = answer.Nonce
	return nil, nil
}
