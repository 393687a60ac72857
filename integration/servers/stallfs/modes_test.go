package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An operation is one thing a client does to storage. prepare runs while the
// mode is open and returns the part that is stalled.
type operation struct {
	name    string
	prepare func(t *testing.T, fs *mountedFS) func() error
}

var operations = []operation{
	{"stat", onPath(func(p string) error { _, err := os.Stat(p); return err })},
	{"statfs", onPath(func(p string) error { return syscall.Statfs(p, &syscall.Statfs_t{}) })},
	{"access", onPath(func(p string) error { return syscall.Access(p, 4) })},
	{"chmod", onPath(func(p string) error { return os.Chmod(p, 0o600) })},
	{"truncate", onPath(func(p string) error { return os.Truncate(p, 3) })},
	{"open", onPath(func(p string) error { f, err := os.Open(p); closeInBackground(f); return err })},
	{"create", onPath(func(p string) error { f, err := os.Create(p + ".new"); closeInBackground(f); return err })},
	{"mkdir", onPath(func(p string) error { return os.Mkdir(p+".dir", 0o755) })},
	{"mknod", onPath(func(p string) error { return syscall.Mkfifo(p+".fifo", 0o644) })},
	{"symlink", onPath(func(p string) error { return os.Symlink("file", p+".sym") })},
	{"readlink", onPath(func(p string) error { _, err := os.Readlink(p + ".link"); return err })},
	{"link", onPath(func(p string) error { return os.Link(p, p+".hard") })},
	{"rename", onPath(func(p string) error { return os.Rename(p, p+".moved") })},
	{"unlink", onPath(os.Remove)},
	{"rmdir", onPath(func(p string) error { return os.Remove(p + ".empty") })},
	{"list a directory", onPath(func(p string) error { _, err := os.ReadDir(p + ".empty"); return err })},
	{"fstat", onFile(func(f *os.File) error { _, err := f.Stat(); return err })},
	{"read what is cached already", onFile(func(f *os.File) error { _, err := f.ReadAt(make([]byte, 4), 0); return err })},
	{"write", onFile(func(f *os.File) error { _, err := f.WriteAt([]byte("new"), 0); return err })},
	{"fsync", onFile((*os.File).Sync)},
	{"fdatasync", onFile(func(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) })},
	{"allocate", onFile(func(f *os.File) error { return syscall.Fallocate(int(f.Fd()), 0, 0, 8192) })},
	{"seek to data", onFile(func(f *os.File) error { _, err := f.Seek(0, 3); return err })},
	{"read on in an open directory", onDir(func(d *os.File) error { _, err := d.ReadDir(-1); return err })},
	{"fsync a directory", onDir((*os.File).Sync)},
	{"close", onFile((*os.File).Close)},
}

func onPath(op func(path string) error) func(*testing.T, *mountedFS) func() error {
	return func(_ *testing.T, fs *mountedFS) func() error {
		return func() error { return op(fs.path("file")) }
	}
}

func onFile(op func(*os.File) error) func(*testing.T, *mountedFS) func() error {
	return func(t *testing.T, fs *mountedFS) func() error {
		f, err := os.OpenFile(fs.path("file"), os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.ReadAt(make([]byte, 4), 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return func() error { return op(f) }
	}
}

func onDir(op func(*os.File) error) func(*testing.T, *mountedFS) func() error {
	return func(t *testing.T, fs *mountedFS) func() error {
		d, err := os.Open(fs.dir)
		require.NoError(t, err)
		t.Cleanup(func() { d.Close() })
		return func() error { return op(d) }
	}
}

// closeInBackground closes without making the caller wait for a stalled flush.
func closeInBackground(f *os.File) {
	if f != nil {
		go f.Close()
	}
}

// forEachOperation runs meet for every operation, with the same files each time.
func forEachOperation(t *testing.T, meet func(t *testing.T, fs *mountedFS, op func() error)) {
	fs := mountStallfs(t)
	for _, operation := range operations {
		t.Run(operation.name, func(t *testing.T) {
			fs := fs.withT(t)
			t.Cleanup(func() { fs.set("open") })
			entries, err := os.ReadDir(fs.backing)
			require.NoError(t, err)
			for _, entry := range entries {
				require.NoError(t, os.RemoveAll(fs.backingPath(entry.Name())))
			}
			fs.write("file", "content")
			require.NoError(t, os.Symlink("file", fs.path("file.link")))
			require.NoError(t, os.Mkdir(fs.path("file.empty"), 0o755))
			meet(t, fs, operation.prepare(t, fs))
		})
	}
}

func TestHang_HoldsEveryOperationUntilOpen(t *testing.T) {
	forEachOperation(t, func(t *testing.T, fs *mountedFS, op func() error) {
		fs.set("hang")
		done := inBackground(op)
		fs.awaitWaiting(1)
		requireHanging(t, done)
		fs.set("open")
		assert.NoError(t, requireDone(t, done))
	})
}

func TestEIO_FailsEveryOperationUntilOpen(t *testing.T) {
	forEachOperation(t, func(t *testing.T, fs *mountedFS, op func() error) {
		fs.set("eio")
		assert.ErrorIs(t, requireDone(t, inBackground(op)), syscall.EIO)
		fs.set("open")
		content, err := os.ReadFile(fs.path("file"))
		assert.NoError(t, err)
		assert.Equal(t, "content", string(content))
	})
}

func TestHang_TurnedIntoEIOFailsWaiting(t *testing.T) {
	forEachOperation(t, func(t *testing.T, fs *mountedFS, op func() error) {
		fs.set("hang")
		done := inBackground(op)
		fs.awaitWaiting(1)
		fs.set("eio")
		assert.ErrorIs(t, requireDone(t, done), syscall.EIO)
	})
}

func TestSlow_DelaysEveryOperation(t *testing.T) {
	const delay = 30 * time.Millisecond
	forEachOperation(t, func(t *testing.T, fs *mountedFS, op func() error) {
		fs.set("slow " + delay.String())
		start := time.Now()
		assert.NoError(t, requireDone(t, inBackground(op)))
		assert.GreaterOrEqual(t, time.Since(start), delay)
	})
}

func TestSlow_TurnedIntoOpenReleasesAtOnce(t *testing.T) {
	fs := mountStallfs(t)
	fs.write("file", "content")
	fs.set("slow 1h0m0s")
	done := inBackground(func() error { _, err := os.ReadFile(fs.path("file")); return err })
	fs.awaitWaiting(1)
	fs.set("open")
	assert.NoError(t, requireDone(t, done))
}

func TestHang_IsNotEndedBySIGKILL(t *testing.T) {
	fs := mountStallfs(t)
	fs.write("file", "content")
	fs.set("hang")
	client := exec.Command("cat", fs.path("file"))
	require.NoError(t, client.Start())
	ended := inBackground(client.Wait)
	fs.awaitWaiting(1)
	require.NoError(t, client.Process.Signal(syscall.SIGTERM))
	require.NoError(t, client.Process.Kill())
	time.Sleep(300 * time.Millisecond)
	requireHanging(t, ended)
	fs.set("open")
	assert.ErrorContains(t, requireDone(t, ended), "signal:")
}
