package node

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A releaseBuilder makes releases of what is in the working tree, each in a clone of
// its own, on the stand-ins for the base images.
type releaseBuilder struct {
	*testing.T
	root, dir, key, flags string
}

const releaseTag = "v0.0.1-test"

func newReleaseBuilder(t *testing.T) releaseBuilder {
	t.Helper()
	require.Zero(t, os.Getuid(), "images are built as root: run make e2e as root")
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	w := releaseBuilder{T: t, root: root, dir: t.TempDir()}
	w.key = filepath.Join(w.dir, "key")
	w.mustRun(root, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", w.key)
	images := filepath.Join(root, "integration/node/images.sh")
	w.flags = strings.TrimSpace(w.mustRun(root, images, filepath.Join(root, "bin/node"), "golang", "flags"))

	repo := filepath.Join(w.dir, "repo")
	require.NoError(t, os.Mkdir(repo, 0o755))
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		if name := e.Name(); name != ".git" && name != "bin" && name != "dist" {
			w.mustRun(root, "cp", "-r", name, repo)
		}
	}
	w.mustRun(repo, "scripts/version", releaseTag)
	w.mustRun(repo, "git", "init", "--quiet")
	w.mustRun(repo, "git", "add", "--all")
	w.mustRun(repo, "git", "commit", "--quiet", "--message", "all")
	w.mustRun(repo, "git", "tag", releaseTag)
	return w
}

// tryRun runs a program in a folder and returns all that it printed.
func (w releaseBuilder) tryRun(dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(w.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STORAGE_DRIVER=overlay", "BUILDAH_ISOLATION=chroot", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=nobody", "GIT_AUTHOR_EMAIL=nobody@example.com", "GIT_COMMITTER_NAME=nobody", "GIT_COMMITTER_EMAIL=nobody@example.com")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustRun runs one that must succeed.
func (w releaseBuilder) mustRun(dir, program string, args ...string) string {
	w.Helper()
	out, err := w.tryRun(dir, program, args...)
	require.NoError(w, err, "%s %s: %s", program, strings.Join(args, " "), out)
	return out
}

// build makes one in a clone of that name, and returns where it is.
func (w releaseBuilder) build(name string, args ...string) string {
	w.Helper()
	clone := filepath.Join(w.dir, name)
	w.mustRun(w.dir, "git", "clone", "--quiet", "repo", clone)
	require.NoError(w, os.Mkdir(filepath.Join(clone, "bin"), 0o755))
	require.NoError(w, os.Symlink(filepath.Join(w.root, "bin/servers"), filepath.Join(clone, "bin/servers")))
	store := filepath.Join(w.root, "bin/node")
	w.Log(w.mustRun(clone, "make", append([]string{"--no-print-directory", "release", "SIGN_KEY=" + w.key, "IMAGE_FLAGS=" + w.flags,
		fmt.Sprintf("BUILDER=buildah --root %s/buildah --runroot %s/buildah-run", store, store)}, args...)...))
	return filepath.Join(clone, "bin/release")
}

// readFiles reads all files below a folder.
func readFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[strings.TrimPrefix(path, dir+"/")], err = os.ReadFile(path)
		return err
	}))
	return files
}

// unpack reads all files of an archive.
func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files
		}
		require.NoError(t, err)
		if header.Typeflag == tar.TypeReg {
			files[header.Name], err = io.ReadAll(r)
			require.NoError(t, err)
		}
	}
}

func sha256Hex(text []byte) string { return fmt.Sprintf("%x", sha256.Sum256(text)) }

func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, into))
}

// Who has nothing but the tag can make every byte of a release again.
func TestRelease_IsReproducibleFromItsTag(t *testing.T) {
	w := newReleaseBuilder(t)
	dir := w.build("here")
	files := readFiles(t, dir)
	again := readFiles(t, w.build("another/place"))
	require.Len(t, again, len(files))
	for name, text := range files {
		assert.Equal(t, sha256Hex(text), sha256Hex(again[name]), "%s, made twice", name)
	}
	plan := w.mustRun(filepath.Join(w.dir, "here"), "env", "IMAGE=ghcr.io/SomeBody/sidecar", "scripts/release", "--dry-run")
	assert.Contains(t, plan, "would make the release "+releaseTag)
	assert.Contains(t, plan, "with the image ghcr.io/somebody/sidecar,", "an image's name has no capitals, an owner's has")
	assert.Equal(t, len(files), len(readFiles(t, dir)), "files after a dry run")

	r := builtRelease{w, dir, files}
	t.Run("checks offline", func(t *testing.T) { r.assertVerifiableOffline(t) })
	t.Run("a changed file is found", func(t *testing.T) { r.assertChangeDetected(t) })
	t.Run("its files", func(t *testing.T) { r.assertFiles(t) })
	t.Run("its binaries for macOS", func(t *testing.T) { r.assertMachO(t) })
	t.Run("its images", func(t *testing.T) { r.assertImages(t) })
	t.Run("its provenance", func(t *testing.T) { r.assertProvenance(t) })
	t.Run("its SBOMs", func(t *testing.T) { r.assertSBOMs(t) })
	t.Run("its publication", func(t *testing.T) { r.assertPublishable(t) })
	t.Run("its manifests", func(t *testing.T) { r.assertManifests(t) })
}
