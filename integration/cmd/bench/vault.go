package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// unsealedMessage is what Vault logs when it is; the moment is taken when the line
// comes out of its pipe, so that Vault need not be polled.
const unsealedMessage = "core: vault is unsealed"

// awaitUnsealed returns when this run of Vault was unsealed.
func awaitUnsealed(ctx context.Context, v *testenv.Vault) (time.Time, error) {
	var at time.Time
	err := testenv.Await(ctx, 2*time.Minute, "vault to be unsealed", func() string {
		if at = v.Process.PrintedAt(unsealedMessage); at.IsZero() {
			return "its log ends: " + v.Process.Tail(2)
		}
		return ""
	})
	return at, err
}

// sealedVault starts a Vault that is initialized, sealed and listening. It
// keeps its data in a directory of its own when none is named.
func sealedVault(ctx context.Context, env *testenv.Env, data string) (*testenv.Vault, *testenv.MountedSecret, error) {
	vault, err := env.NewVault(testenv.VaultConfig{Data: data})
	if err != nil {
		return nil, nil, err
	}
	if err := vault.StartAndWait(ctx); err != nil {
		return nil, nil, err
	}
	if err := vault.Init(ctx, 1, 1); err != nil {
		return nil, nil, err
	}
	secret, err := env.NewSecret()
	if err != nil {
		return nil, nil, err
	}
	if err := secret.WriteShares(vault.Keys...); err != nil {
		return nil, nil, err
	}
	if err := vault.Kill(); err != nil {
		return nil, nil, err
	}
	return vault, secret, vault.StartAndWait(ctx)
}

// startSidecarFor starts the sidecar of a Vault, with more options.
func startSidecarFor(env *testenv.Env, v *testenv.Vault, s *testenv.MountedSecret, args ...string) (*testenv.Sidecar, error) {
	return env.StartSidecar(testenv.SidecarConfig{Vault: v.Addr, Keys: s.Dir, State: filepath.Join(env.Dir, "state"), Args: args})
}
