package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/lab"
)

// watched is how long the cost of doing nothing is measured.
const watched = 60 * time.Second

// footprint prints what the sidecar costs beside a Vault that is well, and
// while it waits for one that refuses.
func footprint(ctx context.Context, _ rounds) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	vault, secret, err := sealedVault(ctx, l, "")
	if err != nil {
		return err
	}
	sidecar, err := sidecarBeside(l, vault, secret)
	if err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return err
	}
	well, err := cpuShare(ctx, sidecar.Pid())
	if err != nil {
		return err
	}
	rss, err := memory(sidecar.Pid(), "VmRSS")
	if err != nil {
		return err
	}
	if err := vault.Kill(); err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 10*time.Second, "unreachable"); err != nil {
		return err
	}
	waiting, err := cpuShare(ctx, sidecar.Pid())
	if err != nil {
		return err
	}
	peak, err := memory(sidecar.Pid(), "VmHWM")
	if err != nil {
		return err
	}
	binary, err := os.Stat(l.Binary("vault-unseal-sidecar"))
	if err != nil {
		return err
	}
	fmt.Print("What the sidecar costs beside a Vault, without Kubernetes.\n\n")
	tell("memory, all well (RSS)", "%8.2f MiB (peak %.2f MiB)", rss, peak)
	tell("processor, all well", "%8.3f %% of a core, over %v", well, watched)
	tell("processor, vault refusing", "%8.3f %% of a core, over %v", waiting, watched)
	tell("binary", "%8.2f MB", float64(binary.Size())/1e6)
	return nil
}
