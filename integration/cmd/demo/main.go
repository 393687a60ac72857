// Command demo shows one power cut twice: with a real Vault, a real
// Kubernetes API server and the real External Secrets Operator, first with the
// sidecar and then with the two CronJobs that it replaces. It exits with 0 only
// when every app got the value that was written just before each power cut.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := testenv.Run(func(env *testenv.Env) error { return demo(ctx, env) })
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %w", err)
		}
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, env *testenv.Env) error {
	heading("1. A home: Vault, a Kubernetes API server and External Secrets, all of them real")
	c, err := newCluster(ctx, env)
	if err != nil {
		return fmt.Errorf("starting the setup: %w", err)
	}
	printLine("Vault             on storage that can hang; one key share; unsealed by the sidecar")
	printLine("Kubernetes        etcd and kube-apiserver; the sidecar acts as the pod vault-0, with the")
	printLine("                  rights that manifests/ grants; there is no kubelet, all are processes")
	printLine("External Secrets  %d ExternalSecrets for the apps %s", len(secrets), listOfApps)
	withSidecar, err := recoverWithSidecar(ctx, c)
	if err != nil {
		return fmt.Errorf("with the sidecar: %w", err)
	}
	withCronJobs, err := recoverWithCronJobs(ctx, c)
	if err != nil {
		return fmt.Errorf("with the CronJobs: %w", err)
	}
	heading("6. Both, on one scale")
	printComparison(withSidecar, withCronJobs)
	return nil
}
