package integration

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// documents returns the repository's files of Markdown, below its root.
func documents(t *testing.T) (names []string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "bin" || path == ".git"):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			names = append(names, path)
		}
		return nil
	}))
	require.Contains(t, names, "sidecar/README.md")
	return names
}

// readmeYAML returns a README's blocks of YAML.
func readmeYAML(t *testing.T, name string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
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
	return versionIn(t, l.Source(""))
}

func versionIn(t *testing.T, root string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "patches/pod/pod.yaml"))
	require.NoError(t, err)
	found := regexp.MustCompile(`image: ghcr\.io/alybadawy/vault-unseal-sidecar:(v\d+\.\d+\.\d+(?:-[\w.-]+)?)\n`).FindSubmatch(text)
	require.NotNil(t, found, "a version, and no tag that changes")
	return string(found[1])
}

// What the READMEs have one write into a kustomization builds, with the
// repository's folders in the place of their addresses.
func TestTheReadmesKustomizationsBuild(t *testing.T) {
	l := newEnv(t)
	dir := copied(t, l)
	address := regexp.MustCompile(`https://github\.com/alybadawy/vault-unseal-sidecar//(\S+)\?ref=` + regexp.QuoteMeta(versionOf(t, l)))
	builds := func(name, beside, of, kustomization string) string {
		place := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(place, 0o755))
		text, err := os.ReadFile(of)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(place, beside), text, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(place, "kustomization.yaml"), []byte(address.ReplaceAllString(kustomization, "../$1")), 0o644))
		out, err := l.Kustomize(place)
		require.NoError(t, err)
		return out
	}
	all := 0
	for _, name := range documents(t) {
		all += len(readmeYAML(t, name))
	}
	require.Equal(t, 8, all, "each is built here, but for the one with a chart in it (TestReadme_ArgoCDRendersTheChart)")
	start, rights := readmeYAML(t, "README.md"), readmeYAML(t, "manifests/README.md")
	pod, options := readmeYAML(t, "patches/README.md"), readmeYAML(t, "sidecar/README.md")
	require.Len(t, start, 1)
	require.Len(t, rights, 1)
	require.Len(t, pod, 4)
	require.Len(t, options, 2)

	granted, err := l.Kustomize(l.Source("manifests"))
	require.NoError(t, err)
	assert.Equal(t, granted, builds("rights", "settings.yaml", l.Source("manifests/settings.yaml"), rights[0]))

	set := statefulSet(t, builds("vault", "vault.yaml", "testdata/vault-chart.yaml", start[0]+pod[0]))
	containers, names := list(t, set, "containers", "name")
	require.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	ours := containers[1].(map[string]any)
	assert.Equal(t, "REGISTRY/vault-unseal-sidecar:"+versionOf(t, l), ours["image"])
	assert.Contains(t, ours["env"], map[string]any{"name": "PROVE_INTERVAL", "value": "24h"})

	var kinds []string
	for _, o := range objects(t, pod[2]) {
		kinds = append(kinds, o.GetKind()+" "+o.GetName())
		if o.GetName() == "vault-unseal-sidecar-rights" {
			path, _, _ := unstructured.NestedString(o.Object, "spec", "path")
			assert.FileExists(t, filepath.Join(dir, path, "kustomization.yaml"))
		}
	}
	assert.Equal(t, []string{"GitRepository vault-unseal-sidecar", "Kustomization vault-unseal-sidecar-rights", "Kustomization vault"}, kinds)

	assert.Contains(t, builds("helmrelease", "helmrelease.yaml", "testdata/helmrelease.yaml", pod[3]), "conditionType: "+gateType)

	set = statefulSet(t, builds("socket", "vault.yaml", "testdata/vault-chart.yaml", start[0]+options[0]))
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

	volumes, _ := list(t, statefulSet(t, builds("items", "vault.yaml", "testdata/vault-chart.yaml", start[0]+options[1])), "volumes", "name")
	var secret map[string]any
	for _, v := range volumes {
		if v := v.(map[string]any); v["name"] == "unseal-key" {
			secret = v["secret"].(map[string]any)
		}
	}
	assert.Equal(t, "vault-unseal-key", secret["secretName"])
	assert.Equal(t, []any{map[string]any{"key": "unseal-key", "path": "unseal-key"}}, secret["items"])
}

var (
	codeFence  = regexp.MustCompile("(?ms)^```.*?^```$")
	mdHeading  = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	inlineCode = regexp.MustCompile("`[^`\n]+`")
	mdLink     = regexp.MustCompile(`\[([^\]\n]*)\]\(([^)\s]+)\)`)
)

// anchors returns where GitHub lets one link into a file of Markdown.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, found := range mdHeading.FindAllStringSubmatch(codeFence.ReplaceAllString(text, ""), -1) {
		title := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, mdLink.ReplaceAllString(found[1], "$1"))
		anchor := title
		for n := 1; out[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", title, n)
		}
		out[anchor] = true
	}
	return out
}

// Every link within the repository leads to a file that is there, and to a
// heading in it; and every README can be found from the first one.
func TestReadme_LinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	linked := map[string]bool{"README.md": true}
	for _, name := range documents(t) {
		text, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		prose := inlineCode.ReplaceAllString(codeFence.ReplaceAllString(string(text), ""), "")
		for _, found := range mdLink.FindAllStringSubmatch(prose, -1) {
			if strings.Contains(found[2], "://") {
				continue
			}
			path, anchor, anchored := strings.Cut(found[2], "#")
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), path)
			}
			if name == "README.md" {
				linked[target] = true
			}
			file, err := os.ReadFile(filepath.Join("..", target))
			if assert.NoError(t, err, "%s: %s", name, found[0]) && anchored {
				assert.Contains(t, anchors(string(file)), anchor, "%s: %s", name, found[0])
			}
		}
	}
	for _, name := range documents(t) {
		if filepath.Base(name) == "README.md" {
			assert.True(t, linked[name], "README.md has no link to %s", name)
		}
	}
}
