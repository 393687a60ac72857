package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// The tests of the sidecar in Kubernetes depend on this: that the cluster, the
// operator and the Vault of testenv work together as real ones do.

const esoAPI = "external-secrets.io/v1"

// storeAndSecretManifests is a store of the given Vault, entered with a token, and one
// ExternalSecret in it.
func storeAndSecretManifests(v *testenv.Vault) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: app}\n---\n" +
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: security}\n---" +
		v.ClusterStore("vault") + testenv.ExternalSecret("app", "app", "vault", "app", "1h")
}

func TestCluster_SyncsSecretsAcrossRestarts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	env := newEnv(t)

	began := time.Now()
	step := func(what string) {
		t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
		began = time.Now()
	}
	vault := startUnsealedVault(t, env)
	require.NoError(t, vault.WriteSecret(ctx, "app", "one"))
	step("vault serves")
	cluster, err := env.StartCluster(ctx)
	require.NoError(t, err)
	step("the API server is ready")
	require.NoError(t, cluster.InstallCRDs(ctx))
	step("the CRDs are established")
	eso, err := env.StartESO(ctx, cluster)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(eso.Log())
		}
	})
	step("external-secrets is healthy")

	require.NoError(t, cluster.Apply(ctx, storeAndSecretManifests(vault)))
	require.NoError(t, cluster.AwaitReady(ctx, waitTimeout, esoAPI, "ClusterSecretStore", "", "vault"))
	step("store is ready")
	require.NoError(t, cluster.AwaitReady(ctx, waitTimeout, esoAPI, "ExternalSecret", "app", "app"))
	awaitSynced(t, cluster, "one")
	step("the secret is synced")

	require.NoError(t, cluster.StopAPIServer())
	_, err = cluster.Get(ctx, "v1", "Secret", "app", "app")
	require.Error(t, err, "the API server is stopped")
	require.NoError(t, cluster.StartAPIServer(ctx))
	step("the API server is ready again")
	awaitSynced(t, cluster, "one")

	require.NoError(t, vault.WriteSecret(ctx, "app", "two"))
	annotateForceSync(t, cluster, "1")
	awaitSynced(t, cluster, "two")
	step("external-secrets outlived the outage")

	require.NoError(t, eso.Kill())
	require.NoError(t, vault.WriteSecret(ctx, "app", "three"))
	require.NoError(t, eso.Start(ctx))
	annotateForceSync(t, cluster, "2")
	awaitSynced(t, cluster, "three")
	step("external-secrets works after it was killed")
	require.NoError(t, eso.Stop())
	step("external-secrets stopped by itself")
}

func TestCluster_IssuesBoundTokens(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	env := newEnv(t)
	cluster, err := env.StartCluster(ctx)
	require.NoError(t, err)
	require.NoError(t, cluster.ApplyVaultPod(ctx))
	require.NoError(t, cluster.Apply(ctx, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: vault, namespace: security}
rules: [{apiGroups: [""], resources: [pods], resourceNames: [vault-0], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: vault, namespace: security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: vault}
subjects: [{kind: ServiceAccount, name: vault}]
`))
	kubeconfig, err := cluster.Kubeconfig(ctx, "security", "vault", "vault-0")
	require.NoError(t, err)
	kubectl := func(t *testing.T, args ...string) (string, int) {
		p, err := env.StartProgram("kubectl", []string{"KUBECONFIG=" + kubeconfig}, env.Binary("servers/kubectl"), args...)
		require.NoError(t, err)
		code, err := p.ExitCode(waitTimeout)
		require.NoError(t, err)
		return p.Output(), code
	}

	for _, row := range []struct {
		that string
		args []string
		code int
		says string
	}{
		{"the version is what was built", []string{"version"}, 0, "Server Version: v1.37.2"},
		{"the token names its account", []string{"auth", "whoami"}, 0, "system:serviceaccount:security:vault"},
		{"the token names its pod", []string{"auth", "whoami"}, 0, "vault-0"},
		{"its role lets it read its pod", []string{"-n", "security", "get", "pod", "vault-0"}, 0, "vault-0"},
		{"nothing else is let pass", []string{"-n", "security", "delete", "pod", "vault-0"}, 1, "cannot delete resource"},
	} {
		t.Run(row.that, func(t *testing.T) {
			text, code := kubectl(t, row.args...)
			assert.Equal(t, row.code, code, text)
			assert.Contains(t, text, row.says)
		})
	}
}

// Whoever takes a cluster finds nothing of who had it before.
func TestClusters_AreAsNewForTheNext(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var lent testenv.Clusters
	t.Cleanup(func() { assert.NoError(t, lent.Close()) })
	take := func() (*testenv.Env, *testenv.Cluster) {
		env, err := testenv.New()
		require.NoError(t, err)
		cluster, err := lent.Take(ctx, env, false)
		require.NoError(t, err)
		return env, cluster
	}
	env, first := take()
	require.NoError(t, first.ApplyVaultPodAndRBAC(ctx))
	require.NoError(t, env.Close())

	env, second := take()
	assert.Equal(t, first.URL, second.URL, "the same one")
	for kind, name := range map[string]string{"v1 Namespace": "security", "rbac.authorization.k8s.io/v1 ClusterRole": "vault-unseal-sidecar-stores.security"} {
		apiVersion, kind, _ := strings.Cut(kind, " ")
		_, err := second.Get(ctx, apiVersion, kind, "", name)
		assert.True(t, apierrors.IsNotFound(err), "%s %s: %v", kind, name, err)
	}
	second.Retire()
	require.NoError(t, env.Close())
	env, third := take()
	assert.NotEqual(t, first.URL, third.URL, "one that was retired is lent no more")
	require.NoError(t, env.Close())
}

// startUnsealedVault starts a Vault, unseals it by hand and mounts a KV engine.
func startUnsealedVault(t *testing.T, env *testenv.Env) *testenv.Vault {
	t.Helper()
	v, err := env.NewVault(testenv.VaultConfig{})
	require.NoError(t, err)
	require.NoError(t, v.StartAndWait(t.Context()))
	require.NoError(t, v.Init(t.Context(), 1, 1))
	require.NoError(t, v.UnsealAll(t.Context()))
	require.NoError(t, v.AwaitActive(t.Context()))
	require.NoError(t, v.MountKV(t.Context()))
	return v
}

// annotateForceSync annotates an object as the documentation of the operator says.
func annotateForceSync(t *testing.T, c *testenv.Cluster, when string) {
	t.Helper()
	require.NoError(t, c.Annotate(t.Context(), externalSecretsResource, "app", "app", "force-sync", when))
}

// awaitSynced waits until the Secret that external-secrets keeps has the value.
func awaitSynced(t *testing.T, c *testenv.Cluster, value string) {
	t.Helper()
	require.NoError(t, testenv.Await(t.Context(), waitTimeout, "the secret to be "+value, func() string {
		if got, err := c.SecretValue(t.Context(), "app", "app"); err != nil || got != value {
			return fmt.Sprintf("%q, %v", got, err)
		}
		return ""
	}))
}
