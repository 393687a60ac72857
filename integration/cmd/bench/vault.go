package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// unsealed is what Vault logs when it is; the moment is taken when the line
// comes out of its pipe, so that nobody has to ask Vault.
const unsealed = "core: vault is unsealed"

// awaitUnsealed returns when this run of Vault was unsealed.
func awaitUnsealed(ctx context.Context, v *testenv.Vault) (time.Time, error) {
	var at time.Time
	err := testenv.Await(ctx, 2*time.Minute, "vault to be unsealed", func() string {
		if at = v.Process.SeenAt(unsealed); at.IsZero() {
			return "its log ends: " + v.Process.Tail(2)
		}
		return ""
	})
	return at, err
}

// sealedVault starts a Vault that is initialized, sealed and listening. It
// keeps its data in a directory of its own when none is named.
func sealedVault(ctx context.Context, l *testenv.Lab, data string) (*testenv.Vault, *testenv.Secret, error) {
	vault, err := l.Vault(testenv.VaultConfig{Data: data})
	if err != nil {
		return nil, nil, err
	}
	if err := vault.StartAndWait(ctx); err != nil {
		return nil, nil, err
	}
	if err := vault.Init(ctx, 1, 1); err != nil {
		return nil, nil, err
	}
	secret, err := l.Secret()
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

// sidecarBeside starts the sidecar of a Vault, with more options.
func sidecarBeside(l *testenv.Lab, v *testenv.Vault, s *testenv.Secret, args ...string) (*testenv.Sidecar, error) {
	return l.Sidecar(testenv.SidecarConfig{Vault: v.Addr, Keys: s.Dir, State: filepath.Join(l.Dir, "state"), Args: args})
}
