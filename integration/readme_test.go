package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// readmeYAML returns the README's blocks of YAML.
func readmeYAML(t *testing.T, l *testenv.Env) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(l.Source("README.md"))
	require.NoError(t, err)
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, found := strings.Cut(part, "```")
		require.True(t, found)
		blocks = append(blocks, block)
	}
	return blocks
}

// versionOf returns the version of the image that patches puts into the pod.
func versionOf(t *testing.T, l *testenv.Env) string {
	t.Helper()
	text, err := os.ReadFile(l.Source("patches/pod/pod.yaml"))
	require.NoError(t, err)
	found := regexp.MustCompile(`image: ghcr\.io/alybadawy/vault-unseal-sidecar:(v\d+\.\d+\.\d+)\n`).FindSubmatch(text)
	require.NotNil(t, found, "a version, and no tag that changes")
	return string(found[1])
}

// A branch, or a tag that changes, brings what nobody has looked at beside the key.
// All that is referred to is of one version.
func TestEveryReferenceIsToOneVersion(t *testing.T) {
	t.Parallel()
	l, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	references := regexp.MustCompile(`vault-unseal-sidecar:([a-z\d][\w.-]*)|[?]ref=([\w.-]+)|(?:newTag|targetRevision|ref: \{\w+): ([\w.-]+)|--branch (\S+)`)
	seen := 0
	look := func(name string) {
		text, err := os.ReadFile(l.Source(name))
		require.NoError(t, err)
		for _, found := range references.FindAllStringSubmatch(string(text), -1) {
			seen++
			assert.Equal(t, versionOf(t, l), strings.Join(found[1:], ""), "%s: %s", name, found[0])
		}
	}
	look("README.md")
	for _, dir := range []string{"manifests", "patches", "scripts"} {
		require.NoError(t, filepath.WalkDir(l.Source(dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				look(strings.TrimPrefix(path, l.Source("")+"/"))
			}
			return err
		}))
	}
	assert.Greater(t, seen, 15)
}

// What the README has one write into a kustomization builds, with the
// repository's folders in the place of their addresses.
func TestTheReadmesKustomizationsBuild(t *testing.T) {
	l, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	dir := copied(t, l)
	address := regexp.MustCompile(`https://github\.com/alybadawy/vault-unseal-sidecar//(\S+)\?ref=` + regexp.QuoteMeta(versionOf(t, l)))
	builds := func(name, beside, of, kustomization string) string {
		place, err := l.Mkdir(filepath.Join(t.Name(), name))
		require.NoError(t, err)
		text, err := os.ReadFile(of)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(place, beside), text, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(place, "kustomization.yaml"), []byte(address.ReplaceAllString(kustomization, "../$1")), 0o644))
		out, err := l.Kustomize(place)
		require.NoError(t, err)
		return out
	}
	blocks := readmeYAML(t, l)
	require.Len(t, blocks, 6, "each is built here")

	all, err := l.Kustomize(l.Source("manifests"))
	require.NoError(t, err)
	assert.Equal(t, all, builds("rights", "settings.yaml", l.Source("manifests/settings.yaml"), blocks[0]))

	set := statefulSet(t, builds("vault", "vault.yaml", "testdata/vault-chart.yaml", blocks[1]+blocks[2]))
	containers, names := list(t, set, "containers", "name")
	require.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	ours := containers[1].(map[string]any)
	assert.Equal(t, "REGISTRY/vault-unseal-sidecar:"+versionOf(t, l), ours["image"])
	assert.Contains(t, ours["env"], map[string]any{"name": "PROVE_INTERVAL", "value": "24h"})

	var kinds []string
	for _, o := range objects(t, blocks[3]) {
		kinds = append(kinds, o.GetKind()+" "+o.GetName())
		if o.GetName() == "vault-unseal-sidecar-rights" {
			path, _, _ := unstructured.NestedString(o.Object, "spec", "path")
			assert.FileExists(t, filepath.Join(dir, path, "kustomization.yaml"))
		}
	}
	assert.Equal(t, []string{"GitRepository vault-unseal-sidecar", "Kustomization vault-unseal-sidecar-rights", "Kustomization vault"}, kinds)

	set = statefulSet(t, builds("socket", "vault.yaml", "testdata/vault-chart.yaml", blocks[1]+blocks[4]))
	containers, names = list(t, set, "containers", "name")
	require.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	for _, c := range containers {
		assert.Contains(t, c.(map[string]any)["volumeMounts"], map[string]any{"name": "vault-socket", "mountPath": "/run/vault"})
	}
	ours = containers[1].(map[string]any)
	assert.Contains(t, ours["env"], map[string]any{"name": "VAULT_ADDR", "value": "unix:///run/vault/vault.sock"})
	assert.NotEmpty(t, ours["image"], "the patch adds to what is there")
	_, names = list(t, set, "volumes", "name")
	assert.Contains(t, names, "vault-socket")

	volumes, _ := list(t, statefulSet(t, builds("items", "vault.yaml", "testdata/vault-chart.yaml", blocks[1]+blocks[5])), "volumes", "name")
	var secret map[string]any
	for _, v := range volumes {
		if v := v.(map[string]any); v["name"] == "unseal-key" {
			secret = v["secret"].(map[string]any)
		}
	}
	assert.Equal(t, "vault-unseal-key", secret["secretName"])
	assert.Equal(t, []any{map[string]any{"key": "unseal-key", "path": "unseal-key"}}, secret["items"])
}
