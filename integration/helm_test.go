package integration

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// helmTemplate renders our chart as helm does, with files of values.
func helmTemplate(t *testing.T, env *testenv.Env, values ...string) string {
	t.Helper()
	helm := env.Binary("servers/helm/helm")
	require.FileExists(t, helm, "make servers builds it")
	args := []string{"template", "vault", "testdata/chart/vault", "--namespace", "security"}
	for _, file := range values {
		args = append(args, "--values", file)
	}
	out, err := exec.Command(helm, args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		require.NoError(t, err, "%s", exit.Stderr)
	}
	require.NoError(t, err)
	return string(out)
}

// unmounted returns the mounts of a pod for which it has no volume, as the API server
// would: spec.containers[0].volumeMounts[1].name: Not found.
func unmounted(t *testing.T, set *unstructured.Unstructured) (out []string) {
	t.Helper()
	_, volumes := list(t, set, "volumes", "name")
	claims, _, err := unstructured.NestedSlice(set.Object, "spec", "volumeClaimTemplates")
	require.NoError(t, err)
	for _, claim := range claims {
		name, _, _ := unstructured.NestedString(claim.(map[string]any), "metadata", "name")
		volumes = append(volumes, name)
	}
	containers, _ := list(t, set, "containers", "name")
	for _, c := range containers {
		for _, mount := range c.(map[string]any)["volumeMounts"].([]any) {
			if name := mount.(map[string]any)["name"].(string); !slices.Contains(volumes, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

const ownVolumes = `server:
  volumes: [{name: plugins, emptyDir: {}}]
  volumeMounts: [{name: plugins, mountPath: /plugins}]
`

// Helm replaces a list: volumes of one's own stand in a copy of our values.
func TestHelmValues_GiveTheChartTheSidecar(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	ours := env.Source("patches/helm/values.yaml")
	set := statefulSet(t, helmTemplate(t, env, ours))
	containers, names := list(t, set, "containers", "name")
	assert.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	assert.Empty(t, unmounted(t, set))
	want, patched := list(t, statefulSet(t, render(t, env, renderings["chart-claims"])), "containers", "name")
	require.Equal(t, names, patched)
	for _, field := range []string{"image", "volumeMounts", "securityContext", "resources"} {
		assert.Equal(t, want[1].(map[string]any)[field], containers[1].(map[string]any)[field], field)
	}

	own := filepath.Join(t.TempDir(), "own.yaml")
	require.NoError(t, os.WriteFile(own, []byte(ownVolumes), 0o644))
	assert.Equal(t, []string{"plugins"}, unmounted(t, statefulSet(t, helmTemplate(t, env, own, ours))))

	text, err := os.ReadFile(ours)
	require.NoError(t, err)
	var values, mine struct {
		Server map[string]any `json:"server"`
	}
	require.NoError(t, yaml.Unmarshal(text, &values))
	require.NoError(t, yaml.Unmarshal([]byte(ownVolumes), &mine))
	values.Server["volumes"] = append(values.Server["volumes"].([]any), mine.Server["volumes"].([]any)...)
	copied, err := json.Marshal(values)
	require.NoError(t, err)
	both := filepath.Join(t.TempDir(), "copy.yaml")
	require.NoError(t, os.WriteFile(both, copied, 0o644))
	set = statefulSet(t, helmTemplate(t, env, own, both))
	assert.Empty(t, unmounted(t, set))
	_, names = list(t, set, "containers", "name")
	assert.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
}

// As Flux does it: the values of the release for helm, what that renders for kustomize.
func TestHelmRelease_RendersTheSidecarAndTheGate(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	release := objects(t, render(t, env, renderings["helmrelease"]))[0].Object
	values, _, err := unstructured.NestedMap(release, "spec", "values")
	require.NoError(t, err)
	renderers, _, err := unstructured.NestedSlice(release, "spec", "postRenderers")
	require.NoError(t, err)
	require.Len(t, renderers, 1)
	dir := t.TempDir()
	kustomization := renderers[0].(map[string]any)["kustomize"].(map[string]any)
	kustomization["resources"] = []any{"vault.yaml"}
	for file, content := range map[string]any{"values.yaml": values, "kustomization.yaml": kustomization} {
		text, err := json.Marshal(content)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), text, 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vault.yaml"), []byte(helmTemplate(t, env, filepath.Join(dir, "values.yaml"))), 0o644))
	out, err := env.Kustomize(dir)
	require.NoError(t, err)
	set := statefulSet(t, out)
	_, names := list(t, set, "containers", "name")
	assert.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	assert.Empty(t, unmounted(t, set))
	_, gates := list(t, set, "readinessGates", "conditionType")
	assert.Equal(t, []string{gateType}, gates)
	claims, _, err := unstructured.NestedSlice(set.Object, "spec", "volumeClaimTemplates")
	require.NoError(t, err)
	size, _, _ := unstructured.NestedString(claims[0].(map[string]any), "spec", "resources", "requests", "storage")
	assert.Equal(t, "1Gi", size, "the release's own values stay")
}

// As Argo CD does it, with a chart that is at hand in the place of the one in the README.
func TestReadme_ArgoCDRendersTheChart(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	var kustomization map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(readmeYAML(t, "patches/README.md")[1]), &kustomization))
	chart := kustomization["helmCharts"].([]any)[0].(map[string]any)
	delete(chart, "repo")
	delete(chart, "version")
	kustomization["helmGlobals"] = map[string]any{"chartHome": "charts"}
	component := kustomization["components"].([]any)[0].(string)
	require.Contains(t, component, "//patches?ref=")
	kustomization["components"] = []any{"patches"}
	dir := copied(t, env)
	require.NoError(t, os.CopyFS(filepath.Join(dir, "charts"), os.DirFS("testdata/chart")))
	text, err := json.Marshal(kustomization)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "values.yaml"), []byte(ownVolumes), 0o644))
	out, err := exec.Command(env.Binary("servers/kubectl"), "kustomize", "--enable-helm",
		"--helm-command", env.Binary("servers/helm/helm"), dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	set := statefulSet(t, string(out))
	_, names := list(t, set, "containers", "name")
	assert.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	_, gates := list(t, set, "readinessGates", "conditionType")
	assert.Equal(t, []string{gateType}, gates)
	assert.Empty(t, unmounted(t, set), "the values of one's own stay")
	for _, o := range objects(t, string(out)) {
		assert.NotEqual(t, "Pod", o.GetKind(), "the chart's test is left out")
	}
}
