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
