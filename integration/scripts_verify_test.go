package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// verify says what is wrong once, whoever found it, and what to do in the names in use.
func TestVerify_OneCauseIsOneFinding(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	patchPod(`{"status": {"containerStatuses": [{"name": "vault-unseal-sidecar", "image": "sidecar:1", "imageID": "", "ready": true, "restartCount": 0,
		"state": {"running": {}}}]}}`)(s.scenario)
	bin := filepath.Join(s.env.Dir, "feigned")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "kubectl"), []byte(strings.ReplaceAll(answeringKubectl, "REAL", filepath.Join(s.env.Dir, "bin", "kubectl"))), 0o755))
	require.NoError(t, s.sidecar.Kill()) // the condition is the test's
	deleteObject(policyBindings, "", "vault-unseal-sidecar-gate.security")(s.scenario)
	const unrestricted = "no admission policy restricts manifests/gate: a dry run that its policy has to deny was admitted"
	const gate, policies = "the readiness gate of vault-0 is not open", "policies do not narrow all of the sidecar's rights"
	const lacks = "the ServiceAccount security/vault may not get pods vault-0 in security"
	for name, row := range map[string]struct {
		found   string // of the level failure
		about   string
		message string // of the condition
		want    []string
		wantNot []string
	}{
		"the rights are missing":     {lacks, "rights", "", []string{lacks, policies}, []string{gate}},
		"the policies are missing":   {unrestricted, "rights", "Vault is sealed.", []string{unrestricted, gate + ": Vault is sealed."}, []string{policies}},
		"the condition alone is not": {"", "", "", []string{gate + ": the condition is missing, its log says why: kubectl -n security logs vault-0 -c vault-unseal-sidecar", policies}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			conditions := `[{"type": "` + gateType + `", "$patch": "delete"}]`
			if row.message != "" {
				conditions = `[{"type": "` + gateType + `", "status": "False", "reason": "Sealed", "message": "` + row.message + `"}]`
			}
			patchPod(`{"status": {"conditions": ` + conditions + `}}`)(s.scenario)
			finding := map[string]string{"level": "failure", "about": row.about, "text": row.found}
			if row.found == "" {
				finding = map[string]string{"level": "ok", "about": "key", "text": "all is well"}
			}
			answer, err := json.Marshal(map[string]any{"findings": []any{finding}})
			require.NoError(t, err)
			out, err := s.runScriptWithEnv("", []string{"REAL_PATH=" + bin + ":" + filepath.Join(s.env.Dir, "bin") + ":" + os.Getenv("PATH"),
				"WHEN=check --prove-key", "ANSWER=" + string(answer), "CODE=0"}, "verify")
			require.Error(t, err, out)
			for _, text := range row.want {
				assert.Equal(t, 1, strings.Count(out, text), "%q in %s", text, out)
			}
			for _, text := range row.wantNot {
				assert.NotContains(t, out, text)
			}
		})
	}
}

// The policies are those of what is granted, and of this Vault.
func TestVerify_NamesThePoliciesThatAreMissing(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	said := func(args ...string) string {
		t.Helper()
		out, err := s.runScript("", "verify", args...)
		require.Error(t, err, out)
		for line := range strings.Lines(out) {
			if strings.Contains(line, "policies") && strings.Contains(line, "narrow") {
				return strings.TrimSpace(line)
			}
		}
		return out
	}
	missing := func(names ...string) {
		for _, name := range names {
			deleteObject(policyBindings, "", "vault-unseal-sidecar-"+name+".security")(s.scenario)
		}
	}
	const wrong = "WRONG policies do not narrow all of the sidecar's rights: run kubectl apply -k manifests with the component"
	assert.Equal(t, "ok    policies narrow the sidecar's rights", said())
	deleteObject(clusterRoleBindingsResource, "", "vault-unseal-sidecar-more.security")(s.scenario)
	missing("more")
	assert.Equal(t, "ok    policies narrow the sidecar's rights", said(), "what is not granted needs none")
	missing("events")
	assert.Equal(t, wrong+" gate, which takes Kubernetes 1.30 or later", said())
	missing("stores", "eviction")
	assert.Equal(t, wrong+"s gate, stores, eviction, which takes Kubernetes 1.30 or later", said())

	text, err := os.ReadFile(s.env.Source("manifests/homelab/settings.yaml"))
	require.NoError(t, err)
	settings := filepath.Join(s.env.Dir, "settings.yaml")
	require.NoError(t, os.WriteFile(settings, []byte(strings.Replace(string(text), "esoNamespace: external-secrets", "esoNamespace: eso", 1)), 0o644))
	assert.Equal(t, wrong+"s gate, stores, eviction, and in settings.yaml esoNamespace: eso, which takes Kubernetes 1.30 or later", said("--settings", settings))
}
