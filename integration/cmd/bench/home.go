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

// home is an unsealed Vault, a Kubernetes with Vault's pod in it, and what is
// put in it later.
type home struct {
	lab     *testenv.Lab
	vault   *testenv.Vault
	secret  *testenv.Secret
	cluster *testenv.Cluster

	eso     *testenv.ESO
	size    int // how many ExternalSecrets there are
	tally   *tally
	failing time.Time // when ESO failed to sync the first, in this outage
	sidecar *testenv.Sidecar
}

// openHome starts one. It is to be closed.
func openHome(ctx context.Context) (*home, error) {
	l, err := testenv.New()
	if err != nil {
		return nil, err
	}
	h := &home{lab: l}
	if err := h.furnish(ctx); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *home) close() error {
	if h.tally != nil {
		h.tally.stop()
	}
	return h.lab.Close()
}

func (h *home) furnish(ctx context.Context) (err error) {
	if h.vault, h.secret, err = sealedVault(ctx, h.lab, ""); err != nil {
		return err
	}
	if err := h.vault.UnsealAll(ctx); err != nil {
		return err
	}
	err = testenv.Await(ctx, 30*time.Second, "vault to be active", func() string {
		if code, err := h.vault.Health(ctx); err != nil || code != http.StatusOK {
			return fmt.Sprintf("health %d, %v", code, err)
		}
		return ""
	})
	if err != nil {
		return err
	}
	if h.cluster, err = h.lab.Cluster(ctx, apiServerArgs()...); err != nil {
		return err
	}
	return h.cluster.ApplyHome(ctx)
}

// runESO starts the operator, as it is by default, and has it sync so many
// ExternalSecrets from Vault.
func (h *home) runESO(ctx context.Context, size int, refresh time.Duration) (err error) {
	if err := h.vault.MountKV(ctx); err != nil {
		return err
	}
	if err := h.vault.WriteSecret(ctx, "app", "one"); err != nil {
		return err
	}
	if h.eso, err = h.lab.ESO(ctx, h.cluster); err != nil {
		return err
	}
	if err := h.cluster.Apply(ctx, h.vault.ClusterStore(storeName)); err != nil {
		return err
	}
	if h.tally, err = newTally(ctx, h.cluster, readiness); err != nil {
		return err
	}
	if err := h.createSecrets(ctx, size, refresh, nil); err != nil {
		return err
	}
	return h.awaitSynced(ctx)
}

// awaitSynced waits until all ExternalSecrets are Ready.
func (h *home) awaitSynced(ctx context.Context) error {
	_, err := h.tally.await(ctx, 10*time.Minute, "True", h.size)
	return err
}

// startSidecar starts the sidecar of Vault's pod, with that pod's rights.
func (h *home) startSidecar(ctx context.Context) error {
	args, err := h.cluster.SidecarArgs(ctx)
	if err != nil {
		return err
	}
	return h.startSidecarWith(ctx, args)
}

func (h *home) startSidecarWith(ctx context.Context, args []string) (err error) {
	if h.sidecar, err = sidecarBeside(h.lab, h.vault, h.secret, args...); err != nil {
		return err
	}
	return h.sidecar.AwaitPhase(ctx, 30*time.Second, "active")
}

// awaitSaysReady waits until the sidecar says of External Secrets that nothing
// is left to do.
func (h *home) awaitSaysReady(ctx context.Context) error {
	const condition = "vault-unseal-sidecar/external-secrets"
	return testenv.Await(ctx, 5*time.Minute, condition+" to be True", func() string {
		pod, err := h.cluster.Get(ctx, "v1", "Pod", "security", "vault-0")
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
