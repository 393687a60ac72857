package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	// failedFor is how long ESO has failed at least before Vault comes back.
	failedFor = 100 * time.Second
	// recoveryLimit is how long a recovery is waited for.
	recoveryLimit = 8 * time.Minute
)

// remedy is a way to bring External Secrets back.
type remedy struct {
	name   string
	before func(ctx context.Context, h *home) error // while all is well
	thaw   func(ctx context.Context, h *home) error // when Vault listens, sealed
}

// The last one leaves External Secrets in a bad state.
var remedies = []remedy{
	{"sidecar", func(ctx context.Context, h *home) error { return h.startSidecar(ctx) }, nothing},
	{"restart", nothing, func(ctx context.Context, h *home) error {
		if err := h.vault.UnsealAll(ctx); err != nil {
			return err
		}
		if err := h.eso.Stop(); err != nil {
			return err
		}
		return h.eso.Start(ctx)
	}},
	{"nobody", nothing, func(ctx context.Context, h *home) error { return h.vault.UnsealAll(ctx) }},
}

func nothing(context.Context, *home) error { return nil }

// turn is a remedy in its home.
type turn struct {
	remedy remedy
	home   *home
}

// outage lets the Vaults of all turns be away together, which costs the time
// of one, and brings them back one after another. It returns for each how long
// its ExternalSecrets then took, recoveryLimit when it was given up.
func outage(ctx context.Context, turns []turn) ([]time.Duration, error) {
	for _, t := range turns {
		if err := t.home.loseVault(ctx); err != nil {
			return nil, err
		}
	}
	for _, t := range turns {
		if err := t.home.awaitFailed(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", t.remedy.name, err)
		}
	}
	var all []time.Duration
	for _, t := range turns {
		took, err := t.measure(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.remedy.name, err)
		}
		all = append(all, took)
	}
	return all, nil
}

// loseVault kills Vault while all is well, and waits until ESO begins to fail.
// The store is made to be not Ready soon: ESO by itself would look at it within
// five minutes.
func (h *home) loseVault(ctx context.Context) error {
	if err := h.awaitSynced(ctx); err != nil {
		return err
	}
	if err := h.vault.Kill(); err != nil {
		return err
	}
	if err := h.touchStore(ctx); err != nil {
		return err
	}
	err := testenv.Await(ctx, 2*time.Minute, "the store not to be ready", func() string {
		o, err := h.cluster.Get(ctx, "external-secrets.io/v1", "ClusterSecretStore", "", storeName)
		if err != nil {
			return err.Error()
		}
		if status := readiness(o); status != "False" {
			return "Ready is " + status
		}
		return ""
	})
	if err != nil {
		return err
	}
	h.failing, err = h.tally.await(ctx, 5*time.Minute, "False", 1)
	return err
}

// awaitFailed waits until ESO has failed with every ExternalSecret, and for
// failedFor since it failed with the first.
func (h *home) awaitFailed(ctx context.Context) error {
	if _, err := h.tally.await(ctx, 10*time.Minute, "False", h.size); err != nil {
		return err
	}
	return pause(ctx, time.Until(h.failing.Add(failedFor)))
}

// measure brings Vault back, and measures from its being unsealed to the last
// ExternalSecret Ready.
func (t turn) measure(ctx context.Context) (time.Duration, error) {
	h := t.home
	if err := h.vault.StartAndWait(ctx); err != nil {
		return 0, err
	}
	if err := t.remedy.thaw(ctx, h); err != nil {
		return 0, err
	}
	began, err := awaitUnsealed(ctx, h.vault)
	if err != nil {
		return 0, err
	}
	ready, err := h.tally.await(ctx, time.Until(began.Add(recoveryLimit)), "True", h.size)
	if errors.Is(err, errLate) {
		return recoveryLimit, nil
	}
	return ready.Sub(began), err
}
