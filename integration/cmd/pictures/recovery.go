package main

import (
	"context"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

var (
	// outages are how long the storage hangs in each power cut. The first is for the
	// page's list of recoveries before.
	outages = []time.Duration{8 * time.Second, 12 * time.Second}
	// off is how long there is no power, and well how long all is well before each
	// power cut and after the last: the dashboard shows both.
	off, well = 2 * time.Second, 15 * time.Second
)

// home is what loses its power.
type home struct {
	*outage.Vault
	prometheus *prometheus
}

// start returns when Vault is active and Prometheus scrapes the sidecar.
func start(ctx context.Context, env *testenv.Env) (h home, err error) {
	if h.Vault, err = outage.StartVault(ctx, env); err != nil {
		return h, err
	}
	if h.SidecarPort, err = testenv.Port(); err != nil {
		return h, err
	}
	if err := h.StartSidecarAndWait(ctx); err != nil {
		return h, err
	}
	h.prometheus, err = startPrometheus(ctx, env, "127.0.0.1:"+h.SidecarPort)
	if err != nil {
		return h, err
	}
	return h, pause(ctx, well)
}

// powerCut cuts the power, lets the storage hang for so long once the power is back, and
// returns when all has been well for a while.
func (h home) powerCut(ctx context.Context, hangs time.Duration) error {
	if err := h.KillSidecar(); err != nil {
		return err
	}
	if err := h.Kill(); err != nil {
		return err
	}
	if err := pause(ctx, off); err != nil {
		return err
	}
	if err := h.BeginOutage(); err != nil {
		return err
	}
	if err := h.StartSidecar(); err != nil {
		return err
	}
	if err := h.AwaitHanging(ctx); err != nil {
		return err
	}
	if err := pause(ctx, hangs); err != nil {
		return err
	}
	if err := h.EndOutage(); err != nil {
		return err
	}
	if err := h.Sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return err
	}
	return pause(ctx, well)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
