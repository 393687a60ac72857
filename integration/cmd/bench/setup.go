package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/outage"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// apiServerArgs reads more flags for the kube-apiserver, with spaces between
// them. ESO lists Secrets with every sync, which takes the API server 50 ms
// with its defaults and 4 with --watch-cache-sizes=secrets#0.
func apiServerArgs() []string { return strings.Fields(os.Getenv("APISERVER_ARGS")) }

// esoArgs reads more flags for ESO's controller, such as --concurrent=5.
func esoArgs() []string { return strings.Fields(os.Getenv("ESO_ARGS")) }

// withCluster runs f with an unsealed Vault and a Kubernetes with its pod.
func withCluster(ctx context.Context, f func(c *outage.Cluster) error) error {
	return testenv.Run(testenv.Programs{}, func(env *testenv.Env) error {
		c, err := startCluster(ctx, env)
		if err != nil {
			return err
		}
		return f(c)
	})
}

func startCluster(ctx context.Context, env *testenv.Env) (*outage.Cluster, error) {
	v, err := outage.StartVault(ctx, env)
	if err != nil {
		return nil, err
	}
	if err := v.UnsealAll(ctx); err != nil {
		return nil, err
	}
	if err := v.AwaitActive(ctx); err != nil {
		return nil, err
	}
	return outage.StartCluster(ctx, v, apiServerArgs()...)
}

// secrets are so many, which all have one value in Vault.
func secrets(size int) []outage.Secret {
	var all []outage.Secret
	for i := range size {
		all = append(all, outage.Secret{App: "apps", Name: fmt.Sprintf("app-%05d", i), Path: "app"})
	}
	return all
}

// startESO starts External Secrets, and has it sync so many ExternalSecrets. The arguments
// are flags after those of the environment.
func startESO(ctx context.Context, c *outage.Cluster, size int, refresh time.Duration, args ...string) error {
	if err := c.Vault.MountKV(ctx); err != nil {
		return err
	}
	if err := c.Vault.WriteSecret(ctx, "app", "one"); err != nil {
		return err
	}
	return c.StartESO(ctx, refresh, secrets(size), append(esoArgs(), args...)...)
}
