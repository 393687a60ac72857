package keyfile_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// secretMount is a directory written the way the kubelet writes a Secret: the
// files of a version lie in a directory named after the time, ..data points to
// it, and the visible names are links through ..data.
type secretMount struct {
	t       *testing.T
	dir     string
	version int
}

func newMount(t *testing.T, files map[string]string) *secretMount {
	t.Helper()
	m := &secretMount{t: t, dir: filepath.Join(openDir(t), "key")}
	require.NoError(t, os.Mkdir(m.dir, 0o755))
	m.publish(files)
	return m
}

// publish replaces all files at once, in the order of atomic_writer.go.
func (m *secretMount) publish(files map[string]string) {
	m.t.Helper()
	m.version++
	old, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	stamped := fmt.Sprintf("..2026_01_02_03_04_05.%09d", m.version)
	require.NoError(m.t, os.Mkdir(filepath.Join(m.dir, stamped), 0o755))
	for name, content := range files {
		write(m.t, filepath.Join(m.dir, stamped, name), content)
	}
	temp := filepath.Join(m.dir, "..data_tmp")
	require.NoError(m.t, os.Symlink(stamped, temp))
	require.NoError(m.t, os.Rename(temp, filepath.Join(m.dir, "..data")))
	for name := range files {
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name))
	}
	entries, err := os.ReadDir(m.dir)
	require.NoError(m.t, err)
	for _, entry := range entries {
		if _, kept := files[entry.Name()]; !kept && !strings.HasPrefix(entry.Name(), "..") {
			require.NoError(m.t, os.Remove(filepath.Join(m.dir, entry.Name())))
		}
	}
	if old != "" {
		require.NoError(m.t, os.RemoveAll(filepath.Join(m.dir, old)))
	}
}

// openDir is a directory that other users may enter, as t.TempDir is not.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keyfile-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// key is n random bytes.
func key(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// asHex is how the tests look into shares.
func asHex(shares []unseal.Share) []string {
	out := []string{}
	for _, s := range shares {
		out = append(out, string(s.AppendHex(nil)))
	}
	return out
}

func hexes(keys ...[]byte) []string {
	out := []string{}
	for _, k := range keys {
		out = append(out, hex.EncodeToString(k))
	}
	return out
}

// assertHides fails when message shows eight bytes in a row of the key, in any
// form that it may be written in.
func assertHides(t *testing.T, message string, k []byte) {
	t.Helper()
	for _, form := range []string{string(k), b64(k), b64([]byte(b64(k))), hex.EncodeToString(k), strings.ToUpper(hex.EncodeToString(k))} {
		for at := 0; at+8 <= len(form); at++ {
			if strings.Contains(message, form[at:at+8]) {
				assert.Fail(t, "the key shows", "%q in %q", form[at:at+8], message)
				return
			}
		}
	}
}
