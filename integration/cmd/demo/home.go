package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// store is the name of the ClusterSecretStore that reads from Vault.
const store = "vault"

// home is a house with one node: its servers, and what runs beside them.
type home struct {
	lab     *testenv.Lab
	cluster *testenv.Cluster
	eso     *testenv.ESO
	gate    *testenv.Gate
	vault   *testenv.Vault
	sidecar *testenv.Sidecar
	options testenv.SidecarConfig // of the sidecar
}

// furnish starts everything, and waits until every app has its secrets.
func furnish(ctx context.Context, l *testenv.Lab) (*home, error) {
	h := &home{lab: l}
	var err error
	if h.cluster, err = l.Cluster(ctx); err != nil {
		return nil, err
	}
	if err := h.cluster.ApplyHome(ctx); err != nil {
		return nil, err
	}
	if err := h.openVault(ctx); err != nil {
		return nil, err
	}
	if h.eso, err = l.ESO(ctx, h.cluster); err != nil {
		return nil, err
	}
	values, err := h.writeValues(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.cluster.Apply(ctx, h.vault.ClusterStore(store)); err != nil {
		return nil, err
	}
	if err := h.cluster.AwaitReady(ctx, 30*time.Second, esoAPI, "ClusterSecretStore", "", store); err != nil {
		return nil, err
	}
	if err := h.cluster.Apply(ctx, manifestsOfApps()); err != nil {
		return nil, err
	}
	if err := h.awaitValues(ctx, values); err != nil {
		return nil, err
	}
	say("Vault             on storage that can hang; one key share; unsealed by the sidecar")
	say("Kubernetes        etcd and kube-apiserver; the sidecar acts as the pod vault-0, with the")
	say("                  rights that manifests/ grants; there is no kubelet, all are processes")
	say("External Secrets  %d ExternalSecrets for the apps %s", len(secrets()), listOfApps())
	return h, nil
}

// openVault initializes a Vault, mounts its key as the kubelet would, and has
// the sidecar unseal it.
func (h *home) openVault(ctx context.Context) (err error) {
	if h.gate, err = h.lab.Gate(ctx); err != nil {
		return err
	}
	if h.vault, err = h.lab.Vault(testenv.VaultConfig{Data: h.gate.Dir}); err != nil {
		return err
	}
	if err := h.vault.StartAndWait(ctx); err != nil {
		return err
	}
	if err := h.vault.Init(ctx, 1, 1); err != nil {
		return err
	}
	keys, err := h.lab.Secret()
	if err != nil {
		return err
	}
	if err := keys.WriteShares(h.vault.Keys...); err != nil {
		return err
	}
	args, err := h.cluster.SidecarArgs(ctx)
	if err != nil {
		return err
	}
	h.options = testenv.SidecarConfig{Vault: h.vault.Addr, Keys: keys.Dir, State: filepath.Join(h.lab.Dir, "state"), Args: args}
	if h.sidecar, err = h.lab.Sidecar(h.options); err != nil {
		return err
	}
	if err := h.sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return err
	}
	if err := h.vault.MountKV(ctx); err != nil {
		return fmt.Errorf("mounting the KV engine: %w", err)
	}
	return nil
}
