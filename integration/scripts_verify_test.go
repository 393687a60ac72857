package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
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
	require.NoError(t, s.cluster.Apply(s.ctx, bindingsOfATenant))
	assert.Equal(t, "ok    policies narrow the sidecar's rights", said(), "a tenant's bindings are none of it")
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

// bindingsOfATenant have our names, or bind Vault's account.
const bindingsOfATenant = `
apiVersion: v1
kind: Namespace
metadata: {name: tenant}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: vault-unseal-sidecar-more.security, namespace: tenant}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: any}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: x-vault-unseal-sidecar-more.security-x, namespace: tenant}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: any}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-unseal-sidecar-more.security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: any}
subjects: [{kind: ServiceAccount, name: other, namespace: security}]
`

// With a prefix and a suffix the policies are found as well.
func TestVerify_FindsRenamedPolicies(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	for _, name := range []string{"gate", "events", "stores", "externalsecrets", "more", "eviction"} {
		deleteObject(policyBindings, "", "vault-unseal-sidecar-"+name+".security")(s.scenario)
	}
	renamed := strings.ReplaceAll(s.renderRenamed("namePrefix: b-\nnameSuffix: -x"), "name: b-vault-x", "name: vault")
	require.NoError(t, s.cluster.Apply(s.ctx, renamed))
	out, err := s.runScript("", "verify")
	require.Error(t, err)
	assert.Contains(t, out, "ok    policies narrow the sidecar's rights")
	deleteObject(policyBindings, "", "b-vault-unseal-sidecar-more.security-x")(s.scenario)
	out, err = s.runScript("", "verify")
	require.Error(t, err)
	assert.Contains(t, out, "WRONG policies do not narrow")
}

// Until the kubelet has renewed the mount, what is found of the key is true of the former.
func TestVerify_TellsAMountThatIsOlderThanTheSecret(t *testing.T) {
	t.Parallel()
	s := newVerifyScenario(t)
	const stale = "WRONG vault-0: the mounted key is not what the Secret holds now: check again in a minute or two"
	former, present := randomShare(32), randomShare(32)
	mounted := func(key string) {
		t.Helper()
		require.NoError(t, testenv.Await(s.ctx, waitTimeout, "the key to be mounted", func() string {
			text, err := os.ReadFile(filepath.Join(s.secret.Dir, "key"))
			if err != nil {
				return err.Error()
			}
			return strings.TrimPrefix(strings.TrimSpace(string(text)), key)
		}))
	}
	verify := func() string {
		out, err := s.runScript("", "verify")
		require.Error(t, err, out)
		return out
	}
	s.mustRun(former, "seed-key")
	mounted(former)
	assert.NotContains(t, verify(), stale)
	s.mustRun(present, "seed-key", "--replace")
	mounted(present)
	require.NoError(t, s.secret.Write(map[string]string{"key": former}))
	assert.Contains(t, verify(), stale)
	require.NoError(t, s.secret.Write(map[string]string{"key": present}))
	assert.NotContains(t, verify(), stale)
}

// kubectl create secret --from-literal=SHARE takes the share for a name.
func TestScripts_WithholdAShareThatIsAName(t *testing.T) {
	t.Parallel()
	s := newVerifyScenario(t)
	name := strings.TrimRight(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte("key!"), 8)), "=")
	require.NoError(t, s.cluster.Apply(s.ctx, `{apiVersion: v1, kind: Secret, metadata: {name: vault-unseal-key, namespace: security}, data: {`+name+`: ""}}`))
	s.mustRun(randomShare(32), "seed-key", "--trust-secret")
	secret, err := s.cluster.Get(s.ctx, "v1", "Secret", "security", "vault-unseal-key")
	require.NoError(t, err)
	assert.Contains(t, decodeSecret(secret), "key", "and what comes later gets a name of its own")
	out, err := s.runScript("", "verify")
	require.Error(t, err)
	assert.NotContains(t, out, name)
	assert.Contains(t, out, "[name withheld, it looks like a share]: empty")
}

// podWithSidecar is a pod that was made from the template vault-1.
const podWithSidecar = `{apiVersion: v1, kind: Pod, metadata: {name: vault-0, namespace: security,
	labels: {app.kubernetes.io/name: vault, controller-revision-hash: vault-1}},
	spec: {serviceAccountName: vault, containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "sidecar:1"}]}}`

// newVerifyScenario has a pod that runs the sidecar of the template vault-1, and a
// StatefulSet whose newest template is vault-2.
func newVerifyScenario(t *testing.T) *scriptScenario {
	s := newScriptScenario(t, proxy.Open)
	s.deletePod()
	require.NoError(s, s.cluster.Apply(s.ctx, podWithSidecar,
		`{apiVersion: v1, kind: Node, metadata: {name: home}, status: {images: [{names: ["sidecar:1"], sizeBytes: 1}]}}`))
	_, err := s.cluster.Client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}).Patch(s.ctx, "home", merge,
		[]byte(`{"status": {"images": [{"names": ["sidecar:1"], "sizeBytes": 1}]}}`), metav1.PatchOptions{}, "status")
	require.NoError(s, err)
	patchPod(`{"status": {"containerStatuses": [{"name": "vault-unseal-sidecar", "image": "sidecar:1", "imageID": "", "ready": true, "restartCount": 0,
		"state": {"running": {}}}]}}`)(s.scenario)
	return s
}

// verifyOutput runs verify with a sidecar whose check finds what is given, and
// returns the lines that say what is wrong.
func (s *scriptScenario) verifyOutput(findings string) (wrong []string) {
	bin := s.TempDir()
	require.NoError(s, os.WriteFile(filepath.Join(bin, "kubectl"),
		[]byte(strings.ReplaceAll(answeringKubectl, "REAL", filepath.Join(s.env.Dir, "bin", "kubectl"))), 0o755))
	out, err := s.runScriptWithEnv("", []string{"REAL_PATH=" + bin + ":" + filepath.Join(s.env.Dir, "bin") + ":" + os.Getenv("PATH"),
		"WHEN=check --prove-key", "ANSWER=" + `{"findings": [` + findings + `]}`, "COMPLAINT=", "CODE=0"}, "verify")
	require.Error(s, err, "no key was stored")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "WRONG ") {
			wrong = append(wrong, strings.TrimSpace(line))
		}
	}
	return wrong
}

// about returns those of the lines that hold a text.
func about(lines []string, text string) (out []string) {
	for _, line := range lines {
		if strings.Contains(line, text) {
			out = append(out, line)
		}
	}
	return out
}

// A pod is not to be deleted for a template whose pod does not start, or that has no
// sidecar any more.
func TestVerify_AdvisesADeletionOnlyIfTheNewPodRuns(t *testing.T) {
	t.Parallel()
	s := newVerifyScenario(t)
	sidecar := func(rest string) string {
		return `containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, ` + rest + `}]`
	}
	for _, row := range []struct{ sentence, template, want string }{
		{"the new pod runs", sidecar(`image: "sidecar:1"`),
			"WRONG vault-0 is not of the StatefulSet's newest template: delete the pod, and it takes effect"},
		{"no node has its image", sidecar(`image: "sidecar:latest", imagePullPolicy: IfNotPresent`),
			"WRONG vault-0 is not of the StatefulSet's newest template: no node has the image sidecar:latest: without a registry that has it the new pod does not start. See to that first; only then delete the pod, and it takes effect"},
		{"no node has its image or may pull it", sidecar(`image: "sidecar:latest", imagePullPolicy: Never`),
			"WRONG vault-0 is not of the StatefulSet's newest template, and must not be deleted: no node has the image sidecar:latest, and none may pull it (imagePullPolicy Never)"},
		{"the sidecar was taken out", `containers: [{name: vault, image: "vault:1"}]`, "keep vault-0 until then: a new pod comes without the sidecar, and its Vault stays sealed"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			setTemplate("vault-2", row.template)(s.scenario)
			found := about(s.verifyOutput(`{"level": "ok", "about": "pod", "text": "the pod declares the readiness gate"}`), "StatefulSet")
			require.Len(t, found, 1, "findings that belong together are one")
			assert.Contains(t, found[0], row.want)
		})
	}
}

// With Helm alone there may be no gate: verify judges that as check does.
func TestVerify_NoGateIsNoFaultWhereNoneIsDeclared(t *testing.T) {
	t.Parallel()
	s := newVerifyScenario(t)
	assert.Empty(t, about(s.verifyOutput(`{"level": "ok", "about": "pod", "text": "no readiness gate is written, and the pod declares none of ours"}`), "gate of"))
	assert.Len(t, about(s.verifyOutput(`{"level": "ok", "about": "pod", "text": "the sidecar is a container beside Vault"}`), "the readiness gate of vault-0 is not open"), 1)
}
