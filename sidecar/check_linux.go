package main

import (
	"context"
	"fmt"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/vault"
)

// checkInContainer looks at what the container sees.
func checkInContainer(ctx context.Context, c config) ([]check.Finding, error) {
	forgetVaultEnvironment() // from outside, a plugin of the kubeconfig's may want it
	client, err := vault.New(c.vaultConfig())
	if err != nil {
		return nil, fmt.Errorf("--vault-cacert, VAULT_CACERT: %w", err)
	}
	h := check.Container{
		Vault: client, VaultUID: c.vaultUID, Keys: keyfile.New(c.keys), KeysPath: c.keys,
		SavedState: statefile.New(c.stateDir, stateName), SavedProofs: statefile.New(c.stateDir, proofName),
		ProveRole: c.proveRole, Expected: c.expectKey,
		Login: func(ctx context.Context) (check.Session, error) { return login(ctx, c, client) },
	}
	if c.proveKey {
		h.Prover = newProver(c, client, h.Keys)
	}
	return h.Check(ctx), nil
}
