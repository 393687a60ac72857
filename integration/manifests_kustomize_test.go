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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// The versions of kustomize in kubectl, Flux and Argo CD are of many years.
func TestManifests_RenderTheSameWithEachKustomize(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	versions, err := filepath.Glob(env.Binary("servers/kustomize/*/kustomize"))
	require.NoError(t, err)
	require.NotEmpty(t, versions, "older versions of kustomize: make servers")
	dirs := map[string]string{"manifests": env.Source("manifests"), "homelab": env.Source("manifests/homelab")}
	for name, r := range renderings {
		dirs[name] = written(t, env, r)
	}
	for name, dir := range dirs {
		want, err := env.Kustomize(dir)
		require.NoError(t, err, name)
		for _, version := range versions {
			t.Run(filepath.Base(filepath.Dir(version))+"/"+name, func(t *testing.T) {
				got, err := exec.Command(version, "build", dir).CombinedOutput()
				require.NoError(t, err, "%s", got)
				assert.Equal(t, want, string(got))
			})
		}
	}
}

// Tools write YAML as JSON, in flow style, and with lists that are empty.
func TestPatch_TakesEachNotation(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	text, err := os.ReadFile("testdata/vault-plain.yaml")
	require.NoError(t, err)
	for _, components := range [][]string{
		{"patches"},
		{"patches/any"},
		{"patches", "patches/monitoring", "patches/imported", "patches/apparmor", "patches/native"},
	} {
		set := statefulSet(t, string(text))
		dir := copied(t, env)
		build := func(t *testing.T, vault string) map[string]any {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "vault.yaml"), []byte(vault), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"),
				[]byte("resources: [vault.yaml]\ncomponents: ["+strings.Join(components, ", ")+"]\n"), 0o644))
			out, err := env.Kustomize(dir)
			require.NoError(t, err)
			built := statefulSet(t, out)
			for _, list := range []string{"initContainers", "volumes", "readinessGates"} {
				if items, _ := listOf(built, list); len(items) == 0 {
					unstructured.RemoveNestedField(built.Object, "spec", "template", "spec", list)
				}
			}
			return built.Object
		}
		want := build(t, string(text))
		for name, empty := range map[string][]string{
			"no empty lists": nil,
			"empty lists":    {"initContainers", "volumes"},
		} {
			for _, field := range empty {
				require.NoError(t, unstructured.SetNestedSlice(set.Object, []any{}, "spec", "template", "spec", field))
			}
			compact, err := json.Marshal(set.Object)
			require.NoError(t, err)
			indented, err := json.MarshalIndent(set.Object, "", "  ")
			require.NoError(t, err)
			flow := strings.NewReplacer(`"`, ``, `,`, `, `, `:`, `: `).Replace(string(compact))
			flow = strings.NewReplacer("hashicorp/vault: ", "hashicorp/vault:", "logs: 1", "logs:1").Replace(flow)
			for notation, vault := range map[string]string{"JSON": string(compact), "indented JSON": string(indented), "flow style": flow} {
				t.Run(strings.Join(components, " ")+"/"+name+"/"+notation, func(t *testing.T) {
					assert.Equal(t, want, build(t, vault))
				})
			}
		}
	}
}

// listOf returns a list of the pod's.
func listOf(set *unstructured.Unstructured, field string) ([]any, error) {
	items, _, err := unstructured.NestedSlice(set.Object, "spec", "template", "spec", field)
	return items, err
}

const settingsOf = `{apiVersion: v1, kind: ConfigMap,
	metadata: {name: vault-unseal-sidecar-settings, annotations: {config.kubernetes.io/local-config: "true"}},
	data: {namespace: NAMESPACE, statefulSet: SET, serviceAccount: ACCOUNT, esoNamespace: eso, esoDeployment: eso-home, esoName: eso-name,
		ingressNamespace: front, clientNamespace: apps, monitoringNamespace: watch, monitoringRelease: prom}}`

// everything are all components of the rights.
const everything = "manifests/gate, manifests/replicas, manifests/routes, manifests/stores, manifests/externalsecrets, manifests/more, manifests/eviction, manifests/network"

// rightsOf renders all rights of a Vault, below a kustomization of the given fields.
func rightsOf(t *testing.T, env *testenv.Env, namespace, set, account, above string) []unstructured.Unstructured {
	t.Helper()
	out, err := env.Kustomize(writtenRights(t, env, namespace, set, account, everything, above))
	require.NoError(t, err)
	return objects(t, out)
}

// writtenRights writes a kustomization of rights, and one above it with further fields.
func writtenRights(t *testing.T, env *testenv.Env, namespace, set, account, components, above string) (dir string) {
	t.Helper()
	dir = copied(t, env)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "rights"), 0o755))
	settings := strings.NewReplacer("NAMESPACE", namespace, "SET", set, "ACCOUNT", account).Replace(settingsOf)
	for file, text := range map[string]string{
		"rights/settings.yaml":      settings,
		"rights/kustomization.yaml": "{resources: [settings.yaml], components: [" + strings.ReplaceAll(components, "manifests", "../manifests") + "]}",
		"kustomization.yaml":        "{resources: [rights], " + above + "}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	return dir
}

// What one Vault's rights apply must not be what another's have applied: the
// second would take the first one's bindings.
func TestManifests_TwoVaultsShareNoObject(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	seen := map[string]bool{}
	for namespace, set := range map[string]string{"vault-a": "vault", "vault-b": "open-bao"} {
		for _, o := range rightsOf(t, env, namespace, set, set+"-account", "") {
			id := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
			assert.False(t, seen[id], "%s is both Vaults'", id)
			seen[id] = true
		}
	}
	assert.NotEmpty(t, seen)
}

func TestManifests_NamesComeFromSettings(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	for name, above := range map[string]string{
		"as they are":    "",
		"below a prefix": "namePrefix: home-",
	} {
		t.Run(name, func(t *testing.T) {
			names := map[string]bool{}
			all := rightsOf(t, env, "vault-b", "open-bao", "bao", above)
			for _, o := range all {
				names[o.GetKind()+"/"+o.GetName()] = true
			}
			for _, o := range all {
				switch o.GetKind() {
				case "RoleBinding", "ClusterRoleBinding":
					kind, _, _ := unstructured.NestedString(o.Object, "roleRef", "kind")
					role, _, _ := unstructured.NestedString(o.Object, "roleRef", "name")
					assert.True(t, names[kind+"/"+role], "%s of %s", role, o.GetName())
					subjects, _, err := unstructured.NestedSlice(o.Object, "subjects")
					require.NoError(t, err)
					assert.Equal(t, []any{map[string]any{"kind": "ServiceAccount", "name": "bao", "namespace": "vault-b"}}, subjects, o.GetName())
				case "ValidatingAdmissionPolicyBinding":
					policy, _, _ := unstructured.NestedString(o.Object, "spec", "policyName")
					assert.True(t, names["ValidatingAdmissionPolicy/"+policy], "%s of %s", policy, o.GetName())
				}
				text, err := json.Marshal(o.Object)
				require.NoError(t, err)
				assert.NotRegexp(t, `"vault(-\d+)?["./]|security|external-secrets-|"external-secrets"`, string(text), "%s %s", o.GetKind(), o.GetName())
			}
		})
	}
}

// Flux's postBuild substitution takes whatever looks like a variable in braces, and a
// strict one fails for it.
func TestManifests_HaveNothingThatFluxSubstitutes(t *testing.T) {
	rendered, err := filepath.Glob("testdata/golden/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, rendered)
	for _, path := range rendered {
		if r, known := renderings[strings.TrimSuffix(filepath.Base(path), ".yaml")]; known && slices.Contains(charts, r.resource) {
			continue // the chart has such variables of its own
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "${", path)
	}
}

// What Flux's HelmRelease gives to the chart, and what it does to what the chart renders.
func TestHelmRelease_HasTheSidecarAndTheGate(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	release := objects(t, render(t, env, renderings["helmrelease"]))[0].Object
	server, _, err := unstructured.NestedMap(release, "spec", "values", "server")
	require.NoError(t, err)
	text, err := os.ReadFile(env.Source("patches/helm/values.yaml"))
	require.NoError(t, err)
	var values struct{ Server map[string]any }
	require.NoError(t, yaml.Unmarshal(text, &values))
	for _, field := range []string{"extraContainers", "volumes"} {
		want, err := json.Marshal(values.Server[field])
		require.NoError(t, err)
		got, err := json.Marshal(server[field])
		require.NoError(t, err)
		assert.JSONEq(t, string(want), string(got), field)
	}
	assert.Equal(t, map[string]any{"size": "1Gi"}, server["dataStorage"], "what was there stays")

	renderers, _, err := unstructured.NestedSlice(release, "spec", "postRenderers")
	require.NoError(t, err)
	require.Len(t, renderers, 1)
	kustomization := renderers[0].(map[string]any)["kustomize"].(map[string]any)
	kustomization["resources"] = []any{"vault.yaml"}
	rendered, err := json.Marshal(kustomization)
	require.NoError(t, err)
	for _, path := range charts {
		dir := copied(t, env)
		chart, err := os.ReadFile(filepath.Join("testdata", path))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "vault.yaml"), chart, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), rendered, 0o644))
		out, err := env.Kustomize(dir)
		require.NoError(t, err)
		gates, err := listOf(statefulSet(t, out), "readinessGates")
		require.NoError(t, err)
		assert.Equal(t, []any{map[string]any{"conditionType": gateType}}, gates, path)
	}
}

// A namespace above the rights moves what has to lie elsewhere: the build fails, and says why.
func TestManifests_NamespaceAboveFailsTheBuild(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	versions, err := filepath.Glob(env.Binary("servers/kustomize/*/kustomize"))
	require.NoError(t, err)
	require.NotEmpty(t, versions, "older versions of kustomize: make servers")
	for components, says := range map[string]string{
		everything: "it moves the Role of manifests/eviction out of the namespace of External Secrets",
		"manifests/network, manifests/monitoring": "it moves the dashboard of manifests/monitoring out of the namespace of Grafana",
	} {
		for _, namespace := range []string{"vault-b", "elsewhere"} {
			for place, above := range map[string]string{"in a kustomization above": "namespace: " + namespace, "beside the components": ""} {
				dir := writtenRights(t, env, "vault-b", "vault", "vault", components, above)
				if above == "" {
					file := filepath.Join(dir, "rights/kustomization.yaml")
					text, err := os.ReadFile(file)
					require.NoError(t, err)
					require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), "{", "{namespace: "+namespace+", ", 1)), 0o644))
				}
				for _, command := range append(versions, "kubectl") {
					t.Run(strings.Join([]string{says[13:30], namespace, place, filepath.Base(filepath.Dir(command))}, "/"), func(t *testing.T) {
						out, err := env.Kustomize(dir)
						if command != "kubectl" {
							var text []byte
							text, err = exec.Command(command, "build", dir).CombinedOutput()
							out = string(text)
						}
						require.Error(t, err, out)
						assert.Contains(t, out+err.Error(), says)
					})
				}
			}
		}
	}
}
