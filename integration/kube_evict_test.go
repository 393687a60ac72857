package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// Whoever may write a SecretStore can write one of this Vault that never gets
// ready. The controller is evicted for it when nothing shows that it works.
func TestATenantsBrokenStoreEvictsNobody(t *testing.T) {
	t.Parallel()
	const vault = `{provider: {vault: {server: "http://vault.security.svc:8200", path: secret, version: v2, auth: {tokenSecretRef: {name: t, key: t}}}}}`
	const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: app}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home}
spec: ` + vault + `
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: broken, namespace: app}
spec: ` + vault
	const twoMinutes = 170 * time.Second
	synced := func(at time.Time) func(w *world) {
		return func(w *world) {
			_, err := w.cluster.Client.Resource(secretsResource).Namespace("app").Patch(w.ctx, "a", types.MergePatchType, fmt.Appendf(nil,
				`{"status":{"refreshTime":%q,"conditions":[{"type":"Ready","status":"True","reason":"SecretSynced","message":"m"}]}}`,
				at.UTC().Format(time.RFC3339)), metav1.PatchOptions{}, "status")
			require.NoError(w, err)
		}
	}
	const spared = "external-secrets works with another store"
	play(t, home{cluster: true},
		phase{"a store is Ready beside one that is not", func(w *world) {
			require.NoError(w, w.cluster.InstallCRDs(w.ctx))
			require.NoError(w, w.cluster.Apply(w.ctx, objects, vaultService, esoPod, testenv.ExternalSecret("app", "a", "home", "a", "1h")))
			w.says(storesResource, "", "home", `{"type":"Ready","status":"True","reason":"Valid","message":"m"}`)
			w.says(namespaceStoresResource, "app", "broken", `{"type":"Ready","status":"False","reason":"InvalidProviderConfig","message":"m"}`)
			startSidecar(w)
		}, []expectation{serving(), podSays(secretsType, "False", "Recovering")}},
		phase{"ESO syncs from it", func(w *world) { synced(time.Now().Add(2 * time.Second))(w) },
			[]expectation{within(twoMinutes, logs(spared)), logsTimes(spared, 1), podsOfESO(1)}},
		phase{"there is an outage, since when ESO has synced nothing", func(w *world) {
			killVault(w)
			await(w, phaseIs("unreachable"))
			synced(time.Now().Add(-time.Hour))(w)
			startVault(w)
		}, []expectation{serving(), podsOfESO(1)}},
		phase{"that it is Ready is from before: ESO is stuck", nil,
			[]expectation{within(twoMinutes, podsOfESO(0)), logsTimes(spared, 1), logs("evicted the external-secrets controller")}},
	)
}
