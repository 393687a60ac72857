package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func TestCheckOfExternalSecrets(t *testing.T) {
	t.Parallel()
	w := aHome(t)
	both := []string{inside, outside}
	t.Run("it is not installed", func(t *testing.T) {
		await(w, finds(inside, fault{code: 3, level: "warning", about: "external-secrets", says: "not installed"}))
		await(w, finds(outside, fault{code: 3, level: "warning", about: "external-secrets", says: "not installed"}))
		await(w, finds(inside, fault{env: []string{"ESO_RECOVERY=off"}, code: 0, level: "ok", about: "external-secrets", says: "left alone"}))
	})
	t.Run("it is an old one", func(t *testing.T) {
		applied(oldStores)(w)
		await(w, finds(inside, fault{code: 3, level: "warning", about: "external-secrets", says: "only as v1beta1"}))
		w.remove(kindsResource, "", "clustersecretstores.external-secrets.io")
		await(w, finds(inside, fault{code: 3, level: "warning", about: "external-secrets", says: "not installed"}))
	})
	w.installOneSecret()
	reads := func(path string) func(w *world) {
		return applied(testenv.ExternalSecret("security", "one", "home", path, "1h"))
	}
	theirs := w.vault.ClusterStore("home")
	stale := *w.vault
	stale.Token = "of no use"
	goThrough(t, w, []fault{
		{what: "nothing", seen: both, code: 0, level: "ok", about: "external-secrets", says: "are Ready: 1 of 1"},
		{what: "the store is not Ready", make: applied(stale.ClusterStore("home")), mend: applied(theirs),
			seen: both, code: 4, level: "failure", about: "external-secrets", says: "ClusterSecretStore/home is not Ready: InvalidProviderConfig: "},
		{what: "a secret is not synced", make: reads("nowhere"), mend: reads("app"),
			seen: both, code: 3, level: "warning", about: "external-secrets", says: "1 of 1 ExternalSecrets are not synced, one is security/one ("},
		{what: "the controller is not there", make: remove(podsResource, "external-secrets", controllerPod), mend: applied(esoPod),
			seen: both, code: 3, level: "warning", about: "external-secrets", says: "the controller is not there"},
		{what: "a store that was named is not there", args: []string{"--eso-stores", "home,app/own"},
			seen: both, code: 4, level: "failure", about: "external-secrets", says: "SecretStore/app/own does not exist"},
		{what: "the stores may not be seen", make: remove(wideBindingsResource, "", "vault-unseal-sidecar-stores"), mend: grant("stores"),
			seen: []string{inside}, code: 3, level: "unknown", about: "external-secrets", says: "the stores may not be seen from here", more: 1},
	})
}

// installOneSecret installs the real operator, a store and one ExternalSecret
// that it syncs.
func (w *world) installOneSecret() {
	require.NoError(w, w.vault.MountKV(w.ctx))
	require.NoError(w, w.vault.WriteSecret(w.ctx, "app", "one"))
	var err error
	w.eso, err = w.lab.ESO(w.ctx, w.cluster, "--store-requeue-interval=1s")
	require.NoError(w, err)
	require.NoError(w, w.cluster.Apply(w.ctx, w.vault.ClusterStore("home"), testenv.ExternalSecret("security", "one", "home", "app", "1h")))
	require.NoError(w, w.cluster.AwaitReady(w.ctx, patience, "external-secrets.io/v1", "ExternalSecret", "security", "one"))
}

// oldStores are as External Secrets before 0.16 brought them.
const oldStores = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clustersecretstores.external-secrets.io}
spec:
  group: external-secrets.io
  scope: Cluster
  names: {kind: ClusterSecretStore, listKind: ClusterSecretStoreList, plural: clustersecretstores, singular: clustersecretstore}
  versions:
    - name: v1beta1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`
