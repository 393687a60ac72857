package integration

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// The marks are as each tool writes them.
func TestKeepers_AreFoundByWhatTheyWrite(t *testing.T) {
	t.Parallel()
	written := func(manager, operation, field string) map[string]any {
		return map[string]any{"managedFields": []any{map[string]any{
			"manager": manager, "operation": operation, "fieldsV1": map[string]any{field: map[string]any{"f:key": map[string]any{}}},
		}}}
	}
	owner := func(kind, name string) map[string]any {
		return map[string]any{"ownerReferences": []any{map[string]any{"kind": kind, "name": name, "controller": true}}}
	}
	labels := func(pairs ...string) map[string]any { return map[string]any{"labels": pairsOf(pairs)} }
	annotations := func(pairs ...string) map[string]any { return map[string]any{"annotations": pairsOf(pairs)} }
	for _, row := range []struct {
		sentence string
		metadata map[string]any
		want     string
	}{
		{"kubectl create", written("kubectl-create", "Update", "f:data"), ""},
		{"kubectl apply", written("kubectl-client-side-apply", "Update", "f:data"), ""},
		{"kubectl apply --server-side", written("kubectl", "Apply", "f:data"), ""},
		{"k9s", written("k9s", "Update", "f:data"), ""},
		{"another tool's label", written("kyverno", "Update", "f:metadata"), ""},
		{"a label of one's own", labels("app", "vault"), ""},
		{"Argo CD by annotation", annotations("argocd.argoproj.io/tracking-id", "vault:/Secret:security/vault-unseal-key"), "Argo CD (argocd.argoproj.io/tracking-id=vault:/Secret:security/vault-unseal-key)"},
		{"Argo CD by label", labels("app.kubernetes.io/instance", "vault"), "Argo CD or Helm (app.kubernetes.io/instance=vault)"},
		{"Argo CD's field manager", written("argocd-controller", "Apply", "f:data"), "the field manager argocd-controller"},
		{"Flux's Kustomization", labels("kustomize.toolkit.fluxcd.io/name", "vault", "kustomize.toolkit.fluxcd.io/namespace", "flux-system"), "Flux (kustomize.toolkit.fluxcd.io/name=vault)"},
		{"Flux, its labels taken off", written("kustomize-controller", "Apply", "f:data"), "the field manager kustomize-controller"},
		{"Flux's HelmRelease", labels("helm.toolkit.fluxcd.io/name", "vault"), "Flux (helm.toolkit.fluxcd.io/name=vault)"},
		{"Helm", map[string]any{"labels": pairsOf([]string{"app.kubernetes.io/managed-by", "Helm"}), "annotations": pairsOf([]string{"meta.helm.sh/release-name", "home"})},
			"Helm (app.kubernetes.io/managed-by); Helm (meta.helm.sh/release-name=home)"},
		{"a SOPS operator", owner("SopsSecret", "vault"), "SopsSecret vault, its owner"},
		{"Sealed Secrets", owner("SealedSecret", "vault-unseal-key"), "SealedSecret vault-unseal-key, its owner"},
		{"Sealed Secrets that were told to take it over", annotations("sealedsecrets.bitnami.com/managed", "true"), "Sealed Secrets (sealedsecrets.bitnami.com/managed=true)"},
		{"External Secrets", owner("ExternalSecret", "unseal-key"), "ExternalSecret unseal-key, its owner"},
		{"External Secrets that merge into it", written("externalsecrets.external-secrets.io/unseal-key", "Apply", "f:data"), "the field manager externalsecrets.external-secrets.io/unseal-key"},
		{"External Secrets that orphan it", labels("reconcile.external-secrets.io/managed", "true"), "External Secrets (reconcile.external-secrets.io/managed=true)"},
		{"Terraform", written("Terraform", "Apply", "f:data"), "the field manager Terraform"},
		{"a tool that nobody knows", written("kubectl2git", "Update", "f:data"), "the field manager kubectl2git"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			in, err := json.Marshal(map[string]any{"metadata": row.metadata})
			require.NoError(t, err)
			jq := exec.Command("jq", "-L", "../scripts", "-r", `include "keepers"; keepers`)
			jq.Stdin, jq.Stderr = strings.NewReader(string(in)), os.Stderr
			out, err := jq.Output()
			require.NoError(t, err)
			assert.Equal(t, row.want, strings.TrimSpace(string(out)))
		})
	}
}

func pairsOf(pairs []string) map[string]any {
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// A key that is put back from elsewhere after Vault has another is a Vault that
// stays sealed at its next restart.
func TestRotate_RefusesASecretThatIsKept(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	key := s.secretData()["key"]
	manifest := `{apiVersion: v1, kind: Secret, metadata: {name: vault-unseal-key, namespace: security}, data: {key: ` + base64.StdEncoding.EncodeToString([]byte(key)) + `}}`
	out, err := s.kubectl(manifest, "apply", "--server-side", "--force-conflicts", "--field-manager", "kustomize-controller", "-f", "-")
	require.NoError(t, err, out)

	for script, args := range map[string][]string{"rotate": nil, "seed-key": {"--replace"}} {
		in := map[string]string{"seed-key": randomShare(32)}[script]
		out, err := s.runScript(in, script, args...)
		require.Error(t, err, out)
		assert.Contains(t, out, "is kept by another, who would put the old key back: the field manager kustomize-controller. Nothing was changed")
		assert.Equal(t, map[string]string{"key": key}, s.secretData())
	}
	s.restartVaultAndAwaitUnseal()

	out = s.mustRun("", "rotate", "--trust-secret")
	assert.Contains(t, out, "seems to be kept by another: the field manager kustomize-controller")
	assert.NotEqual(t, key, s.secretData()["key"])
	s.restartVaultAndAwaitUnseal()
}
