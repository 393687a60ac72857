//go:build linux

package procid

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSocket_NamesEachListenerDifferently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.sock")
	s := NewSocket(path)
	name := func() string {
		t.Helper()
		name, err := s.Process()
		require.NoError(t, err)
		return name
	}
	assert.Empty(t, name(), "there is no listener yet")

	first, err := net.Listen("unix", path)
	require.NoError(t, err)
	named := name()
	assert.NotEmpty(t, named)
	require.NoError(t, os.Chmod(path, 0o600))
	assert.Equal(t, named, name(), "a mode that is set later is no other process")

	require.NoError(t, first.Close())
	assert.Empty(t, name(), "it ended in peace")
	second, err := net.Listen("unix", path)
	require.NoError(t, err)
	assert.NotEqual(t, named, name())

	// Killed, it leaves its file behind, and the next takes it away.
	second.(*net.UnixListener).SetUnlinkOnClose(false)
	killed := name()
	require.NoError(t, second.Close())
	require.NoError(t, os.Remove(path))
	third, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer third.Close()
	assert.NotEqual(t, killed, name())
}

func TestSocket_RejectsAFileThatIsNoSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.sock")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := NewSocket(path).Process()
	assert.ErrorContains(t, err, path+" is none")
}
