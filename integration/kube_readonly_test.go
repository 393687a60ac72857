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

// remountVaultStorageReadOnly mounts Vault's storage over itself, read-only.
func remountVaultStorageReadOnly(sc *scenario) {
	dir := filepath.Join(sc.env.Dir, "vault-data")
	require.NoError(sc, syscall.Mount(dir, dir, "", syscall.MS_BIND, ""), "it takes root")
	sc.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	require.NoError(sc, syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
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
func TestStorage_ReadOnlyVolumeIsReported(t *testing.T) {
	t.Parallel()
	controllerIsThere := condition{"ESO's controller to be there", func(sc *scenario) string {
		_, err := sc.cluster.Get(sc.ctx, "v1", "Pod", "external-secrets", "external-secrets-6d5f7c8b9c-x2x4z")
		require.NoError(sc, err, "it was evicted")
		return ""
	}}
	wasAnswered := condition{"an Event of the store to have Vault's answer", func(sc *scenario) string {
		list, err := sc.cluster.Client.Resource(coreResource("events")).Namespace("default").List(sc.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=home"})
		require.NoError(sc, err)
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
	logsTheReason := condition{"Vault's log to say why", func(sc *scenario) string {
		if strings.Contains(sc.vault.Log(), "read-only file system") {
			return ""
		}
		return sc.vaultLogTail()
	}}
	run(t, setup{cluster: true, crds: true, args: []string{"--eso-stores", "home"}},
		phase{"external secrets logs in to Vault", func(sc *scenario) {
			unsealByHand(sc)
			require.NoError(sc, sc.vault.MountKV(sc.ctx))
			_, err := sc.vault.Call(sc.ctx, "POST", "sys/auth/userpass", map[string]string{"type": "userpass"}, nil)
			require.NoError(sc, err)
			_, err = sc.vault.Call(sc.ctx, "POST", "auth/userpass/users/eso", map[string]string{"password": "eso-password"}, nil)
			require.NoError(sc, err)
			sc.eso, err = sc.env.StartESO(sc.ctx, sc.cluster, "--store-requeue-interval=1s")
			require.NoError(sc, err)
			require.NoError(sc, sc.cluster.Apply(sc.ctx, fmt.Sprintf(storeByLogin, sc.vault.Addr)))
			require.NoError(sc, sc.cluster.AwaitReady(sc.ctx, waitTimeout, "external-secrets.io/v1", "ClusterSecretStore", "", "home"))
			startSidecar(sc)
		}, []condition{serving(), podConditionIs(secretsType, "True", "Ready")}},
		phase{"its volume turns read-only", remountVaultStorageReadOnly, []condition{
			podConditionIs(secretsType, "False", "Recovering"), wasAnswered, logsTheReason, phaseIs("active")}},
		phase{"and stays so: it is reported, and nothing is evicted", nil, []condition{
			withTimeout(240*time.Second, podConditionIs(secretsType, "False", "StoreNotReady")),
			eventContains("ExternalSecretsNotRecovering", "its Events hold the answer that External Secrets received"),
			logContainsTimes("evicted the external-secrets controller", 0), controllerIsThere}},
	)
}
