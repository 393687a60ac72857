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

// setup is the servers of a cluster with one node, and the sidecar.
type setup struct {
	env     *testenv.Env
	cluster *testenv.Cluster
	eso     *testenv.ESO
	stall   *testenv.Stall
	vault   *testenv.Vault
	sidecar *testenv.Sidecar
	options testenv.SidecarConfig // of the sidecar
}

// newSetup starts everything, and waits until every app has its secrets.
func newSetup(ctx context.Context, env *testenv.Env) (*setup, error) {
	st := &setup{env: env}
	var err error
	if st.cluster, err = env.StartCluster(ctx); err != nil {
		return nil, err
	}
	if err := st.cluster.ApplyVaultPodAndRBAC(ctx); err != nil {
		return nil, err
	}
	if err := st.openVault(ctx); err != nil {
		return nil, err
	}
	if st.eso, err = env.StartESO(ctx, st.cluster); err != nil {
		return nil, err
	}
	values, err := st.writeValues(ctx)
	if err != nil {
		return nil, err
	}
	if err := st.cluster.Apply(ctx, st.vault.ClusterStore(store)); err != nil {
		return nil, err
	}
	if err := st.cluster.AwaitReady(ctx, 30*time.Second, esoAPI, "ClusterSecretStore", "", store); err != nil {
		return nil, err
	}
	if err := st.cluster.Apply(ctx, manifestsOfApps()); err != nil {
		return nil, err
	}
	if err := st.awaitValues(ctx, values); err != nil {
		return nil, err
	}
	printLine("Vault             on storage that can hang; one key share; unsealed by the sidecar")
	printLine("Kubernetes        etcd and kube-apiserver; the sidecar acts as the pod vault-0, with the")
	printLine("                  rights that manifests/ grants; there is no kubelet, all are processes")
	printLine("External Secrets  %d ExternalSecrets for the apps %s", len(secrets()), listOfApps())
	return st, nil
}

// openVault initializes a Vault, mounts its key as the kubelet would, and has
// the sidecar unseal it.
func (st *setup) openVault(ctx context.Context) (err error) {
	if st.stall, err = st.env.MountStall(ctx); err != nil {
		return err
	}
	if st.vault, err = st.env.NewVault(testenv.VaultConfig{Data: st.stall.Dir}); err != nil {
		return err
	}
	if err := st.vault.StartAndWait(ctx); err != nil {
		return err
	}
	if err := st.vault.Init(ctx, 1, 1); err != nil {
		return err
	}
	keys, err := st.env.NewSecret()
	if err != nil {
		return err
	}
	if err := keys.WriteShares(st.vault.Keys...); err != nil {
		return err
	}
	args, err := st.cluster.SidecarArgs(ctx)
	if err != nil {
		return err
	}
	st.options = testenv.SidecarConfig{Vault: st.vault.Addr, Keys: keys.Dir, State: filepath.Join(st.env.Dir, "state"), Args: args}
	if st.sidecar, err = st.env.StartSidecar(st.options); err != nil {
		return err
	}
	if err := st.sidecar.AwaitPhase(ctx, 30*time.Second, "active"); err != nil {
		return err
	}
	if err := st.vault.MountKV(ctx); err != nil {
		return fmt.Errorf("mounting the KV engine: %w", err)
	}
	return nil
}
