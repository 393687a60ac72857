// Command pictures takes the README's pictures: of the sidecar's page after a power cut of
// a real Vault, and of the dashboard with the metrics that a real Prometheus scraped
// meanwhile. Beside them it writes what they show, by which tests find out that the page or
// the dashboard has changed since.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/browser"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := testenv.Run(testenv.Programs{}, func(env *testenv.Env) error { return pictures(ctx, env) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func pictures(ctx context.Context, env *testenv.Env) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := browser.Start(ctx)
	if err != nil {
		return err
	}
	h, err := start(ctx, env)
	if err != nil {
		return fmt.Errorf("starting the setup: %w", err)
	}
	for _, outage := range outages {
		if err := h.powerCut(ctx, outage); err != nil {
			return fmt.Errorf("recovering from a power cut: %w", err)
		}
	}
	end := time.Now()
	a := album{b, env.Source(".github/pictures"), record{Files: map[string]string{}}}
	if err := a.status(ctx, env, h.Sidecar); err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	if err := a.dashboard(ctx, env, h.prometheus, end); err != nil {
		return fmt.Errorf("the dashboard: %w", err)
	}
	return a.close()
}
