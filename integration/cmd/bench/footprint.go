package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	cpuWindow  = 60 * time.Second // how long the cost of doing nothing is measured
	startDelay = 5 * time.Second  // after the start
	peakWindow = 20 * time.Second // how long memory is watched for its peak
)

// footprint prints what the sidecar costs beside a Vault that is well, and
// while it waits for one that refuses; without Kubernetes and in Vault's pod.
func footprint(ctx context.Context, _ rounds) error {
	err := testenv.Run(testenv.Programs{}, func(env *testenv.Env) error {
		vault, err := outage.StartVault(ctx, env)
		if err != nil {
			return err
		}
		if err := printCost(ctx, vault, "What the sidecar costs beside a Vault, without Kubernetes."); err != nil {
			return err
		}
		binary, err := os.Stat(env.Binary("vault-unseal-sidecar"))
		if err != nil {
			return err
		}
		printFigure("binary", "%8.2f MB", float64(binary.Size())/1e6)
		return nil
	})
	if err != nil {
		return err
	}
	return withCluster(ctx, func(c *outage.Cluster) error {
		return printCost(ctx, c.Vault, "\nWhat it costs in Vault's pod, with Kubernetes.")
	})
}

// printCost starts the sidecar, prints what it costs, and ends its Vault.
func printCost(ctx context.Context, vault *outage.Vault, title string) error {
	began := time.Now()
	if err := vault.StartSidecarAndWait(ctx); err != nil {
		return err
	}
	fmt.Print(title, "\n\n")
	pid := vault.Sidecar.Pid()
	for _, row := range []struct {
		name, line string
		after      time.Duration // of the start
	}{
		{"memory after 5 s (RSS)", "VmRSS", startDelay},
		{"memory, peak of 20 s", "VmHWM", peakWindow - 500*time.Millisecond}, // before memory is given back
		{"memory later (RSS)", "VmRSS", peakWindow + startDelay},
	} {
		if err := sleep(ctx, time.Until(began.Add(row.after))); err != nil {
			return err
		}
		size, err := memory(pid, row.line)
		if err != nil {
			return err
		}
		printFigure(row.name, "%8.2f MiB", size)
	}
	well, err := cpuShare(ctx, pid)
	if err != nil {
		return err
	}
	printFigure("processor, all well", "%8.3f %% of a core, over %v", well, cpuWindow)
	if err := vault.Kill(); err != nil {
		return err
	}
	if err := vault.Sidecar.AwaitPhase(ctx, 10*time.Second, "unreachable"); err != nil {
		return err
	}
	waiting, err := cpuShare(ctx, pid)
	if err != nil {
		return err
	}
	printFigure("processor, vault refusing", "%8.3f %% of a core, over %v", waiting, cpuWindow)
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	printFigure("load average now", "%s", strings.TrimSpace(string(load)))
	return nil
}
