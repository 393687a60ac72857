package statefile

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTryLock_HasOneHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	unlock, err := New(dir, "proof").TryLock()
	require.NoError(t, err)
	require.NotNil(t, unlock)
	other, err := New(dir, "proof").TryLock()
	assert.NoError(t, err, "a lock that is held is no failure")
	assert.Nil(t, other)
	unlock()
	again, err := New(dir, "proof").TryLock()
	require.NoError(t, err)
	require.NotNil(t, again)
	again()
}

func TestTryLock_ReportsWhyItFailed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, New(dir, "file").Save(1))
	for sentence, f := range map[string]*File{
		"below a file":                       New(filepath.Join(dir, "file"), "proof"),
		"a directory that cannot be written": New("/proc/self", "proof"),
	} {
		t.Run(sentence, func(t *testing.T) {
			unlock, err := f.TryLock()
			assert.ErrorContains(t, err, "locking "+f.path())
			assert.Nil(t, unlock)
		})
	}
}
