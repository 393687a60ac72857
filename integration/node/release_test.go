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

// A workshop makes releases of what is in the working tree, each in a clone of
// its own, on the stand-ins for the base images.
type workshop struct {
	*testing.T
	root, dir, key, flags string
}

const releaseTag = "v0.0.1-test"

func openWorkshop(t *testing.T) workshop {
	t.Helper()
	require.Zero(t, os.Getuid(), "images are built as root: run make e2e as root")
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	w := workshop{T: t, root: root, dir: t.TempDir()}
	w.key = filepath.Join(w.dir, "key")
	w.do(root, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", w.key)
	images := filepath.Join(root, "integration/node/images.sh")
	w.flags = strings.TrimSpace(w.do(root, images, filepath.Join(root, "bin/node"), "golang", "flags"))

	repo := filepath.Join(w.dir, "repo")
	require.NoError(t, os.Mkdir(repo, 0o755))
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		if name := e.Name(); name != ".git" && name != "bin" && name != "dist" {
			w.do(root, "cp", "-r", name, repo)
		}
	}
	w.do(repo, "git", "init", "--quiet")
	w.do(repo, "git", "add", "--all")
	w.do(repo, "git", "commit", "--quiet", "--message", "all")
	w.do(repo, "git", "tag", releaseTag)
	return w
}

// try runs a program in a folder and returns all that it printed.
func (w workshop) try(dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(w.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STORAGE_DRIVER=overlay", "BUILDAH_ISOLATION=chroot", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=nobody", "GIT_AUTHOR_EMAIL=nobody@example.com", "GIT_COMMITTER_NAME=nobody", "GIT_COMMITTER_EMAIL=nobody@example.com")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// do runs one that must succeed.
func (w workshop) do(dir, program string, args ...string) string {
	w.Helper()
	out, err := w.try(dir, program, args...)
	require.NoError(w, err, "%s %s: %s", program, strings.Join(args, " "), out)
	return out
}

// release makes one in a clone of that name, and returns where it is.
func (w workshop) release(name string, args ...string) string {
	w.Helper()
	clone := filepath.Join(w.dir, name)
	w.do(w.dir, "git", "clone", "--quiet", "repo", clone)
	require.NoError(w, os.Mkdir(filepath.Join(clone, "bin"), 0o755))
	require.NoError(w, os.Symlink(filepath.Join(w.root, "bin/servers"), filepath.Join(clone, "bin/servers")))
	store := filepath.Join(w.root, "bin/node")
	w.Log(w.do(clone, "make", append([]string{"--no-print-directory", "release", "SIGN_KEY=" + w.key, "IMAGE_FLAGS=" + w.flags,
		fmt.Sprintf("BUILDER=buildah --root %s/buildah --runroot %s/buildah-run", store, store)}, args...)...))
	return filepath.Join(clone, "bin/release")
}

// contents reads all files below a folder.
func contents(t *testing.T, dir string) map[string][]byte {
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

// unpacked reads all files of an archive.
func unpacked(t *testing.T, archive []byte) map[string][]byte {
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

func sum(text []byte) string { return fmt.Sprintf("%x", sha256.Sum256(text)) }

func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, into))
}

// Who has nothing but the tag can make every byte of a release again.
func TestARelease(t *testing.T) {
	w := openWorkshop(t)
	dir := w.release("here")
	files := contents(t, dir)
	again := contents(t, w.release("another/place"))
	require.Len(t, again, len(files))
	for name, text := range files {
		assert.Equal(t, sum(text), sum(again[name]), "%s, made twice", name)
	}
	assert.Contains(t, w.do(filepath.Join(w.dir, "here"), "scripts/release", "--dry-run"), "would make the release "+releaseTag)
	assert.Equal(t, len(files), len(contents(t, dir)), "files after a dry run")

	r := made{w, dir, files}
	t.Run("checks offline", func(t *testing.T) { r.checksOffline(t) })
	t.Run("a changed file is found", func(t *testing.T) { r.changeIsFound(t) })
	t.Run("its images", func(t *testing.T) { r.images(t) })
	t.Run("its provenance", func(t *testing.T) { r.provenance(t) })
	t.Run("its SBOMs", func(t *testing.T) { r.sboms(t) })
	t.Run("its manifests", func(t *testing.T) { r.manifests(t) })
}
