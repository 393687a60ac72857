// Command demo shows one recovery: a real Vault, a node that reboots while its
// storage hangs, and the sidecar that brings Vault back. It exits with 0 only
// when the secret written before the reboot was read back after it.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/lab"
)

// hang is how long the storage takes to come back: minutes at home, seconds
// here.
const hang = 6 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	fmt.Println("1. A home: a real Vault on storage that can hang, sealed with one key share.")
	gate, err := l.Gate(ctx)
	if err != nil {
		return err
	}
	vault, err := l.Vault(lab.VaultConfig{Data: gate.Dir})
	if err != nil {
		return err
	}
	if err := prepare(ctx, l, vault); err != nil {
		return err
	}
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	precious := hex.EncodeToString(random)
	if err := vault.WriteSecret(ctx, "app", precious); err != nil {
		return err
	}
	fmt.Printf("   secret/app holds %s\n\n", precious)

	fmt.Println("2. The power goes, and comes back. Vault starts, its storage hangs.")
	if err := vault.Kill(); err != nil {
		return err
	}
	if _, err := gate.Set("hang"); err != nil {
		return err
	}
	began := time.Now()
	if err := vault.Start(); err != nil {
		return err
	}
	sidecar, err := l.Sidecar(lab.SidecarConfig{Vault: vault.Addr, Keys: filepath.Join(l.Dir, "keys"), State: filepath.Join(l.Dir, "state")})
	if err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 10*time.Second, "unreachable"); err != nil {
		return err
	}
	if err := waitFor(ctx, hang); err != nil {
		return err
	}

	fmt.Println("\n3. The storage is back. Nobody is awake.")
	thawed := time.Now()
	if _, err := gate.Set("open"); err != nil {
		return err
	}
	if err := sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return err
	}
	status, err := sidecar.Status(ctx)
	if err != nil {
		return err
	}
	got, err := vault.ReadSecret(ctx, "app")
	if err != nil {
		return err
	}
	drawTimeline(os.Stdout, status, began, thawed)
	fmt.Printf("   secret/app holds %s\n\n", got)
	if got != precious {
		return fmt.Errorf("the secret was %s before the reboot and is %s after it", precious, got)
	}
	fmt.Println("What the sidecar logged:")
	for line := range strings.Lines(sidecar.Output()) {
		fmt.Print("   ", line)
	}
	return nil
}

// prepare initialises Vault, mounts its key as the kubelet would, unseals it
// by hand for the last time, and mounts a KV engine.
func prepare(ctx context.Context, l *lab.Lab, vault *lab.Vault) error {
	if err := vault.StartAndWait(ctx); err != nil {
		return err
	}
	if err := vault.Init(ctx, 1, 1); err != nil {
		return err
	}
	secret, err := l.Secret()
	if err != nil {
		return err
	}
	if err := secret.WriteShares(vault.Keys...); err != nil {
		return err
	}
	if err := vault.UnsealAll(ctx); err != nil {
		return err
	}
	return vault.MountKV(ctx)
}

// waitFor shows the time that passes.
func waitFor(ctx context.Context, d time.Duration) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	fmt.Print("   waiting ")
	for range int(d / time.Second) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			fmt.Print("... ")
		}
	}
	fmt.Println()
	return nil
}
