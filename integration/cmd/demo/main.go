// Command demo shows one power cut twice: with a real Vault, a real
// Kubernetes API server and the real External Secrets Operator, first with the
// sidecar and then with the two CronJobs that it replaces. It exits with 0 only
// when every app got the value that was written just before each power cut.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %w", err)
		}
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	env, err := testenv.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()

	heading("1. A home: Vault, a Kubernetes API server and External Secrets, all of them real")
	st, err := newSetup(ctx, env)
	if err != nil {
		return fmt.Errorf("starting the setup: %w", err)
	}
	withSidecar, err := recoverWithSidecar(ctx, st)
	if err != nil {
		return fmt.Errorf("with the sidecar: %w", err)
	}
	withCronJobs, err := recoverWithCronJobs(ctx, st)
	if err != nil {
		return fmt.Errorf("with the CronJobs: %w", err)
	}
	heading("6. Both, on one scale")
	printComparison(withSidecar, withCronJobs)
	return nil
}
