package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// vaultsVolumeTurnsReadOnly mounts Vault's storage over itself, read-only.
func vaultsVolumeTurnsReadOnly(w *world) {
	dir := filepath.Join(w.lab.Dir, "vault-data")
	require.NoError(w, syscall.Mount(dir, dir, "", syscall.MS_BIND, ""), "it takes root")
	w.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	require.NoError(w, syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
}

// storeByLogin enters Vault as most stores do: by a login, which Vault has to
// write down.
const storeByLogin = `
apiVersion: v1
kind: Secret
metadata: {name: vault-password, namespace: security}
stringData: {password: eso-password}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home}
spec: {provider: {vault: {server: %q, path: secret, version: v2, auth: {userPass: {path: userpass, username: eso, secretRef: {name: vault-password, namespace: security, key: password}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-6d5f7c8b9c-x2x4z, namespace: external-secrets, labels: {app.kubernetes.io/name: external-secrets}}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
`

// Vault answers from its memory what the sidecar asks, and fails what writes.
func TestVaultsVolumeTurnsReadOnly(t *testing.T) {
	t.Parallel()
	controllerIsThere := expectation{"ESO's controller to be there", func(w *world) string {
		_, err := w.cluster.Get(w.ctx, "v1", "Pod", "external-secrets", "external-secrets-6d5f7c8b9c-x2x4z")
		require.NoError(w, err, "it was evicted")
		return ""
	}}
	wasAnswered := expectation{"an Event of the store to have Vault's answer", func(w *world) string {
		list, err := w.cluster.Client.Resource(core("events")).Namespace("default").List(w.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=home"})
		require.NoError(w, err)
		var seen []string
		for _, o := range list.Items {
			text := fmt.Sprint(o.Object["message"])
			if strings.Contains(text, "Error making API request") && strings.Contains(text, "Code: 500. Errors:") {
				return ""
			}
			seen = append(seen, text)
		}
		return fmt.Sprintf("%q", seen)
	}}
	logsTheReason := expectation{"Vault's log to say why", func(w *world) string {
		if strings.Contains(w.vault.Log(), "read-only file system") {
			return ""
		}
		return w.vaultTail()
	}}
	play(t, home{cluster: true, args: []string{"--eso-stores", "home"}},
		phase{"external secrets logs in to Vault", func(w *world) {
			unsealByHand(w)
			require.NoError(w, w.vault.MountKV(w.ctx))
			_, err := w.vault.Call(w.ctx, "POST", "sys/auth/userpass", map[string]string{"type": "userpass"}, nil)
			require.NoError(w, err)
			_, err = w.vault.Call(w.ctx, "POST", "auth/userpass/users/eso", map[string]string{"password": "eso-password"}, nil)
			require.NoError(w, err)
			w.eso, err = w.lab.ESO(w.ctx, w.cluster, "--store-requeue-interval=1s")
			require.NoError(w, err)
			require.NoError(w, w.cluster.Apply(w.ctx, fmt.Sprintf(storeByLogin, w.vault.Addr)))
			require.NoError(w, w.cluster.AwaitReady(w.ctx, patience, "external-secrets.io/v1", "ClusterSecretStore", "", "home"))
			startSidecar(w)
		}, []expectation{serving(), podSays(secretsType, "True", "Ready")}},
		phase{"its volume turns read-only", vaultsVolumeTurnsReadOnly, []expectation{
			podSays(secretsType, "False", "Recovering"), wasAnswered, logsTheReason, phaseIs("active")}},
		phase{"and stays so: it is told, and nothing is evicted", nil, []expectation{
			within(240*time.Second, podSays(secretsType, "False", "StoreNotReady")),
			tells("ExternalSecretsNotRecovering", "its Events hold what External Secrets was answered"),
			logsTimes("evicted the external-secrets controller", 0), controllerIsThere}},
	)
}
