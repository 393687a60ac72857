package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

var (
	externalSecrets = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}
	clusterStores   = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "clustersecretstores"}
)

// apiServerArgs reads more flags for the kube-apiserver, with spaces between
// them. ESO lists Secrets with every sync, which takes the API server 50 ms
// with its defaults and 4 with --watch-cache-sizes=secrets#0.
func apiServerArgs() []string { return strings.Fields(os.Getenv("APISERVER_ARGS")) }

// setup is an unsealed Vault, a Kubernetes with Vault's pod in it, and what is
// put in it later.
type setup struct {
	env     *testenv.Env
	vault   *testenv.Vault
	secret  *testenv.MountedSecret
	cluster *testenv.Cluster

	eso          *testenv.ESO
	secretCount  int // how many ExternalSecrets there are
	readyCounter *secretCounter
	failingSince time.Time // when ESO failed to sync the first, in this outage
	sidecar      *testenv.Sidecar
}

// newSetup starts one. It is to be closed.
func newSetup(ctx context.Context) (*setup, error) {
	env, err := testenv.New()
	if err != nil {
		return nil, err
	}
	st := &setup{env: env}
	if err := st.start(ctx); err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

func (st *setup) close() error {
	if st.readyCounter != nil {
		st.readyCounter.stop()
	}
	return st.env.Close()
}

func (st *setup) start(ctx context.Context) (err error) {
	if st.vault, st.secret, err = sealedVault(ctx, st.env, ""); err != nil {
		return err
	}
	if err := st.vault.UnsealAll(ctx); err != nil {
		return err
	}
	err = testenv.Await(ctx, 30*time.Second, "vault to be active", func() string {
		if code, err := st.vault.Health(ctx); err != nil || code != http.StatusOK {
			return fmt.Sprintf("health %d, %v", code, err)
		}
		return ""
	})
	if err != nil {
		return err
	}
	if st.cluster, err = st.env.StartCluster(ctx, apiServerArgs()...); err != nil {
		return err
	}
	return st.cluster.ApplyVaultPodAndRBAC(ctx)
}

// runESO starts the operator, as it is by default, and has it sync so many
// ExternalSecrets from Vault.
func (st *setup) runESO(ctx context.Context, size int, refresh time.Duration) (err error) {
	if err := st.vault.MountKV(ctx); err != nil {
		return err
	}
	if err := st.vault.WriteSecret(ctx, "app", "one"); err != nil {
		return err
	}
	if st.eso, err = st.env.StartESO(ctx, st.cluster); err != nil {
		return err
	}
	if err := st.cluster.Apply(ctx, st.vault.ClusterStore(storeName)); err != nil {
		return err
	}
	if st.readyCounter, err = newSecretCounter(ctx, st.cluster, readiness); err != nil {
		return err
	}
	if err := st.createSecrets(ctx, size, refresh, nil); err != nil {
		return err
	}
	return st.awaitSynced(ctx)
}

// awaitSynced waits until all ExternalSecrets are Ready.
func (st *setup) awaitSynced(ctx context.Context) error {
	_, err := st.readyCounter.await(ctx, 10*time.Minute, "True", st.secretCount)
	return err
}

// startSidecar starts the sidecar of Vault's pod, with that pod's rights.
func (st *setup) startSidecar(ctx context.Context) error {
	args, err := st.cluster.SidecarArgs(ctx)
	if err != nil {
		return err
	}
	return st.startSidecarWith(ctx, args)
}

func (st *setup) startSidecarWith(ctx context.Context, args []string) (err error) {
	if st.sidecar, err = startSidecarFor(st.env, st.vault, st.secret, args...); err != nil {
		return err
	}
	return st.sidecar.AwaitPhase(ctx, 30*time.Second, "active")
}

// awaitReadyCondition waits until the sidecar's condition for External Secrets is
// True.
func (st *setup) awaitReadyCondition(ctx context.Context) error {
	const condition = "vault-unseal-sidecar/external-secrets"
	return testenv.Await(ctx, 5*time.Minute, condition+" to be True", func() string {
		pod, err := st.cluster.Get(ctx, "v1", "Pod", "security", "vault-0")
		if err != nil {
			return err.Error()
		}
		c := testenv.Condition(pod, condition)
		if c["status"] == "True" {
			return ""
		}
		return c["reason"] + ": " + c["message"]
	})
}
