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
func TestRestricted_TheSidecarTriesItsPolicies(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"all is applied", startSidecar, []expectation{
			podSays(restrictedType, "True", "PoliciesEnforced"), logs("admission policies restrict what the manifests grant"),
			policyIs("gate", "enforced"), policyIs("eviction", "enforced"), policyIs("stores", "not-granted")}},
		phase{"a binding goes, and the sidecar starts again", func(w *world) {
			stopSidecar(w)
			w.remove(policyBindings, "", "vault-unseal-sidecar-events")
			startSidecar(w)
			// It is tried twice before it is told.
			e := podSays(restrictedType, "False", "PolicyMissing")
			require.NoError(w, testenv.Await(w.ctx, 90*time.Second, e.what, func() string { return e.see(w) }))
		}, []expectation{gateIs("True", "Unsealed"), policyIs("gate", "missing"),
			logs("no admission policy restricts what a manifest grants")}},
	)
}

// policyIs waits for a state of the policy for what a manifest grants.
func policyIs(manifest, state string) expectation {
	want := fmt.Sprintf("vault_unseal_sidecar_admission_policy{manifest=%q,state=%q} 1\n", manifest, state)
	return expectation{want, func(w *world) string {
		_, text, err := w.sidecar.Get(w.ctx, "/metrics")
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
func TestRestricted_AnOlderPolicyLeavesTheGate(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true, args: []string{"--eso-recovery", "off"}},
		phase{"the policy is an older one", func(w *world) {
			rewritten("gate", restrictedType, "vault-unseal-sidecar/none")(w)
			startSidecar(w)
		}, []expectation{gateIs("True", "Unsealed"), logs("only the conditions vault-unseal-sidecar/* may be written")}},
		phase{"vault is sealed", sealVault, []expectation{gateIs("False", "HeldByOperator")}},
	)
}
