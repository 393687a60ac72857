package testenv

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// vaultPod is Vault's pod and its namespaces, as objects that no kubelet looks
// after.
const vaultPod = `
apiVersion: v1
kind: Namespace
metadata: {name: security}
---
apiVersion: v1
kind: Namespace
metadata: {name: external-secrets}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: vault, namespace: security}
---
apiVersion: v1
kind: Pod
metadata: {name: vault-0, namespace: security, labels: {app.kubernetes.io/name: vault}}
spec:
  serviceAccountName: vault
  readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}, {conditionType: example.com/other}]
  containers: [{name: vault, image: "vault:1"}]
`

// ApplyVaultPod makes the pod vault-0 in the namespace security, anew if it
// was deleted.
func (c *Cluster) ApplyVaultPod(ctx context.Context) error { return c.Apply(ctx, vaultPod) }

// ApplyVaultPodAndRBAC makes Vault's pod, and grants its ServiceAccount what manifests/
// does.
func (c *Cluster) ApplyVaultPodAndRBAC(ctx context.Context) error {
	rights, err := c.env.Kustomize(c.env.Source("manifests"))
	if err != nil {
		return err
	}
	return c.Apply(ctx, vaultPod, rights)
}

// SidecarArgs are the options with which a sidecar acts as the one in the pod
// vault-0, with a token of that pod's and no other right. It reaches the API server there.
func (c *Cluster) SidecarArgs(ctx context.Context, there Endpoint) ([]string, error) {
	token, err := c.Token(ctx, "security", "vault", "vault-0")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.env.Dir, "vault-0.kubeconfig")
	if err := there.WriteKubeconfig(path, token); err != nil {
		return nil, err
	}
	return SidecarArgs(path, "vault-0"), nil
}

// SidecarArgs are the options for a pod in the namespace security, and a
// kubeconfig.
func SidecarArgs(kubeconfig, pod string) []string {
	return []string{"--kubeconfig", kubeconfig, "--pod-name", pod, "--pod-namespace", "security"}
}

// Kustomize renders a directory.
func (env *Env) Kustomize(dir string) (string, error) {
	out, err := exec.Command(env.kubectl(), "kustomize", dir).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("kustomize %s: %w: %s", dir, err, exit.Stderr)
	}
	return string(out), err
}

// StoreProvider is the provider of a store that reads from v's mount secret,
// with the token in the Secret vault-token of a namespace; "" is the store's
// own.
func (v *Vault) StoreProvider(namespace string) string {
	in := ""
	if namespace != "" {
		in = ", namespace: " + namespace
	}
	return fmt.Sprintf("{vault: {server: %q, path: secret, version: v2, auth: {tokenSecretRef: {name: vault-token, key: token%s}}}}", v.Addr, in)
}

// ClusterStore is the manifest of a ClusterSecretStore that reads from v, and
// of the Secret with its token, in the namespace security.
func (v *Vault) ClusterStore(name string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: vault-token, namespace: security}
stringData: {token: %q}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: %s}
spec: {provider: %s}
`, v.Token, name, v.StoreProvider("security"))
}

// ExternalSecret is the manifest of one that takes the field "value" of a
// secret at path from a ClusterSecretStore.
func ExternalSecret(namespace, name, store, path, refresh string) string {
	return strings.NewReplacer("NS", namespace, "NAME", name, "STORE", store, "PATH", path, "REFRESH", refresh).Replace(`---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: NAME, namespace: NS}
spec:
  refreshInterval: REFRESH
  secretStoreRef: {kind: ClusterSecretStore, name: STORE}
  data: [{secretKey: value, remoteRef: {key: PATH, property: value}}]
`)
}
