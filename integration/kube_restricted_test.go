package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// The sidecar itself tries that the policies bind it, and says so.
func TestRestricted_SidecarVerifiesItsPolicies(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"all is applied", startSidecar, []condition{
			podConditionIs(restrictedType, "True", "PoliciesEnforced"), logContains("admission policies restrict what the manifests grant"),
			policyStateIs("gate", "enforced"), policyStateIs("eviction", "enforced"), policyStateIs("stores", "not-granted")}},
		phase{"a binding goes, and the sidecar starts again", func(sc *scenario) {
			stopSidecar(sc)
			sc.deleteObject(policyBindings, "", "vault-unseal-sidecar-events.security")
			startSidecar(sc)
			// It is tried twice before it is reported.
			cond := podConditionIs(restrictedType, "False", "PolicyMissing")
			require.NoError(sc, testenv.Await(sc.ctx, 90*time.Second, cond.what, func() string { return cond.check(sc) }))
		}, []condition{gateConditionIs("True", "Unsealed"), policyStateIs("gate", "missing"),
			logContains("no admission policy restricts what a manifest grants")}},
	)
}

// A tenant grants us everything in its namespaces: there the policy spares us.
func TestRestricted_TenantsGrantsAreNoMissingPolicy(t *testing.T) {
	t.Parallel()
	tenants := tenantStore("zoo")
	for n := range 4 {
		namespace := fmt.Sprint("tenant-", n)
		tenants += tenantStore(namespace) + strings.ReplaceAll(everythingIn, "NAMESPACE", namespace)
	}
	run(t, setup{cluster: true, crds: true, args: []string{"--eso-recovery", "off"}},
		phase{"a tenant grants everything in four namespaces", func(sc *scenario) {
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			applyManifest(tenants)(sc)
			startSidecar(sc)
		}, []condition{withTimeout(90*time.Second, podConditionIs(restrictedType, "True", "PoliciesEnforced")), policyStateIs("stores", "enforced")}},
	)
}

// tenantStore is a namespace with a store in it.
func tenantStore(namespace string) string {
	return strings.ReplaceAll(`
---
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: own, namespace: NAMESPACE}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, key: t}}}}}
`, "NAMESPACE", namespace)
}

const everythingIn = `
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: vault-unseal-sidecar-stores.security, namespace: NAMESPACE}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: vault-unseal-sidecar-stores.security, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: vault-unseal-sidecar-stores.security}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`

// policyStateIs waits for a state of the policy for what a manifest grants.
func policyStateIs(manifest, state string) condition {
	want := fmt.Sprintf("vault_unseal_sidecar_admission_policy{manifest=%q,state=%q} 1\n", manifest, state)
	return condition{want, func(sc *scenario) string {
		_, text, err := sc.sidecar.Get(sc.ctx, "/metrics")
		if err != nil {
			return err.Error()
		}
		if strings.Contains(text, want) {
			return ""
		}
		return "it is not"
	}}
}

// The image may be newer than the manifests: what their policy does not know
// yet must not keep the gate from being written.
func TestRestricted_OlderPolicyAllowsTheGate(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"the policy is an older one", func(sc *scenario) {
			applyModified("gate", restrictedType, "vault-unseal-sidecar/none")(sc)
			startSidecar(sc)
		}, []condition{gateConditionIs("True", "Unsealed"), logContains("only the conditions vault-unseal-sidecar/* may be written")}},
		phase{"vault is sealed", sealVault, []condition{gateConditionIs("False", "HeldByOperator")}},
	)
}
