package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// checkRendered pipes manifests into check, on a machine where neither Vault nor a
// cluster is.
func checkRendered(t *testing.T, env *testenv.Env, manifests string, args ...string) checkResult {
	t.Helper()
	command := exec.Command(env.Binary("vault-unseal-sidecar"),
		append([]string{"check", "--manifests", "-", "--output", "json"}, args...)...)
	command.Stdin = strings.NewReader(manifests)
	command.Env = []string{"KUBECONFIG=/does/not/exist", "VAULT_ADDR=http://vault.home.lan:8200", "POD_NAMESPACE=runner"}
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
	}
	c := checkResult{code: command.ProcessState.ExitCode(), output: string(out)}
	if strings.HasPrefix(c.output, "{") {
		require.NoError(t, json.Unmarshal(out, &c), c.output)
		for _, f := range c.Findings {
			assert.Equal(t, f.Level == "warning" || f.Level == "failure", f.Advice != "" && f.Level != "unknown", "%+v", f)
		}
	}
	return c
}

// home is a kustomization of Vault, the sidecar and the rights.
type home struct {
	vault      string   // what the chart makes, in testdata
	components []string // of Vault's pod
	settings   string   // a change of the rights' settings: OLD=NEW
	rights     string   // components, with commas
	fields     string   // further ones of the kustomization
}

const defaultRights = "manifests/gate, manifests/stores, manifests/externalsecrets, manifests/more, manifests/eviction"

// renderHome renders it.
func renderHome(t *testing.T, env *testenv.Env, h home) string {
	t.Helper()
	dir := copied(t, env)
	vault, err := os.ReadFile(filepath.Join("testdata", h.vault))
	require.NoError(t, err)
	settings, err := os.ReadFile(env.Source("manifests/settings.yaml"))
	require.NoError(t, err)
	if before, after, changed := strings.Cut(h.settings, "="); changed {
		require.Contains(t, string(settings), before)
		settings = []byte(strings.ReplaceAll(string(settings), before, after))
	}
	resources := "vault.yaml"
	if h.rights != "" {
		resources += ", rights"
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "rights"), 0o755))
	for file, text := range map[string]string{
		"vault.yaml":                string(vault),
		"rights/settings.yaml":      string(settings),
		"rights/kustomization.yaml": "{resources: [settings.yaml], components: [" + strings.ReplaceAll(h.rights, "manifests", "../manifests") + "]}\n",
		"kustomization.yaml":        "resources: [" + resources + "]\ncomponents: [" + strings.Join(h.components, ", ") + "]\n" + h.fields,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	out, err := env.Kustomize(dir)
	require.NoError(t, err)
	return out
}

func TestCheckManifests_FindsNothingWrongInWhatTheComponentsRender(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	rights := map[string]string{"vault": "", "default": ""}
	for account := range rights {
		out, err := env.Kustomize(writtenRights(t, env, "security", "vault", account, everything+", manifests/clients", ""))
		require.NoError(t, err)
		rights[account] = "---\n" + out
	}
	for name, r := range renderings {
		account, fields := "vault", ""
		switch r.resource {
		case "../../manifests/settings.yaml", "helmrelease.yaml":
			continue
		case "vault-plain.yaml": // which has no ServiceAccount, and a container of others
			account, fields = "default", podPatch("add", "/containers/0/securityContext", "{capabilities: {drop: [ALL]}}")
		}
		if !slices.Contains(r.components, "patches/services") { // of which the chart's Services want one
			r.components = append(slices.Clone(r.components), "patches/services")
		}
		rendered := renderHome(t, env, home{vault: r.resource, components: r.components, fields: fields})
		t.Run(name+"/with the rights", func(t *testing.T) {
			// The settings have External Secrets in eso.
			c := checkRendered(t, env, rendered+rights[account], "--eso-namespace", "eso", "--eso-deployment", "eso-home")
			assert.Empty(t, c.warningsAndFailures())
			assert.Equal(t, 0, c.code, c.output)
			assert.True(t, c.hasFinding("ok", "rights", "admission policies restrict gate, stores, externalsecrets, more, eviction"), c.output)
			assert.True(t, c.hasFinding("ok", "network", "selects the pod"), c.output)
		})
		t.Run(name+"/without the rights", func(t *testing.T) {
			c := checkRendered(t, env, rendered)
			assert.Empty(t, c.warningsAndFailures())
			assert.Equal(t, 0, c.code, c.output)
			assert.True(t, c.hasFinding("unknown", "rights", "are not in the rendering"), c.output)
		})
	}
	t.Run("homelab", func(t *testing.T) {
		out, err := env.Kustomize(env.Source("manifests/homelab"))
		require.NoError(t, err)
		c := checkRendered(t, env, out)
		assert.Empty(t, c.warningsAndFailures())
		assert.Equal(t, 0, c.code, c.output)
	})
	t.Run("a HelmRelease", func(t *testing.T) {
		c := checkRendered(t, env, render(t, env, renderings["helmrelease"]))
		assert.Equal(t, 0, c.code, c.output)
		assert.True(t, c.hasFinding("unknown", "pod", "the HelmRelease vault may make one"), c.output)
	})
}

func TestCheckManifests_FindsNothingWrongInTheChartWithOurValues(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	c := checkRendered(t, env, helmTemplate(t, env, env.Source("patches/helm/values.yaml")))
	assert.Empty(t, c.warningsAndFailures())
	assert.Equal(t, 0, c.code, c.output)
	assert.True(t, c.hasFinding("ok", "pod", "as with Helm alone"), c.output)
	assert.True(t, c.hasFinding("ok", "pod", "updateStrategy OnDelete"), c.output)

	c = checkRendered(t, env, helmTemplate(t, env))
	assert.True(t, c.hasFinding("failure", "pod", "the pod has no sidecar"), c.output)
	assert.Equal(t, 4, c.code)
}

// patched are the fields of a kustomization that patch the objects of a kind and a name,
// a regular expression, by operations as in op: add.
func patched(kind, name string, operations ...string) string {
	out := "patches:\n  - target: {kind: " + kind + ", name: '" + name + "'}\n    patch: |-\n"
	for _, o := range operations {
		out += "      - {" + o + "}\n"
	}
	return out
}

// podPatch patches Vault's pod, at a path below its spec.
func podPatch(op, path, value string) string {
	return patched("StatefulSet", ".*", "op: "+op+", path: /spec/template/spec"+path+", value: "+value)
}

func sidecarVariable(name, value string) string {
	return podPatch("add", "/containers/1/env/-", "{name: "+name+", value: \""+value+"\"}")
}

func TestCheckManifests_FindsEachMistake(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	share := randomShare(33)
	withServices := []string{"patches", "patches/services"}
	for name, row := range map[string]struct {
		home
		level, about, text string
		others             int // findings as bad that come of it as well
	}{
		"the component is missing": {home{components: []string{}}, "failure", "pod", "the pod has no sidecar", 0},
		"the Services lead to a sealed Vault": {home{components: []string{"patches"}}, "warning", "services",
			"published by the Service vault, vault-ui", 0},
		"a Service of another name leads there": {home{fields: patched("Service", "vault-ui", "op: replace, path: /metadata/name, value: web", "op: replace, path: /spec/publishNotReadyAddresses, value: true")}, "warning", "services", "published by the Service web", 0},
		"the rights are another account's": {home{settings: "serviceAccount: vault=serviceAccount: other"}, "failure", "rights",
			"the ServiceAccount security/vault may not get/list/watch pods vault-0 in security", 0},
		"the rights are of another namespace": {home{settings: "namespace: security=namespace: safe"}, "failure", "rights", "never Ready", 0},
		"the rights are of another StatefulSet": {home{settings: "statefulSet: vault=statefulSet: bao"}, "failure", "rights",
			"may not get/list/watch pods vault-0 in security, patch pods/status vault-0 in security", 0},
		"a prefix renames the StatefulSet and not the rights": {home{fields: patched("StatefulSet", ".*", "op: replace, path: /metadata/name, value: home-vault")},
			"failure", "rights", "pods/status home-vault-0 in security", 0},
		"the rights lack the gate": {home{rights: strings.Replace(defaultRights, "manifests/gate, ", "", 1)}, "failure", "rights",
			"run kubectl apply -k manifests with the component gate", 0},
		"the rights lack the eviction": {home{rights: strings.Replace(defaultRights, ", manifests/eviction", "", 1)}, "warning", "rights", "create pods/eviction in external-secrets", 0},
		"the rights lack the replicas": {home{fields: "replicas: [{name: vault, count: 3}]\n"}, "failure", "rights",
			"pods/status vault-1 in security", 0},
		"External Secrets is elsewhere": {home{fields: sidecarVariable("ESO_NAMESPACE", "eso")}, "warning", "rights", "list pods in eso", 0},
		"a binding warns instead of denying": {home{fields: patched("ValidatingAdmissionPolicyBinding", ".*gate.*", "op: replace, path: /spec/validationActions, value: [Warn]")},
			"failure", "rights", "no admission policy restricts manifests/gate", 0},
		"a binding is of another policy": {home{fields: patched("ValidatingAdmissionPolicyBinding", ".*stores.*", "op: replace, path: /spec/policyName, value: another")},
			"failure", "rights", "no admission policy restricts manifests/stores", 0},
		"a policy is for another namespace": {home{fields: patched("ValidatingAdmissionPolicy", ".*gate.*", "op: add, path: /spec/matchConstraints/namespaceSelector, value: {matchLabels: {kubernetes.io/metadata.name: safe}}")},
			"failure", "rights", "no admission policy restricts manifests/gate", 0},
		"a role grants more than the manifests": {home{fields: patched("Role", "vault-unseal-sidecar", "op: add, path: /rules/-, value: {apiGroups: [\"\"], resources: [secrets], verbs: [get]}")},
			"failure", "rights", "it could read Secrets", 0},
		"a probe kills a sealed Vault": {home{fields: podPatch("add", "/containers/0/livenessProbe", "{httpGet: {path: /v1/sys/health, port: 8200}}")},
			"failure", "pod", "the livenessProbe of the container vault fails while Vault is sealed", 0},
		"a probe kills the sidecar": {home{fields: podPatch("add", "/containers/1/livenessProbe", "{httpGet: {path: /healthz, port: 9810}}")},
			"warning", "pod", "the sidecar has a livenessProbe", 0},
		"the gate is of another name": {home{fields: sidecarVariable("READINESS_GATE", "none")}, "failure", "pod", "which the sidecar does not write", 0},
		"the image has no tag":        {home{fields: "images: [{name: ghcr.io/alybadawy/vault-unseal-sidecar, newName: r:5000/vault-unseal-sidecar, newTag: \"\"}]\n" + podPatch("replace", "/containers/1/image", "r:5000/vault-unseal-sidecar")}, "warning", "pod", "has no tag", 0},
		"the image is the latest":     {home{fields: "images: [{name: ghcr.io/alybadawy/vault-unseal-sidecar, newTag: latest}]\n"}, "warning", "pod", "has the tag latest", 0},
		"the Secret is not optional":  {home{fields: podPatch("replace", "/volumes/3/secret/optional", "false")}, "warning", "key", "is not optional", 0},
		"the key is not mounted":      {home{fields: podPatch("replace", "/containers/1/volumeMounts/0/mountPath", "/keys")}, "failure", "key", "no volume with the key at /etc/vault-unseal-sidecar/keys", 0},
		"a volume is missing":         {home{fields: podPatch("replace", "/containers/1/volumeMounts/2/name", "state")}, "failure", "pod", "mounts the volume state, which the pod does not have", 0},
		"the key is in Git": {home{fields: "secretGenerator: [{name: vault-unseal-key, namespace: security, options: {disableNameSuffixHash: true}, literals: [\"key=" + share + "\"]}]\n"},
			"warning", "key", "the Secret vault-unseal-key holds what looks like a key, in plain, in key", 0},
		"the key is in a variable":      {home{fields: sidecarVariable("UNSEAL_KEY", share)}, "warning", "pod", "what looks like a key is in the variables UNSEAL_KEY", 1},
		"a variable is misspelled":      {home{fields: sidecarVariable("ESO_STORE", "off")}, "warning", "pod", "does not read the variables ESO_STORE", 0},
		"a value is not accepted":       {home{fields: sidecarVariable("ESO_RECOVERY", "sometimes")}, "warning", "pod", `ESO_RECOVERY: "sometimes" is not accepted`, 0},
		"an argument is unknown":        {home{fields: podPatch("add", "/containers/1/args", "[--vault-address=x]")}, "failure", "pod", "ends at its start, with exit code 2: flag provided but not defined", 0},
		"Vault is not on loopback":      {home{fields: sidecarVariable("VAULT_ADDR", "http://vault.security:8200")}, "failure", "pod", "ends at its start, with exit code 2: VAULT_ADDR", 0},
		"the sidecar is not told a pod": {home{fields: podPatch("remove", "/containers/1/env/0", "0")}, "failure", "pod", "does not know its own pod", 0},
		"the pod has the node's network": {home{fields: podPatch("replace", "/hostNetwork", "true")}, "failure", "pod",
			"every process of the node can take its port", 0},
		"the memory is too little":    {home{fields: podPatch("replace", "/containers/1/resources/limits/memory", "16Mi")}, "warning", "pod", "the memory limit 16Mi", 0},
		"the sidecar may run as root": {home{fields: podPatch("replace", "/containers/1/securityContext", "{runAsUser: 0, runAsNonRoot: false}")}, "warning", "pod", "the sidecar's container may run as root", 0},
		"a container can listen in": {home{fields: podPatch("add", "/containers/-", "{name: logs, image: logs, securityContext: {privileged: true}}")}, "warning", "pod",
			"these containers can read it and all other requests to Vault", 0},
		"there is no Vault": {home{fields: patched("StatefulSet", ".*", "op: replace, path: /kind, value: Deployment")}, "failure", "pod",
			"the sidecar is in the Deployment vault, and in no StatefulSet", 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := row.home
			h.vault = "vault-chart.yaml"
			if h.components == nil {
				h.components = withServices
			}
			if h.rights == "" {
				h.rights = defaultRights
			}
			c := checkRendered(t, env, renderHome(t, env, h))
			assert.True(t, c.hasFinding(row.level, row.about, row.text), c.output)
			assert.Len(t, c.warningsAndFailures(), 1+row.others, c.output)
			assert.Equal(t, map[string]int{"warning": 3, "failure": 4}[row.level], c.code)
			for _, trace := range testenv.Encodings(share) {
				assert.NotContains(t, c.output, trace)
			}
		})
	}
}

func TestCheckManifests_JudgesEachVaultByItself(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	one := renderHome(t, env, home{vault: "vault-chart.yaml", components: []string{"patches", "patches/services"}, rights: defaultRights})
	other := strings.NewReplacer("namespace: security", "namespace: safe", ".security", ".safe").Replace(one)
	c := checkRendered(t, env, one+"---\n"+other)
	assert.Empty(t, c.warningsAndFailures())
	assert.True(t, c.hasFinding("ok", "pod", "safe/vault: the sidecar is a container beside Vault"), c.output)
	assert.True(t, c.hasFinding("ok", "pod", "security/vault: the sidecar is a container beside Vault"), c.output)

	c = checkRendered(t, env, one+"---\n"+strings.ReplaceAll(other, "vault-unseal-sidecar:v0.1.0", "vault-unseal-sidecar"))
	require.Len(t, c.warningsAndFailures(), 1)
	assert.Contains(t, c.warningsAndFailures()[0], "safe/vault: the sidecar's image")
}

func TestCheckManifests_RejectsWhatIsNoRendering(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	for name, row := range map[string]struct{ text, want string }{
		"nothing":         {"", "there is no object in it"},
		"half a document": {"kind: A\napiVersion: v1\n---\nkind: [\nb: c\n", "document 2, line 5: did not find expected ',' or ']'"},
	} {
		t.Run(name, func(t *testing.T) {
			c := checkRendered(t, env, row.text)
			assert.Equal(t, 2, c.code)
			assert.Contains(t, c.output, row.want)
		})
	}
	c := checkRendered(t, env, "kind: A", "--kubeconfig", "x")
	assert.Equal(t, 2, c.code)
	assert.Contains(t, c.output, "--kubeconfig: --manifests looks at no cluster")
}
