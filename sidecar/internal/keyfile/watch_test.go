package keyfile_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
)

// eventTimeout is far below the interval at which the watches are set again, so a
// wake within it came from an event.
const eventTimeout = 3 * time.Second

// watch returns the wakes of a Watch that has begun.
func watch(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	wakes := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	wake := func() {
		select {
		case wakes <- struct{}{}:
		default:
		}
	}
	go func() { done <- keyfile.New(path).Watch(ctx, wake) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			assert.NoError(t, err)
		case <-time.After(eventTimeout):
			assert.Fail(t, "Watch has not returned")
		}
	})
	awaitWake(t, wakes)
	return wakes
}

func awaitWake(t *testing.T, wakes <-chan struct{}) {
	t.Helper()
	select {
	case <-wakes:
	case <-time.After(eventTimeout):
		require.Fail(t, "not woken")
	}
}

// awaitRead calls read at wakes only, until it is true.
func awaitRead(t *testing.T, wakes <-chan struct{}, read func() bool) {
	t.Helper()
	for done := false; !done; done = read() {
		awaitWake(t, wakes)
	}
}

// drain counts the wakes until none has come for 200 ms.
func drain(wakes <-chan struct{}) (count int) {
	for {
		select {
		case <-wakes:
			count++
		case <-time.After(200 * time.Millisecond):
			return count
		}
	}
}

func TestWatch_WakesOnAChange(t *testing.T) {
	must := func(t *testing.T, err error) { t.Helper(); require.NoError(t, err) }
	for _, row := range []struct {
		when   string
		before func(t *testing.T, dir string)
		path   string
		change func(t *testing.T, dir string)
	}{
		{"a file is written in place", func(t *testing.T, dir string) { write(t, dir+"/key", "old") },
			"/key", func(t *testing.T, dir string) { write(t, dir+"/key", "new") }},
		{"another file is renamed over it", func(t *testing.T, dir string) { write(t, dir+"/key", "old"); write(t, dir+"/new", "") },
			"/key", func(t *testing.T, dir string) { must(t, os.Rename(dir+"/new", dir+"/key")) }},
		{"the file is removed", func(t *testing.T, dir string) { write(t, dir+"/key", "old") },
			"/key", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/key")) }},
		{"the file comes to exist", func(*testing.T, string) {},
			"/key", func(t *testing.T, dir string) { write(t, dir+"/key", "new") }},
		{"its mode changes", func(t *testing.T, dir string) { write(t, dir+"/key", "old") },
			"/key", func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/key", 0o600)) }},
		{"a file appears in the directory", func(t *testing.T, dir string) { must(t, os.Mkdir(dir+"/keys", 0o755)) },
			"/keys", func(t *testing.T, dir string) { write(t, dir+"/keys/a", "new") }},
		{"the directory comes to exist", func(*testing.T, string) {},
			"/keys", func(t *testing.T, dir string) { must(t, os.Mkdir(dir+"/keys", 0o755)) }},
		{"the directory is removed", func(t *testing.T, dir string) { must(t, os.Mkdir(dir+"/keys", 0o755)) },
			"/keys", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/keys")) }},
		{"a link to a directory points elsewhere", func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/one", 0o755))
			must(t, os.Mkdir(dir+"/two", 0o755))
			must(t, os.Symlink("one", dir+"/keys"))
			must(t, os.Symlink("two", dir+"/new"))
		}, "/keys", func(t *testing.T, dir string) { must(t, os.Rename(dir+"/new", dir+"/keys")) }},
		{"the directory above the file is replaced", func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/in", 0o755))
			must(t, os.Mkdir(dir+"/new", 0o755))
		}, "/in/key", func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/in", dir+"/old"))
			must(t, os.Rename(dir+"/new", dir+"/in"))
		}},
	} {
		t.Run("when "+row.when, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			row.before(t, dir)
			wakes := watch(t, dir+row.path)
			require.Zero(t, drain(wakes), "woken before anything happened")
			row.change(t, dir)
			awaitWake(t, wakes)
		})
	}
}

func TestWatch_WakesForEveryVersionOfASecret(t *testing.T) {
	for path, what := range map[string]string{"": "directory", "/key": "file", "/..data/key": "file through ..data"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			m := newMount(t, map[string]string{"key": b64(key(32))})
			source := keyfile.New(m.dir + path)
			wakes := watch(t, m.dir+path)
			for range 5 {
				drain(wakes)
				k := key(32)
				m.publish(map[string]string{"key": b64(k)})
				awaitRead(t, wakes, func() bool { // at wakes only: the last comes after the last change
					shares, _, err := source.Read()
					return err == nil && assert.ObjectsAreEqual(hexes(k), asHex(shares))
				})
			}
		})
	}
}

// TestWatch_FollowsAPathThatIsCreatedAndRemoved reads the key at wakes only, never in between.
func TestWatch_FollowsAPathThatIsCreatedAndRemoved(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	path := filepath.Join(dir, "yet", "to", "come")
	source := keyfile.New(path)
	wakes := watch(t, path)
	for round := range 3 {
		k := key(32)
		for _, part := range []string{dir + "/yet", dir + "/yet/to", path} {
			require.NoError(t, os.Mkdir(part, 0o755))
			if round > 0 {
				drain(wakes) // by steps, and in the first round all at once
			}
		}
		write(t, path+"/key", b64(k))
		awaitRead(t, wakes, func() bool {
			shares, _, err := source.Read()
			return err == nil && assert.Equal(t, hexes(k), asHex(shares))
		})
		require.NoError(t, os.RemoveAll(dir+"/yet"))
		awaitRead(t, wakes, func() bool {
			_, _, err := source.Read()
			return err != nil && assert.ErrorIs(t, err, keyfile.ErrMissing)
		})
		drain(wakes)
	}
}

// TestWatch_MissesNoDirectoryCreatedWhileRearming makes the parts of a path while
// the watch moves down to them, and writes the key when it has settled.
func TestWatch_MissesNoDirectoryCreatedWhileRearming(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	path := filepath.Join(dir, "a", "b", "c", "d", "e")
	source := keyfile.New(path)
	wakes := watch(t, path)
	readable := func() bool { _, _, err := source.Read(); return err == nil }
	for range 300 {
		for _, part := range []string{"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"} {
			require.NoError(t, os.Mkdir(filepath.Join(dir, part), 0o755))
			// A sleep would be too long, it never hits the gap.
			for pause := time.Now().Add(rand.N(150 * time.Microsecond)); time.Now().Before(pause); {
			}
		}
		time.Sleep(5 * time.Millisecond)
		select {
		case <-wakes:
		default:
		}
		write(t, path+"/key", b64(key(32)))
		awaitRead(t, wakes, readable)
		require.NoError(t, os.RemoveAll(dir+"/a"))
		awaitRead(t, wakes, func() bool { return !readable() })
	}
}

func TestWatch_IgnoresUnrelatedFiles(t *testing.T) {
	for _, row := range []struct{ sentence, path, neighbor string }{
		{"beside a file", "/key", "/other"},
		{"beside a path that does not exist", "/yet/to/come", "/yettocome"},
		{"hidden files in the directory, before ..data points to them", "/keys", "/keys/..2026"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			require.NoError(t, os.Mkdir(dir+"/keys", 0o755))
			wakes := watch(t, dir+row.path)
			for n := range 100 {
				write(t, dir+row.neighbor+strconv.Itoa(n), "noise")
			}
			assert.Zero(t, drain(wakes))
		})
	}
}

func TestWatch_UsesNoProcessorTime(t *testing.T) {
	dir := openDir(t)
	write(t, dir+"/file", "")
	require.NoError(t, os.Mkdir(dir+"/gone", 0o755))
	var all []<-chan struct{}
	for _, path := range []string{dir, dir + "/no/such", dir + "/file/below", dir + "/gone/key"} {
		all = append(all, watch(t, path))
	}
	require.NoError(t, os.Remove(dir+"/gone"))
	for _, wakes := range all {
		drain(wakes)
	}
	before := processorTime(t)
	time.Sleep(500 * time.Millisecond)
	assert.Less(t, processorTime(t)-before, 100*time.Millisecond)
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestWatch_ReturnsAnErrorWithoutInotify(t *testing.T) {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 0
	path := filepath.Join(openDir(t), "key")
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	err := keyfile.New(path).Watch(t.Context(), func() {})
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.ErrorIs(t, err, syscall.EMFILE)
	assert.ErrorContains(t, err, "watching "+path)
}
