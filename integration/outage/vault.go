// Package outage stages an outage for the demo and the benchmark: a Vault whose storage
// hangs, and beside it a Kubernetes with External Secrets and apps, which is started
// apart. It measures nothing, prints nothing, and knows no testing package.
package outage

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// unsealedMessage is what Vault logs when it is; the moment is taken when the line
// comes out of its pipe, so that Vault need not be polled.
const unsealedMessage = "core: vault is unsealed"

// Vault is a Vault on storage that can hang, with one key share, which is mounted.
type Vault struct {
	*testenv.Vault
	Env     *testenv.Env
	Storage *testenv.Stall

	Sidecar     *testenv.Sidecar // the last that was started
	SidecarArgs []string         // more options for the next: none without Kubernetes
	SidecarPort string           // of its HTTP server; "": each has another

	keys *testenv.MountedSecret
}

// StartVault starts one that is initialized, sealed and listening.
func StartVault(ctx context.Context, env *testenv.Env) (*Vault, error) {
	storage, err := env.MountStall(ctx)
	if err != nil {
		return nil, err
	}
	vault, err := env.NewVault(testenv.VaultConfig{Data: storage.Dir})
	if err != nil {
		return nil, err
	}
	if err := vault.StartAndWait(ctx); err != nil {
		return nil, err
	}
	if err := vault.Init(ctx, 1, 1); err != nil {
		return nil, err
	}
	keys, err := env.NewSecret()
	if err != nil {
		return nil, err
	}
	if err := keys.WriteShares(vault.Keys...); err != nil {
		return nil, err
	}
	// One that was just initialized has read less than one that starts over its storage.
	if err := vault.Kill(); err != nil {
		return nil, err
	}
	return &Vault{Vault: vault, Env: env, Storage: storage, keys: keys}, vault.StartAndWait(ctx)
}

// StartSidecar starts the sidecar, and does not wait for it.
func (v *Vault) StartSidecar() (err error) {
	v.Sidecar, err = v.Env.StartSidecar(testenv.SidecarConfig{
		Vault: v.Addr,
		Keys:  v.keys.Dir,
		State: filepath.Join(v.Env.Dir, "state"),
		Port:  v.SidecarPort,
		Args:  v.SidecarArgs,
	})
	return err
}

// StartSidecarAndWait starts the sidecar, and waits until Vault is active.
func (v *Vault) StartSidecarAndWait(ctx context.Context) error {
	if err := v.StartSidecar(); err != nil {
		return err
	}
	return v.Sidecar.AwaitPhase(ctx, 30*time.Second, "active")
}

// KillSidecar kills the sidecar, if one was started.
func (v *Vault) KillSidecar() error {
	if v.Sidecar == nil {
		return nil
	}
	return v.Sidecar.Kill()
}

// BeginOutage kills Vault, if it still runs, and starts it again on storage that hangs,
// so that it cannot listen.
func (v *Vault) BeginOutage() error {
	if err := v.Kill(); err != nil {
		return err
	}
	if err := v.HangStorage(); err != nil {
		return err
	}
	return v.Start()
}

// HangStorage lets the storage hang below a Vault that runs on.
func (v *Vault) HangStorage() error { return v.Storage.SetMode("hang") }

// EndOutage brings the storage back.
func (v *Vault) EndOutage() error { return v.Storage.SetMode("open") }

// AwaitHanging waits until Vault wants something of storage that hangs.
func (v *Vault) AwaitHanging(ctx context.Context) error {
	return testenv.Await(ctx, 30*time.Second, "storage to be wanted", func() string {
		if s, err := v.Storage.Status(); err != nil || s.Waiting == 0 {
			return fmt.Sprintf("%+v %v", s, err)
		}
		return ""
	})
}

// UnsealedAt returns when this run of Vault was unsealed; zero when it was not.
func (v *Vault) UnsealedAt() time.Time { return v.PrintedAt(unsealedMessage) }

// AwaitUnsealed waits until this run of Vault is unsealed, and returns when it was.
func (v *Vault) AwaitUnsealed(ctx context.Context) (at time.Time, err error) {
	err = testenv.Await(ctx, 2*time.Minute, "vault to be unsealed", func() string {
		if at = v.UnsealedAt(); at.IsZero() {
			return "its log ends: " + v.Tail(2)
		}
		return ""
	})
	return at, err
}
