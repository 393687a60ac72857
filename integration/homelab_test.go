package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// objects returns all that was rendered.
func objects(t *testing.T, text string) (out []unstructured.Unstructured) {
	t.Helper()
	for _, document := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
		var o unstructured.Unstructured
		require.NoError(t, yaml.Unmarshal([]byte(document), &o.Object))
		out = append(out, o)
	}
	return out
}

// walk calls see for each text in a value, with the keys that lead to it.
func walk(value any, path string, see func(path, text string)) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			walk(inner, path+"."+key, see)
		}
	case []any:
		for _, inner := range v {
			walk(inner, path, see)
		}
	case string:
		see(path, v)
	}
}

// An edit of settings.yaml is enough: no old name is left in what is rendered.
func TestHomelab_AllNamesComeFromSettings(t *testing.T) {
	env := newEnv(t)
	dir := copied(t, env)
	file := filepath.Join(dir, "manifests/homelab/settings.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var settings struct {
		Data map[string]string `json:"data"`
	}
	require.NoError(t, yaml.Unmarshal(text, &settings))
	edited := map[string]string{}
	for key := range settings.Data {
		edited[key] = "my-" + strings.ToLower(key)
	}
	edited["storage"], edited["host"] = "7Gi", "vault.example.org"
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if key, _, found := strings.Cut(strings.TrimSpace(line), ":"); found && edited[key] != "" && settings.Data[key] != "" {
			lines[i] = "  " + key + ": " + edited[key]
		}
	}
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644))
	rendered, err := env.Kustomize(filepath.Join(dir, "manifests/homelab"))
	require.NoError(t, err)

	// Vault is the name of much beside these.
	named := map[string]func(path string) bool{
		"serviceAccount": func(path string) bool {
			return strings.HasSuffix(path, ".serviceAccountName") || strings.HasSuffix(path, "ServiceAccount.metadata.name") || strings.HasSuffix(path, ".subjects.name")
		},
		"statefulSet": func(path string) bool { return path == "StatefulSet.metadata.name" },
		"container":   func(path string) bool { return path == "StatefulSet.spec.template.spec.containers.name" },
	}
	found := map[string]bool{}
	for _, o := range objects(t, rendered) {
		walk(o.Object, o.GetKind(), func(path, text string) {
			for key, old := range settings.Data {
				is := func(name string) bool {
					return text == name || text == strconv.Quote(name) || strings.Contains(text, ":"+name+":") || strings.Contains(text, "."+name+".")
				}
				found[key] = found[key] || is(edited[key])
				if named[key] != nil && !named[key](path) && text == old {
					continue
				}
				assert.False(t, is(old), "%s %s: the %s is still %s in %q", path, o.GetName(), key, old, text)
			}
			if path == "StatefulSet.spec.template.spec.containers.env.value" && text == edited["esoNamespace"] {
				found["ESO_NAMESPACE"] = true
			}
		})
	}
	assert.True(t, found["ESO_NAMESPACE"], "the sidecar looks for External Secrets there")
	for key := range settings.Data {
		switch key {
		case "esoName", "ingressNamespace", "clientNamespace", "monitoringNamespace", "monitoringRelease": // of components that homelab does not use
		default:
			assert.True(t, found[key], "%s is used", key)
		}
	}
}

// The native sidecar has the values of the settings, wherever it is named.
func TestHomelab_NativeSidecarKeepsSettings(t *testing.T) {
	env := newEnv(t)
	dir := copied(t, env)
	seen := func(place string) {
		t.Helper()
		text, err := env.Kustomize(filepath.Join(dir, place))
		require.NoError(t, err)
		set := statefulSet(t, text)
		_, names := list(t, set, "containers", "name")
		assert.Equal(t, []string{"vault"}, names, place)
		inits, names := list(t, set, "initContainers", "name")
		require.Equal(t, []string{"vault-unseal-sidecar"}, names, place)
		assert.Contains(t, inits[0].(map[string]any)["env"], map[string]any{"name": "ESO_NAMESPACE", "value": "external-secrets"}, place)
	}
	over := filepath.Join(dir, "over")
	require.NoError(t, os.Mkdir(over, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(over, "kustomization.yaml"), []byte("resources: [../manifests/homelab]\ncomponents: [../patches/native]\n"), 0o644))
	seen("over")

	file := filepath.Join(dir, "manifests/homelab/kustomization.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	within := strings.Replace(string(text), "\nreplacements:", "\n  - ../../patches/native\nreplacements:", 1)
	require.NotEqual(t, string(text), within)
	require.NoError(t, os.WriteFile(file, []byte(within), 0o644))
	seen("manifests/homelab")
}
