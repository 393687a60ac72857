package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/integration/lab"
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
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: external-secrets}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-6d5f7c8b9c-x2x4z, namespace: external-secrets, labels: {app.kubernetes.io/name: external-secrets}}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: security}
spec: {selector: {app.kubernetes.io/name: vault}, ports: [{port: 8200}]}
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
	controllers := func(want int) expectation {
		return expectation{fmt.Sprintf("%d controllers", want), func(w *world) string {
			list, err := w.cluster.Client.Resource(podsResource).Namespace("external-secrets").List(w.ctx, metav1.ListOptions{})
			require.NoError(w, err)
			if len(list.Items) != want {
				return fmt.Sprint(len(list.Items))
			}
			return ""
		}}
	}
	const spared = "external-secrets works with another store"
	play(t, home{cluster: true},
		phase{"a store is Ready beside one that is not", func(w *world) {
			require.NoError(w, w.cluster.InstallCRDs(w.ctx))
			require.NoError(w, w.cluster.Apply(w.ctx, objects, lab.ExternalSecret("app", "a", "home", "a", "1h")))
			w.says(storesResource, "", "home", `{"type":"Ready","status":"True","reason":"Valid","message":"m"}`)
			w.says(namespaceStoresResource, "app", "broken", `{"type":"Ready","status":"False","reason":"InvalidProviderConfig","message":"m"}`)
			startSidecar(w)
		}, []expectation{serving(), podSays(secretsType, "False", "Recovering")}},
		phase{"ESO syncs from it", func(w *world) { synced(time.Now().Add(2 * time.Second))(w) },
			[]expectation{within(twoMinutes, logs(spared)), logsTimes(spared, 1), controllers(1)}},
		phase{"there is an outage, since when ESO has synced nothing", func(w *world) {
			killVault(w)
			await(w, phaseIs("unreachable"))
			synced(time.Now().Add(-time.Hour))(w)
			startVault(w)
		}, []expectation{serving(), controllers(1)}},
		phase{"that it is Ready is from before: ESO is stuck", nil,
			[]expectation{within(twoMinutes, controllers(0)), logsTimes(spared, 1), logs("evicted the external-secrets controller")}},
	)
}
