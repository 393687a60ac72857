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

// method is a way to bring External Secrets back.
type method struct {
	name    string
	before  func(ctx context.Context, st *setup) error // while all is well
	restart func(ctx context.Context, st *setup) error // when Vault listens, sealed
}

// The last one leaves External Secrets in a bad state.
var methods = []method{
	{"sidecar", func(ctx context.Context, st *setup) error { return st.startSidecar(ctx) }, noAction},
	{"restart", noAction, func(ctx context.Context, st *setup) error {
		if err := st.vault.UnsealAll(ctx); err != nil {
			return err
		}
		if err := st.eso.Stop(); err != nil {
			return err
		}
		return st.eso.Start(ctx)
	}},
	{"nobody", noAction, func(ctx context.Context, st *setup) error { return st.vault.UnsealAll(ctx) }},
}

func noAction(context.Context, *setup) error { return nil }

// trial is a method and the setup in which it runs.
type trial struct {
	method method
	setup  *setup
}

// outage stops the Vaults of all trials together, which costs the time of one,
// and brings them back one after another. It returns for each how long its
// ExternalSecrets then took, or recoveryLimit when that was exceeded.
func outage(ctx context.Context, turns []trial) ([]time.Duration, error) {
	for _, t := range turns {
		if err := t.setup.killVault(ctx); err != nil {
			return nil, err
		}
	}
	for _, t := range turns {
		if err := t.setup.awaitFailed(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", t.method.name, err)
		}
	}
	var all []time.Duration
	for _, t := range turns {
		took, err := t.measure(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.method.name, err)
		}
		all = append(all, took)
	}
	return all, nil
}

// killVault kills Vault while all is well, and waits until ESO begins to fail.
// The store is made to be not Ready soon: ESO by itself would look at it within
// five minutes.
func (st *setup) killVault(ctx context.Context) error {
	if err := st.awaitSynced(ctx); err != nil {
		return err
	}
	if err := st.vault.Kill(); err != nil {
		return err
	}
	if err := st.forceSyncStore(ctx); err != nil {
		return err
	}
	err := testenv.Await(ctx, 2*time.Minute, "the store not to be ready", func() string {
		o, err := st.cluster.Get(ctx, "external-secrets.io/v1", "ClusterSecretStore", "", storeName)
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
	st.failingSince, err = st.readyCounter.await(ctx, 5*time.Minute, "False", 1)
	return err
}

// awaitFailed waits until ESO has failed with every ExternalSecret, and for
// failedFor since it failed with the first.
func (st *setup) awaitFailed(ctx context.Context) error {
	if _, err := st.readyCounter.await(ctx, 10*time.Minute, "False", st.secretCount); err != nil {
		return err
	}
	return sleep(ctx, time.Until(st.failingSince.Add(failedFor)))
}

// measure brings Vault back, and measures from its being unsealed to the last
// ExternalSecret Ready.
func (t trial) measure(ctx context.Context) (time.Duration, error) {
	st := t.setup
	if err := st.vault.StartAndWait(ctx); err != nil {
		return 0, err
	}
	if err := t.method.restart(ctx, st); err != nil {
		return 0, err
	}
	began, err := awaitUnsealed(ctx, st.vault)
	if err != nil {
		return 0, err
	}
	ready, err := st.readyCounter.await(ctx, time.Until(began.Add(recoveryLimit)), "True", st.secretCount)
	if errors.Is(err, errTimeout) {
		return recoveryLimit, nil
	}
	return ready.Sub(began), err
}
