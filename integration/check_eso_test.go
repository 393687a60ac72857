package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func TestCheck_ReportsExternalSecretsFaults(t *testing.T) {
	t.Parallel()
	sc := newCheckScenario(t)
	both := []string{inContainer, withKubeconfig}
	t.Run("it is not installed", func(t *testing.T) {
		await(sc, checkFinds(inContainer, misconfiguration{exitCode: 3, level: "warning", subject: "external-secrets", text: "not installed"}))
		await(sc, checkFinds(withKubeconfig, misconfiguration{exitCode: 3, level: "warning", subject: "external-secrets", text: "not installed"}))
		await(sc, checkFinds(inContainer, misconfiguration{env: []string{"ESO_RECOVERY=off"}, exitCode: 0, level: "ok", subject: "external-secrets", text: "not managed"}))
	})
	t.Run("it is an old one", func(t *testing.T) {
		applyManifest(oldStores)(sc)
		await(sc, checkFinds(inContainer, misconfiguration{exitCode: 3, level: "warning", subject: "external-secrets", text: "only as v1beta1"}))
		sc.deleteObject(crdsResource, "", "clustersecretstores.external-secrets.io")
		await(sc, checkFinds(inContainer, misconfiguration{exitCode: 3, level: "warning", subject: "external-secrets", text: "not installed"}))
	})
	sc.installOneSecret()
	reads := func(path string) func(sc *scenario) {
		return applyManifest(testenv.ExternalSecret("security", "one", "home", path, "1h"))
	}
	theirs := sc.vault.ClusterStore("home")
	stale := *sc.vault
	stale.Token = "of no use"
	runMisconfigurations(sc, []misconfiguration{
		{name: "nothing", seenFrom: both, exitCode: 0, level: "ok", subject: "external-secrets", text: "are Ready: 1 of 1"},
		{name: "the store is not Ready", apply: applyManifest(stale.ClusterStore("home")), revert: applyManifest(theirs),
			seenFrom: both, exitCode: 4, level: "failure", subject: "external-secrets", text: "ClusterSecretStore/home is not Ready: InvalidProviderConfig: "},
		{name: "a secret is not synced", apply: reads("nowhere"), revert: reads("app"),
			seenFrom: both, exitCode: 3, level: "warning", subject: "external-secrets", text: "1 of 1 ExternalSecrets are not synced, one is security/one ("},
		{name: "the controller is not there", apply: deleteObject(podsResource, "external-secrets", controllerPod), revert: applyManifest(esoPod),
			seenFrom: both, exitCode: 3, level: "warning", subject: "external-secrets", text: "the controller is not there"},
		{name: "a store that was named is not there", args: []string{"--eso-stores", "home,app/own"},
			seenFrom: both, exitCode: 4, level: "failure", subject: "external-secrets", text: "SecretStore/app/own does not exist"},
		{name: "the stores may not be seen", apply: deleteObject(clusterRoleBindingsResource, "", "vault-unseal-sidecar-stores.security"), revert: applyComponents("stores"),
			seenFrom: []string{inContainer}, exitCode: 3, level: "unknown", subject: "external-secrets", text: "the stores may not be read from here", otherFindings: 1},
	})
}

// installOneSecret installs the real operator, a store and one ExternalSecret
// that it syncs.
func (sc *scenario) installOneSecret() {
	require.NoError(sc, sc.vault.MountKV(sc.ctx))
	require.NoError(sc, sc.vault.WriteSecret(sc.ctx, "app", "one"))
	var err error
	sc.eso, err = sc.env.StartESO(sc.ctx, sc.cluster, "--store-requeue-interval=1s")
	require.NoError(sc, err)
	require.NoError(sc, sc.cluster.Apply(sc.ctx, sc.vault.ClusterStore("home"), testenv.ExternalSecret("security", "one", "home", "app", "1h")))
	require.NoError(sc, sc.cluster.AwaitReady(sc.ctx, waitTimeout, "external-secrets.io/v1", "ExternalSecret", "security", "one"))
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
