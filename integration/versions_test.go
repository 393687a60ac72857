package integration

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// ofImage is an image of ours: where it is, and its version.
	ofImage = regexp.MustCompile(`([\w.-]+(?:/[\w-]+)?/)?vault-unseal-sidecar([:@][a-z\d][\w.:@-]*)`)
	// ofVersion are the other places of a version.
	ofVersion = regexp.MustCompile(`vault-unseal-sidecar//[\w/-]+([^\s\x60]*)|(?:newTag|targetRevision|\{tag): *([\w.-]+)|refs/tags/(v\d[\w.-]*)|git clone (?:--branch (\S+))?`)
	ofOthers  = regexp.MustCompile(`(?m)^[ \t-]*image: *"?([\w./-]+(?:[:@][^\s"]*)?)"?|\b(?:FROM|docker pull|ctr images pull) (?:--\S+ )?([\w./-]+[:/][^\s]*)`)
)

// misreferences returns what a text refers to that is not of the version.
func misreferences(text, version string) (wrong []string, seen int) {
	for _, found := range ofImage.FindAllStringSubmatch(text, -1) {
		seen++
		registry, tag := found[1], found[2]
		if tag != ":"+version && !strings.HasPrefix(tag, ":"+version+"@sha256:") ||
			!slices.Contains([]string{"", "ghcr.io/alybadawy/", "REGISTRY/"}, registry) {
			wrong = append(wrong, found[0])
		}
	}
	for _, found := range ofVersion.FindAllStringSubmatch(text, -1) {
		seen++
		if got := strings.Join(found[1:], ""); got != version && got != "?ref="+version {
			wrong = append(wrong, found[0])
		}
	}
	for _, found := range ofOthers.FindAllStringSubmatch(text, -1) {
		seen++
		image := found[1] + found[2]
		_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		if !tagged && !strings.Contains(image, "@sha256:") || strings.HasPrefix(tag, "latest") {
			wrong = append(wrong, found[0])
		}
	}
	return wrong, seen
}

// userFiles returns what a person or a node reads, below a root.
func userFiles(t *testing.T, root string) (paths []string) {
	t.Helper()
	for _, place := range []string{"README.md", "Dockerfile", "Makefile", ".github", "integration/README.md", "integration/testdata/golden", "manifests", "patches", "scripts", "sidecar/README.md"} {
		require.NoError(t, fs.WalkDir(os.DirFS(root), place, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				paths = append(paths, path)
			}
			return err
		}))
	}
	return paths
}

func assertOneVersion(t *testing.T, root string) {
	t.Helper()
	version, all := versionIn(t, root), 0
	for _, path := range userFiles(t, root) {
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		wrong, seen := misreferences(string(text), version)
		assert.Empty(t, wrong, path)
		all += seen
	}
	assert.Greater(t, all, 30)
}

// A branch, or a tag that changes, brings what nobody has looked at beside the key.
// All that is referred to is of one version, under one name.
func TestEveryReferenceIsToOneVersion(t *testing.T) {
	t.Parallel()
	assertOneVersion(t, newEnv(t).Source(""))
}

func TestEveryReferenceIsToOneVersion_OthersAreFound(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"image: ghcr.io/alybadawy/vault-unseal-sidecar:latest",
		"image: ghcr.io/alybadawy/vault-unseal-sidecar",
		"image: docker.io/alybadawy/vault-unseal-sidecar:v1.2.3",
		"image: ghcr.io/alybadawy/vault-unseal-sidecar:v1.2.30",
		"run `docker pull ghcr.io/alybadawy/vault-unseal-sidecar:main`",
		"scripts/migrate --image ghcr.io/alybadawy/vault-unseal-sidecar:v1.2.2",
		"  - https://github.com/alybadawy/vault-unseal-sidecar//patches",
		"  - https://github.com/alybadawy/vault-unseal-sidecar//patches/any?ref=main",
		"git clone https://github.com/alybadawy/vault-unseal-sidecar",
		"git clone --branch main https://github.com/alybadawy/vault-unseal-sidecar",
		"release.yml@refs/tags/v1.2.2", "newTag: latest", "targetRevision: HEAD", "ref: {tag: v1.2.4}",
		"          image: hashicorp/vault", "  - image: busybox:latest", "FROM --platform=linux/amd64 docker.io/library/golang AS build",
	} {
		wrong, _ := misreferences(text, "v1.2.3")
		assert.NotEmpty(t, wrong, text)
	}
	for _, text := range []string{
		"image: ghcr.io/alybadawy/vault-unseal-sidecar:v1.2.3", "image: ghcr.io/alybadawy/vault-unseal-sidecar:v1.2.3@sha256:0123",
		"  - https://github.com/alybadawy/vault-unseal-sidecar//patches?ref=v1.2.3", "the component `https://github.com/alybadawy/vault-unseal-sidecar//patches?ref=v1.2.3`", "newTag: v1.2.3", "image: busybox:1.37",
	} {
		wrong, seen := misreferences(text, "v1.2.3")
		assert.Empty(t, wrong, text)
		assert.NotZero(t, seen, text)
	}
}

// A release sets the version in one place.
func TestVersion_IsSetEverywhere(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	before := versionOf(t, env)
	for _, version := range []string{"v98.7.6", "v98.7.6-rc.1"} {
		root := t.TempDir()
		for _, path := range userFiles(t, env.Source("")) {
			info, err := os.Stat(env.Source(path))
			require.NoError(t, err)
			text, err := os.ReadFile(env.Source(path))
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(root, path), text, info.Mode()))
		}
		out, err := exec.Command(filepath.Join(root, "scripts/version"), version).CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), fmt.Sprintf("from %s to %s: commit it, and tag the commit %s", before, version, version))
		assert.Equal(t, version, versionIn(t, root))
		assertOneVersion(t, root)
		old := regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(before) + `($|[^\w.-])`)
		for _, path := range userFiles(t, root) {
			text, err := os.ReadFile(filepath.Join(root, path))
			require.NoError(t, err)
			assert.False(t, old.Match(text), "%s still has %s", path, before)
		}
	}
	for _, wrong := range [][]string{nil, {"1.2.3"}, {"latest"}, {"v1.2"}, {"v1.2.3/x"}, {"v1.2.3", "v1.2.4"}} {
		out, err := exec.Command(env.Source("scripts/version"), wrong...).CombinedOutput()
		require.Error(t, err, "%v", wrong)
		assert.Contains(t, string(out), "v1.2.3")
	}
}
