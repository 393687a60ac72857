package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// A tenant who may write a SecretStore can write one of this Vault that never gets
// ready. The controller is evicted for it only when nothing shows that it works.
func TestEviction_TenantsBrokenStoreDoesNotEvict(t *testing.T) {
	t.Parallel()
	const vault = `{provider: {vault: {server: "http://vault.security.svc:8200", path: secret, version: v2, auth: {tokenSecretRef: {name: t, key: t}}}}}`
	throughIngress := strings.Replace(vault, "http://vault.security.svc:8200", "https://vault.home.example", 1)
	objects := `
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
spec: ` + throughIngress + `
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: vault, namespace: security}
spec: {rules: [{host: vault.home.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: vault, port: {number: 8200}}}}]}}]}
`
	const twoMinutes = 170 * time.Second
	synced := func(at time.Time) func(sc *scenario) {
		return func(sc *scenario) {
			_, err := sc.cluster.Client.Resource(externalSecretsResource).Namespace("app").Patch(sc.ctx, "a", types.MergePatchType, fmt.Appendf(nil,
				`{"status":{"refreshTime":%q,"conditions":[{"type":"Ready","status":"True","reason":"SecretSynced","message":"m"}]}}`,
				at.UTC().Format(time.RFC3339)), metav1.PatchOptions{}, "status")
			require.NoError(sc, err)
		}
	}
	const spared = "external-secrets works with another store"
	run(t, setup{cluster: true, crds: true},
		phase{"a store is Ready beside one that is not", func(sc *scenario) {
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			require.NoError(sc, sc.cluster.Apply(sc.ctx, objects, vaultServiceManifest, esoPod, testenv.ExternalSecret("app", "a", "home", "a", "1h")))
			sc.setCondition(clusterStoresResource, "", "home", `{"type":"Ready","status":"True","reason":"Valid","message":"m"}`)
			sc.setCondition(secretStoresResource, "app", "broken", storeFailed)
			applyComponents("routes")(sc)
			startSidecar(sc)
		}, []condition{serving(), podConditionIs(secretsType, "False", "Recovering")}},
		phase{"ESO syncs from it", func(sc *scenario) { synced(time.Now().Add(2 * time.Second))(sc) },
			[]condition{withTimeout(twoMinutes, logContains(spared)), logContainsTimes(spared, 1), esoPodCount(1)}},
		phase{"there is an outage, since when ESO has synced nothing", func(sc *scenario) {
			killVault(sc)
			await(sc, phaseIs("unreachable"))
			synced(time.Now().Add(-time.Hour))(sc)
			startVault(sc)
		}, []condition{serving(), esoPodCount(1)}},
		phase{"that it is Ready is from before: ESO is stuck", nil,
			[]condition{withTimeout(twoMinutes, esoPodCount(0)), logContainsTimes(spared, 1), logContains("evicted the external-secrets controller")}},
	)
}
