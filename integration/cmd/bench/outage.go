package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	// failedFor is how long ESO has failed at least before Vault comes back.
	failedFor = 100 * time.Second
	// recoveryLimit is how long a recovery is waited for.
	recoveryLimit = 8 * time.Minute
	// reportLimit is how long the sidecar's report of it is waited for.
	reportLimit = 5 * time.Minute
)

// method is a way to bring External Secrets back.
type method struct {
	name    string
	before  func(ctx context.Context, c *outage.Cluster) error // while all is well
	restart func(ctx context.Context, c *outage.Cluster) error // when Vault listens, sealed
	began   func(ctx context.Context, c *outage.Cluster) (time.Time, error)
}

// The last one leaves External Secrets in a bad state.
var methods = []method{
	{"sidecar", startSidecarAndWait, noAction, unsealed},
	{"restart", noAction, unsealAndRestart, unsealed},
	{"nobody", noAction, unseal, unsealed},
}

// behindService is the sidecar where Vault's Service leads to a Ready pod alone.
func behindService() method {
	var service *outage.Service
	return method{"service", func(ctx context.Context, c *outage.Cluster) (err error) {
		service, err = startSidecarBehindService(ctx, c)
		return err
	}, noAction, func(ctx context.Context, c *outage.Cluster) (at time.Time, err error) {
		if at, err = unsealed(ctx, c); err != nil {
			return at, err
		}
		err = testenv.Await(ctx, time.Minute, "the pod to be Ready", func() string {
			if at = service.ReadyAt(); at.IsZero() {
				return "it is not"
			}
			return ""
		})
		return at, err
	}}
}

func startSidecarBehindService(ctx context.Context, c *outage.Cluster) (*outage.Service, error) {
	if err := startSidecarAndWait(ctx, c); err != nil {
		return nil, err
	}
	port, err := testenv.Port()
	if err != nil {
		return nil, err
	}
	service := c.StartService(ctx, port)
	return service, c.Apply(ctx, strings.ReplaceAll(c.Vault.ClusterStore(outage.StoreName), c.Vault.Addr, service.Addr))
}

func unsealed(ctx context.Context, c *outage.Cluster) (time.Time, error) {
	return c.Vault.AwaitUnsealed(ctx)
}

func noAction(context.Context, *outage.Cluster) error { return nil }

func startSidecarAndWait(ctx context.Context, c *outage.Cluster) error {
	return c.Vault.StartSidecarAndWait(ctx)
}

func unseal(ctx context.Context, c *outage.Cluster) error { return c.Vault.UnsealAll(ctx) }

func unsealAndRestart(ctx context.Context, c *outage.Cluster) error {
	if err := unseal(ctx, c); err != nil {
		return err
	}
	return c.ESO.Restart(ctx)
}

// trial is a method and the cluster in which it runs.
type trial struct {
	*outage.Cluster
	method       method
	failingSince time.Time // when ESO failed to sync the first, in this outage
}

// runOutage begins the outages of all trials together, which costs the time of one,
// and ends them one after another. It returns for each how long its
// ExternalSecrets then took, or recoveryLimit when that was exceeded.
func runOutage(ctx context.Context, trials ...*trial) ([]time.Duration, error) {
	for _, t := range trials {
		if err := t.begin(ctx); err != nil {
			return nil, err
		}
	}
	for _, t := range trials {
		if err := t.awaitFailed(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", t.method.name, err)
		}
	}
	var all []time.Duration
	for _, t := range trials {
		took, err := t.measure(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.method.name, err)
		}
		all = append(all, took)
	}
	return all, nil
}

// begin begins the outage while all is well, and waits until ESO begins to fail.
// The store is made to be not Ready soon: ESO by itself would look at it within
// five minutes.
func (t *trial) begin(ctx context.Context) error {
	if err := t.AwaitSynced(ctx); err != nil {
		return err
	}
	if err := t.Vault.BeginOutage(); err != nil {
		return err
	}
	now := time.Now().Format(time.RFC3339Nano)
	if err := t.Annotate(ctx, outage.ClusterStores, "", outage.StoreName, "touched", now); err != nil {
		return fmt.Errorf("annotating the store: %w", err)
	}
	_, err := t.Store.Await(ctx, 2*time.Minute, "False", 1)
	if err != nil {
		return err
	}
	t.failingSince, err = t.Secrets.Await(ctx, 5*time.Minute, "False", 1)
	return err
}

// awaitFailed waits until ESO has failed with every ExternalSecret, and for
// failedFor since it failed with the first.
func (t *trial) awaitFailed(ctx context.Context) error {
	if _, err := t.Secrets.Await(ctx, 10*time.Minute, "False", t.Count); err != nil {
		return err
	}
	return sleep(ctx, time.Until(t.failingSince.Add(failedFor)))
}

// measure brings Vault back, and measures from when the method has it begin to the last
// ExternalSecret Ready.
func (t *trial) measure(ctx context.Context) (time.Duration, error) {
	if err := t.Vault.EndOutage(); err != nil {
		return 0, err
	}
	if err := t.Vault.AwaitListening(ctx); err != nil {
		return 0, err
	}
	if err := t.method.restart(ctx, t.Cluster); err != nil {
		return 0, err
	}
	began, err := t.method.began(ctx, t.Cluster)
	if err != nil {
		return 0, err
	}
	ready, err := t.Secrets.Await(ctx, time.Until(began.Add(recoveryLimit)), "True", t.Count)
	if errors.Is(err, context.DeadlineExceeded) {
		return recoveryLimit, nil
	}
	return ready.Sub(began), err
}
