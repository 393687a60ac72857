// Command demo shows a power cut and the recovery in two acts, with real servers. The first
// takes Vault alone; the second a Kubernetes API server, External Secrets and apps, too.
// With --compare it shows the second once more with the two CronJobs that the sidecar
// replaces. It exits with 0 only when Vault and every app came back.
//
// Act one plays as soon as its servers are there: those of act two are built meanwhile.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func main() {
	compare := flag.Bool("compare", false, "show the power cut with the two CronJobs, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *compare); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %w", err)
		}
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, compare bool) error {
	programs, told, err := testenv.Installed(ctx)
	if err != nil {
		return err
	}
	for _, line := range told {
		fmt.Println("demo:", line)
	}
	servers := []string{"external-secrets"}
	if programs.Kubernetes == "" {
		servers = []string{"apiserver", "external-secrets"}
		if programs.Kubernetes, err = filepath.Abs("bin/servers/apiserver"); err != nil {
			return err
		}
	}
	b, err := startBuild(ctx, servers...)
	if err != nil {
		return err
	}
	defer b.stop()
	return testenv.Run(programs, func(env *testenv.Env) error {
		v, err := actOne(ctx, env)
		if err != nil {
			return fmt.Errorf("act one: %w", err)
		}
		if err := b.wait(ctx); err != nil {
			return err
		}
		if err := actTwo(ctx, v, compare); err != nil {
			return fmt.Errorf("act two: %w", err)
		}
		return nil
	})
}

// actTwo shows the whole home.
func actTwo(ctx context.Context, v *outage.Vault, compare bool) error {
	heading("Act two. The home around it: a Kubernetes API server, External Secrets and its apps")
	c, err := newCluster(ctx, v)
	if err != nil {
		return fmt.Errorf("starting the setup: %w", err)
	}
	printLine("Kubernetes        etcd and kube-apiserver; the sidecar acts as the pod vault-0, with the")
	printLine("                  rights that manifests/ grants; there is no kubelet, all are processes")
	printLine("External Secrets  %d ExternalSecrets for the apps %s", len(secrets), listOfApps)
	withSidecar, err := recoverWithSidecar(ctx, c, compare)
	if err != nil {
		return fmt.Errorf("with the sidecar: %w", err)
	}
	if !compare {
		return nil
	}
	withCronJobs, err := recoverWithCronJobs(ctx, c)
	if err != nil {
		return fmt.Errorf("with the CronJobs: %w", err)
	}
	heading("Both, on one scale")
	printComparison(withSidecar, withCronJobs)
	return nil
}
