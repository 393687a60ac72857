package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	watched  = 60 * time.Second // how long the cost of doing nothing is measured
	justNow  = 5 * time.Second  // after the start
	starting = 20 * time.Second // how long memory is watched for its peak
)

// footprint prints what the sidecar costs beside a Vault that is well, and
// while it waits for one that refuses; without Kubernetes and in Vault's pod.
func footprint(ctx context.Context, _ rounds) (err error) {
	l, err := testenv.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	vault, secret, err := sealedVault(ctx, l, "")
	if err != nil {
		return err
	}
	began := time.Now()
	sidecar, err := sidecarBeside(l, vault, secret)
	if err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return err
	}
	fmt.Print("What the sidecar costs beside a Vault, without Kubernetes.\n\n")
	if err := tellCost(ctx, sidecar, vault, began); err != nil {
		return err
	}
	binary, err := os.Stat(l.Binary("vault-unseal-sidecar"))
	if err != nil {
		return err
	}
	tell("binary", "%8.2f MB", float64(binary.Size())/1e6)
	return inPod(ctx)
}

func inPod(ctx context.Context) (err error) {
	h, err := openHome(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	began := time.Now()
	if err := h.startSidecar(ctx); err != nil {
		return err
	}
	fmt.Print("\nWhat it costs in Vault's pod, with Kubernetes.\n\n")
	return tellCost(ctx, h.sidecar, h.vault, began)
}

// tellCost prints the cost of a sidecar that was started when it began, and
// ends its Vault.
func tellCost(ctx context.Context, sidecar *testenv.Sidecar, vault *testenv.Vault, began time.Time) error {
	pid := sidecar.Pid()
	for _, row := range []struct {
		name, line string
		after      time.Duration // of the start
	}{
		{"memory after 5 s (RSS)", "VmRSS", justNow},
		{"memory, peak of 20 s", "VmHWM", starting - 500*time.Millisecond}, // before memory is given back
		{"memory later (RSS)", "VmRSS", starting + justNow},
	} {
		if err := pause(ctx, time.Until(began.Add(row.after))); err != nil {
			return err
		}
		size, err := memory(pid, row.line)
		if err != nil {
			return err
		}
		tell(row.name, "%8.2f MiB", size)
	}
	well, err := cpuShare(ctx, pid)
	if err != nil {
		return err
	}
	tell("processor, all well", "%8.3f %% of a core, over %v", well, watched)
	if err := vault.Kill(); err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 10*time.Second, "unreachable"); err != nil {
		return err
	}
	waiting, err := cpuShare(ctx, pid)
	if err != nil {
		return err
	}
	tell("processor, vault refusing", "%8.3f %% of a core, over %v", waiting, watched)
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	tell("load average now", "%s", strings.TrimSpace(string(load)))
	return nil
}
