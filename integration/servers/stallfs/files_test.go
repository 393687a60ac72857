package main

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMount_OpenShowsTheBackingFiles(t *testing.T) {
	fs := mountStallfs(t)
	require.NoError(t, os.WriteFile(fs.backingPath("below"), []byte("written below"), 0o640))
	fs.write("above", "written above")

	content, err := os.ReadFile(fs.path("below"))
	require.NoError(t, err)
	assert.Equal(t, "written below", string(content))
	content, err = os.ReadFile(fs.backingPath("above"))
	require.NoError(t, err)
	assert.Equal(t, "written above", string(content))

	real, err := os.Stat(fs.backingPath("below"))
	require.NoError(t, err)
	shown, err := os.Stat(fs.path("below"))
	require.NoError(t, err)
	assert.Equal(t, real.Mode(), shown.Mode())
	assert.Equal(t, real.Size(), shown.Size())
	assert.Equal(t, real.ModTime(), shown.ModTime())

	require.NoError(t, os.WriteFile(fs.backingPath("below"), []byte("changed"), 0o640))
	content, err = os.ReadFile(fs.path("below"))
	require.NoError(t, err)
	assert.Equal(t, "changed", string(content), "the kernel must not remember the old content")
}

func TestMount_KeepsFileModes(t *testing.T) {
	fs := mountStallfs(t) // with whatever umask this test was started
	before := syscall.Umask(0o002)
	defer syscall.Umask(before)
	require.NoError(t, os.WriteFile(fs.path("file"), nil, 0o666))
	require.NoError(t, os.Mkdir(fs.path("dir"), 0o777))
	for name, want := range map[string]os.FileMode{"file": 0o664, "dir": 0o775} {
		info, err := os.Stat(fs.backingPath(name))
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), name)
	}
}

// bbolt, below Vault's raft storage, reads through a shared map of the file,
// writes to the file itself, and maps anew when the file has grown.
func TestMount_SharedMapSeesOwnWrites(t *testing.T) {
	fs := mountStallfs(t)
	page := os.Getpagesize()
	f, err := os.OpenFile(fs.path("db"), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))

	for round, pages := range []int{4, 16} {
		require.NoError(t, f.Truncate(int64(pages*page)))
		require.NoError(t, f.Sync())
		mapped, err := syscall.Mmap(int(f.Fd()), 0, pages*page, syscall.PROT_READ, syscall.MAP_SHARED)
		require.NoError(t, err, "a shared map must be possible")
		for n := range pages {
			want := bytes.Repeat([]byte{byte(1 + round + n)}, page)
			_, err := f.WriteAt(want, int64(n*page))
			require.NoError(t, err)
			require.NoError(t, syscall.Fdatasync(int(f.Fd())))
			require.Equal(t, want, mapped[n*page:(n+1)*page], "page %d of %d", n, pages)
		}
		stored, err := os.ReadFile(fs.backingPath("db"))
		require.NoError(t, err)
		assert.Equal(t, mapped, stored)
		require.NoError(t, syscall.Munmap(mapped))
	}
}

func TestMount_SharedMapWritesReachBackingFile(t *testing.T) {
	fs := mountStallfs(t)
	fs.write("file", "before")
	f, err := os.OpenFile(fs.path("file"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 6, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	require.NoError(t, err)
	copy(mapped, "after!")
	require.NoError(t, syscall.Munmap(mapped))
	require.NoError(t, f.Sync())
	stored, err := os.ReadFile(fs.backingPath("file"))
	require.NoError(t, err)
	assert.Equal(t, "after!", string(stored))
}
