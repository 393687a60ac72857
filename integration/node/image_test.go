package node

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// buildah works on the images that images.sh built.
func (n *node) buildah(args ...string) string {
	n.Helper()
	store := filepath.Join(machine.root, "bin/node")
	out, err := n.run("", "env", append([]string{"STORAGE_DRIVER=overlay", "BUILDAH_ISOLATION=chroot", "buildah",
		"--root", filepath.Join(store, "buildah"), "--runroot", filepath.Join(store, "buildah-run")}, args...)...)
	require.NoError(n, err)
	return strings.TrimSpace(out)
}

// What the Dockerfile makes: one binary, the same as make build's, of nobody's,
// with nothing beside it, the same each time.
func TestImage_HoldsOneReproducibleBinary(t *testing.T) {
	n := theNode(t)
	const name = "ghcr.io/alybadawy/vault-unseal-sidecar:"
	var image struct {
		OCIv1 struct {
			Config struct {
				User       string
				Entrypoint []string
				Env        []string
				Labels     map[string]string
			} `json:"config"`
			Architecture string
		}
		FromImageDigest string
	}
	require.NoError(t, json.Unmarshal([]byte(n.buildah("inspect", "--type", "image", name+"amd64")), &image))
	config := image.OCIv1.Config
	assert.Equal(t, "65532:65532", config.User)
	assert.Equal(t, []string{"/vault-unseal-sidecar"}, config.Entrypoint)
	for _, e := range config.Env {
		assert.True(t, strings.HasPrefix(e, "PATH="), e)
	}
	for _, label := range []string{"title", "description", "source", "version", "revision"} {
		assert.NotEmpty(t, config.Labels["org.opencontainers.image."+label], label)
	}

	files := func(tag string) (binary string) {
		container := n.buildah("from", "--pull=never", name+tag)
		t.Cleanup(func() { (&node{T: t, ctx: context.Background()}).buildah("rm", container) })
		root := n.buildah("mount", container)
		var names []string
		require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				names = append(names, strings.TrimPrefix(path, root))
			}
			return err
		}))
		assert.Equal(t, []string{"/etc/ssl/certs/ca-certificates.crt", "/vault-unseal-sidecar"}, names)
		return filepath.Join(root, "vault-unseal-sidecar")
	}
	sum := func(path string) [32]byte {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return sha256.Sum256(text)
	}
	assert.Equal(t, sum(filepath.Join(machine.root, "bin/vault-unseal-sidecar")), sum(files("amd64")), "make build's and the image's binary")
	out, err := n.run("", "qemu-aarch64-static", files("arm64"), "version")
	require.NoError(t, err)
	assert.Contains(t, out, "linux/arm64")

	before := image.FromImageDigest
	_, err = n.run("", filepath.Join(machine.root, "integration/node/images.sh"), filepath.Join(machine.root, "bin/node"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(n.buildah("inspect", "--type", "image", name+"amd64")), &image))
	assert.Equal(t, before, image.FromImageDigest, "the same commit makes the same image")
}
