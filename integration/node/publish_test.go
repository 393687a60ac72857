package node

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signRecorder is in the place of cosign, whose certificates come from Sigstore alone.
const signRecorder = `#!/bin/bash
echo "$*" >>DIR/calls
while (($#)); do [[ $1 != --bundle ]] || echo signature >"$2"; shift; done
`

// localSkopeo is skopeo, with the test's registry in the place of GitHub's.
const localSkopeo = `#!/bin/bash
exec SKOPEO "${@/ghcr.io/HOST}"
`

// assertPublishable has a registry take the release.
func (r builtRelease) assertPublishable(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	require.NoError(t, err, "install the package skopeo, or run make e2e, which does")
	blobs, digest := r.readImage(t, releaseName+".oci.tar")
	reg := newRegistry()
	server := httptest.NewServer(reg)
	t.Cleanup(server.Close)
	tools := t.TempDir()
	fill := strings.NewReplacer("DIR", tools, "SKOPEO", skopeo, "HOST", strings.TrimPrefix(server.URL, "http://"))
	for name, text := range map[string]string{
		"cosign": signRecorder, "skopeo": localSkopeo,
		".config/containers/registries.conf": "[[registry]]\nlocation = \"HOST\"\ninsecure = true\n",
	} {
		path := filepath.Join(tools, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(fill.Replace(text)), 0o755))
	}
	publish := func() (string, error) {
		return r.builder.tryRun(filepath.Dir(filepath.Dir(r.dir)), "env", "PATH="+tools+":"+os.Getenv("PATH"),
			"HOME="+tools, "IMAGE="+releaseImage, "GITHUB_REF_NAME=", "scripts/publish", "image")
	}

	out, err := publish()
	require.NoError(t, err, out)
	assert.Contains(t, out, "pushed "+releaseImage+":"+releaseTag+"@"+digest)
	assert.Equal(t, blobs[digest], reg.manifests[releaseTag], "the version is the image of both")
	for name, content := range blobs {
		there, found := reg.blobs[name]
		if !found {
			there, found = reg.manifests[name]
		}
		assert.True(t, found, name)
		assert.Equal(t, sha256Hex(content), sha256Hex(there), name)
	}
	calls, err := os.ReadFile(filepath.Join(tools, "calls"))
	require.NoError(t, err)
	for _, arch := range architectures {
		_, alone := r.readImage(t, releaseName+"-linux-"+arch+".oci.tar")
		assert.Contains(t, string(calls), "-linux-"+arch+".spdx.json "+releaseImage+"@"+alone+"\n", "the SBOM is of that image")
	}
	assert.Contains(t, string(calls), "sign --yes --recursive "+releaseImage+"@"+digest+"\n")
	assert.FileExists(t, filepath.Join(r.dir, "SHA256SUMS.sigstore.json"))

	out, err = publish()
	require.NoError(t, err, "again: %s", out)
	reg.manifests[releaseTag] = []byte("{}")
	out, err = publish()
	require.Error(t, err)
	assert.Contains(t, out, "already published with other content")
	require.NoError(t, os.Remove(filepath.Join(r.dir, "SHA256SUMS.sigstore.json")))
}
