package integration

import "testing"

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
	w.furnishSecrets()
	goThrough(t, w, []fault{
		{what: "nothing", seen: both, code: 0, level: "ok", about: "external-secrets", says: "are Ready: 1 of 1"},
		{what: "the store is not Ready", make: storeIs("False", "InvalidProviderConfig", "unable to log in"), mend: storeIs("True", "Valid", "store validated"),
			seen: both, code: 4, level: "failure", about: "external-secrets", says: "ClusterSecretStore/home is not Ready: InvalidProviderConfig: unable to log in"},
		{what: "a secret is not synced", make: secretIs("False", "SecretSyncedError", "no such path"), mend: secretIs("True", "SecretSynced", "secret synced"),
			seen: both, code: 3, level: "warning", about: "external-secrets", says: "1 of 1 ExternalSecrets are not synced, one is security/one (no such path)"},
		{what: "the controller is not there", make: remove(podsResource, "external-secrets", "external-secrets-1"), mend: applied(esoPod),
			seen: both, code: 3, level: "warning", about: "external-secrets", says: "the controller is not there"},
		{what: "a store that was named is not there", args: []string{"--eso-stores", "home,app/own"},
			seen: both, code: 4, level: "failure", about: "external-secrets", says: "SecretStore/app/own does not exist"},
		{what: "the stores may not be seen", make: remove(wideBindingsResource, "", "vault-unseal-sidecar-stores"), mend: grant("stores"),
			seen: []string{inside}, code: 3, level: "unknown", about: "external-secrets", says: "the stores may not be seen from here", more: 1},
	})
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
