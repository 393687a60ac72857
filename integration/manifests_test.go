package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// rendering is a kustomization and what is put into it.
type rendering struct {
	resource   string // a file in testdata; "" for none
	components []string
}

var renderings = map[string]rendering{
	"chart":          {"vault-chart.yaml", []string{"patches"}},
	"chart-native":   {"vault-chart.yaml", []string{"patches", "patches/native"}},
	"chart-variants": {"vault-chart.yaml", []string{"patches", "patches/apparmor", "patches/services", "patches/monitoring", "patches/imported"}},
	"chart-all":      {"vault-chart.yaml", []string{"patches", "patches/monitoring", "patches/imported", "patches/native", "patches/apparmor", "patches/services"}},
	"chart-uid":      {"vault-chart.yaml", []string{"patches", "patches/vault-uid", "patches/native"}},
	"chart-claims":   {"vault-chart-claims.yaml", []string{"patches", "patches/vault-uid", "patches/monitoring", "patches/services"}},
	"openshift":      {"vault-chart.yaml", []string{"patches", "patches/openshift", "patches/native"}},
	"helmrelease":    {"helmrelease.yaml", []string{"patches/helmrelease"}},
	"network":        {"../../manifests/settings.yaml", []string{"manifests/network"}},
	"clients":        {"../../manifests/settings.yaml", []string{"manifests/network", "manifests/clients", "manifests/monitoring"}},
	"replicas":       {"../../manifests/settings.yaml", []string{"manifests/gate", "manifests/replicas"}},
	"routes":         {"../../manifests/settings.yaml", []string{"manifests/routes"}},
	"plain":          {"vault-plain.yaml", []string{"patches"}},
	"plain-any":      {"vault-plain.yaml", []string{"patches/any"}},
	"monitoring":     {"../../manifests/settings.yaml", []string{"manifests/network", "manifests/monitoring"}},
}

// copied returns a directory of the test's with a copy of the repository's
// kustomizations in it.
func copied(t *testing.T, env *testenv.Env) string {
	t.Helper()
	dir, err := os.MkdirTemp(env.Dir, "manifests-")
	require.NoError(t, err)
	for _, part := range []string{"patches", "manifests"} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, part), os.DirFS(env.Source(part))))
	}
	return dir
}

// written returns a directory with a rendering's kustomization, in a copy of the
// repository's.
func written(t *testing.T, env *testenv.Env, r rendering) string {
	t.Helper()
	dir := copied(t, env)
	text, err := os.ReadFile(filepath.Join("testdata", r.resource))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vault.yaml"), text, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"),
		[]byte("resources: [vault.yaml]\ncomponents: ["+strings.Join(r.components, ", ")+"]\n"), 0o644))
	return dir
}

// render renders a rendering.
func render(t *testing.T, env *testenv.Env, r rendering) string {
	t.Helper()
	out, err := env.Kustomize(written(t, env, r))
	require.NoError(t, err)
	return out
}

// What every kustomization renders is kept, so that a change of it is seen.
// After one that is meant: GOLDEN=write go test ./integration -run TestManifests
func TestManifests_AreRenderedAsGolden(t *testing.T) {
	env := newEnv(t)
	compare := func(t *testing.T, name, got string) {
		path := filepath.Join("testdata", "golden", name+".yaml")
		if os.Getenv("GOLDEN") == "write" {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, string(want), got)
	}
	for name, r := range renderings {
		t.Run(name, func(t *testing.T) { compare(t, name, render(t, env, r)) })
	}
	for name, dir := range map[string]string{"manifests": "manifests", "homelab": "manifests/homelab"} {
		t.Run(name, func(t *testing.T) {
			out, err := env.Kustomize(env.Source(dir))
			require.NoError(t, err)
			compare(t, name, out)
		})
	}
}

// statefulSet finds the one in what was rendered.
func statefulSet(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		require.NoError(t, decoder.Decode(&o.Object), "a StatefulSet was rendered")
		if o.GetKind() == "StatefulSet" {
			return o
		}
	}
}

// list returns a list of the pod's, and the names in it.
func list(t *testing.T, set *unstructured.Unstructured, field, name string) (items []any, names []string) {
	t.Helper()
	items, _, err := unstructured.NestedSlice(set.Object, "spec", "template", "spec", field)
	require.NoError(t, err)
	for _, item := range items {
		text, _ := item.(map[string]any)[name].(string)
		names = append(names, text)
	}
	return items, names
}

func TestPatch_KeepsForeignFields(t *testing.T) {
	env := newEnv(t)
	for name, want := range map[string]struct{ containers, inits, gates []string }{
		"chart":        {[]string{"vault", "vault-unseal-sidecar"}, nil, []string{gateType}},
		"chart-claims": {[]string{"vault", "vault-unseal-sidecar"}, nil, []string{gateType}},
		"chart-native": {[]string{"vault"}, []string{"vault-unseal-sidecar"}, []string{gateType}},
		"plain":        {[]string{"logs", "vault", "vault-unseal-sidecar"}, nil, []string{"example.com/other", gateType}},
		"plain-any":    {[]string{"logs", "vault", "vault-unseal-sidecar"}, nil, []string{"example.com/other", gateType}},
	} {
		t.Run(name, func(t *testing.T) {
			set := statefulSet(t, render(t, env, renderings[name]))
			_, containers := list(t, set, "containers", "name")
			assert.Equal(t, want.containers, containers, "containers, of which kubectl takes the first")
			inits, names := list(t, set, "initContainers", "name")
			assert.Equal(t, want.inits, names)
			for _, c := range inits {
				assert.Equal(t, "Always", c.(map[string]any)["restartPolicy"], "it is a native sidecar")
			}
			_, gates := list(t, set, "readinessGates", "conditionType")
			assert.Equal(t, want.gates, gates)
		})
	}
}

// Whatever uid the StatefulSet gives Vault, the key goes to no other; and where
// it gives none, nothing is built that would keep the key from Vault.
func TestPatchVaultUID_FollowsTheStatefulSet(t *testing.T) {
	env := newEnv(t)
	for _, chart := range charts {
		t.Run(chart, func(t *testing.T) { vaultUIDFollows(t, env, chart) })
	}
}

func vaultUIDFollows(t *testing.T, env *testenv.Env, path string) {
	t.Helper()
	chart, err := os.ReadFile(filepath.Join("testdata", path))
	require.NoError(t, err)
	dir := copied(t, env)
	build := func(uid string) (string, error) {
		vault := strings.Replace(string(chart), "        runAsUser: 100\n", uid, 1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "vault.yaml"), []byte(vault), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: [vault.yaml]\ncomponents: [patches, patches/vault-uid]\n"), 0o644))
		return env.Kustomize(dir)
	}
	text, err := build("        runAsUser: 4711\n")
	require.NoError(t, err)
	containers, names := list(t, statefulSet(t, text), "containers", "name")
	require.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	assert.Contains(t, containers[1].(map[string]any)["env"], map[string]any{"name": "VAULT_UID", "value": "4711"})
	_, err = build("")
	assert.ErrorContains(t, err, "runAsUser")
}

// The chart's values say the same as the patch.
func TestHelmValues_EqualThePatch(t *testing.T) {
	env := newEnv(t)
	read := func(path string) map[string]any {
		text, err := os.ReadFile(env.Source(path))
		require.NoError(t, err)
		var out map[string]any
		require.NoError(t, yaml.Unmarshal(text, &out))
		return out
	}
	pod := read("patches/pod/pod.yaml")["template"].(map[string]any)["spec"].(map[string]any)
	server := read("patches/helm/values.yaml")["server"].(map[string]any)
	assert.Equal(t, pod["containers"], server["extraContainers"])
	assert.Equal(t, pod["volumes"], server["volumes"])
}

// Who may reach Vault is named by the settings, in whatever order the components
// of the network come.
func TestNetworkPolicy_ClientsComeFromSettings(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	for name, components := range map[string]string{
		"monitoring last": "manifests/network, manifests/clients, manifests/monitoring",
		"clients last":    "manifests/network, manifests/monitoring, manifests/clients",
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, env)
			for file, text := range map[string]string{
				"settings.yaml": `{apiVersion: v1, kind: ConfigMap,
					metadata: {name: vault-unseal-sidecar-settings, annotations: {config.kubernetes.io/local-config: "true"}},
					data: {namespace: safe, statefulSet: vault, esoNamespace: eso, esoName: external-secrets, ingressNamespace: front, clientNamespace: apps,
						monitoringNamespace: watch, monitoringRelease: prom}}`,
				"kustomization.yaml": "{resources: [settings.yaml], components: [" + components + "]}",
			} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
			}
			out, err := env.Kustomize(dir)
			require.NoError(t, err)
			from := map[string][]string{} // by port
			for _, o := range objects(t, out) {
				if o.GetKind() != "NetworkPolicy" {
					continue
				}
				assert.Equal(t, "safe", o.GetNamespace())
				rules, _, err := unstructured.NestedSlice(o.Object, "spec", "ingress")
				require.NoError(t, err)
				for _, rule := range rules {
					for _, port := range rule.(map[string]any)["ports"].([]any) {
						key := fmt.Sprint(port.(map[string]any)["port"])
						from[key] = append(from[key], peers(t, rule.(map[string]any))...)
					}
				}
			}
			assert.Equal(t, map[string][]string{
				"8200": {"eso/external-secrets", "front/", "apps/", "/vault-0...vault-9"}, "8201": {"/vault-0...vault-9"}, "9810": {"watch/"},
			}, from)
		})
	}
}

// peers returns whom a rule lets in, as NAMESPACE/NAME of pods; one that lets in
// everybody has the peer "*".
func peers(t *testing.T, rule map[string]any) (out []string) {
	t.Helper()
	const namespace, name = "kubernetes.io/metadata.name", "app.kubernetes.io/name"
	list, _, err := unstructured.NestedSlice(rule, "from")
	require.NoError(t, err)
	if len(list) == 0 {
		return []string{"*"}
	}
	for _, peer := range list {
		in, _, _ := unstructured.NestedString(peer.(map[string]any), "namespaceSelector", "matchLabels", namespace)
		if in == "" {
			expressions, _, _ := unstructured.NestedSlice(peer.(map[string]any), "namespaceSelector", "matchExpressions")
			for _, e := range expressions {
				values, _, _ := unstructured.NestedStringSlice(e.(map[string]any), "values")
				in = strings.Join(values, ",")
			}
		}
		pod, _, _ := unstructured.NestedString(peer.(map[string]any), "podSelector", "matchLabels", name)
		if pods := podNames(t, peer.(map[string]any), "podSelector"); len(pods) > 0 {
			pod = pods[0] + "..." + pods[len(pods)-1]
		}
		out = append(out, in+"/"+pod)
	}
	return out
}

// podNames returns the names of the StatefulSet's pods that a selector matches.
func podNames(t *testing.T, o map[string]any, selector ...string) (names []string) {
	t.Helper()
	expressions, _, err := unstructured.NestedSlice(o, append(selector, "matchExpressions")...)
	require.NoError(t, err)
	for _, e := range expressions {
		assert.Equal(t, "statefulset.kubernetes.io/pod-name", e.(map[string]any)["key"])
		values, _, err := unstructured.NestedStringSlice(e.(map[string]any), "values")
		require.NoError(t, err)
		names = append(names, values...)
	}
	return names
}
