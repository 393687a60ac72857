package keyfile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
)

// granularity is above the age at which Revision trusts a time.
const granularity = 2 * time.Second

// sleepPastFileTimes moves the clock of a bubble, which is that of time.Since alone,
// until no file that was written before is younger than age.
func sleepPastFileTimes(t *testing.T, age time.Duration) {
	t.Helper()
	var files syscall.Timeval
	require.NoError(t, syscall.Gettimeofday(&files))
	time.Sleep(time.Until(time.Unix(files.Unix()).Add(age)))
}

// settledStamp returns the stamp when all that was written is old.
func settledStamp(t *testing.T, source *keyfile.Source) string {
	t.Helper()
	sleepPastFileTimes(t, granularity)
	stamp := source.Revision()
	require.Equal(t, stamp, source.Revision(), "the revision has not settled")
	return stamp
}

// awaitTick waits until what is written gets other times than what was written
// before: nothing else shows a change within a tick of the kernel's clock for files.
func awaitTick(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clock")
	modified := func() time.Time {
		info, err := os.Stat(write(t, path, ""))
		require.NoError(t, err)
		return info.ModTime()
	}
	for before := modified(); !modified().After(before); {
	}
}

func TestStamp_IsUniqueWhileAWriteCouldBeMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, map[string]string{"key": b64(key(32))})
		source := keyfile.New(m.dir)
		sleepPastFileTimes(t, 0)
		seen := map[string]bool{}
		for range 100 {
			seen[source.Revision()] = true
		}
		assert.Len(t, seen, 100)
		settled := settledStamp(t, source)
		assert.False(t, seen[settled], "the stamp that settled was there before, so a change would be missed")
	})
}

func TestStamp_NeverSettlesForAFutureModificationTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, filepath.Join(openDir(t), "key"), b64(key(32)))
		source := keyfile.New(path)
		sleepPastFileTimes(t, granularity) // now only the future time is left as a reason
		require.NoError(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)))
		assert.NotEqual(t, source.Revision(), source.Revision())
	})
}

func TestStamp_ConsidersTheAgeOfEachFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := openDir(t)
		path := write(t, dir+"/key", b64(key(32)))
		source := keyfile.New(dir)
		settledStamp(t, source)
		awaitTick(t)
		write(t, path, b64(key(32))) // in place: the directory stays as old as it was
		assert.NotEqual(t, source.Revision(), source.Revision())
	})
}

func TestStamp_SettlesForAMissingPath(t *testing.T) {
	source := keyfile.New(filepath.Join(openDir(t), "key"))
	assert.Equal(t, source.Revision(), source.Revision())
}

func TestStamp_ChangesWithTheResultOfRead(t *testing.T) {
	k := key(32)
	type fixture struct {
		mount *secretMount
		file  string // a plain file
		empty string // an empty directory
	}
	link := func(t *testing.T, target, path string) {
		require.NoError(t, os.Symlink(target, path+".new"))
		require.NoError(t, os.Rename(path+".new", path))
	}
	rows := []struct {
		sentence string
		path     func(w fixture) string
		change   func(t *testing.T, w fixture)
	}{
		{"the kubelet publishes a new version", func(w fixture) string { return w.mount.dir },
			func(_ *testing.T, w fixture) {
				w.mount.publish(map[string]string{"a": b64(key(32)), "b": b64(key(32))})
			}},
		{"the kubelet publishes the same again", func(w fixture) string { return w.mount.dir },
			func(_ *testing.T, w fixture) { w.mount.publish(map[string]string{"a": b64(k), "b": b64(k)}) }},
		{"the same, for one file of the mount", func(w fixture) string { return w.mount.dir + "/a" },
			func(_ *testing.T, w fixture) { w.mount.publish(map[string]string{"a": b64(key(32)), "b": b64(k)}) }},
		{"a file is taken away", func(w fixture) string { return w.mount.dir },
			func(_ *testing.T, w fixture) { w.mount.publish(map[string]string{"a": b64(k)}) }},
		{"a file is written over, as long as before", func(w fixture) string { return w.file },
			func(t *testing.T, w fixture) { write(t, w.file, b64(key(32))) }},
		{"a file is written over and its time set back", func(w fixture) string { return w.file },
			func(t *testing.T, w fixture) {
				info, err := os.Stat(w.file)
				require.NoError(t, err)
				write(t, w.file, b64(key(32)))
				require.NoError(t, os.Chtimes(w.file, info.ModTime(), info.ModTime()))
			}},
		{"another file is renamed over it", func(w fixture) string { return w.file },
			func(t *testing.T, w fixture) { require.NoError(t, os.Rename(write(t, w.file+".new", b64(k)), w.file)) }},
		{"a file is removed", func(w fixture) string { return w.file },
			func(t *testing.T, w fixture) { require.NoError(t, os.Remove(w.file)) }},
		{"a mode changes", func(w fixture) string { return w.file },
			func(t *testing.T, w fixture) { require.NoError(t, os.Chmod(w.file, 0o400)) }},
		{"a file in a plain directory is written over", func(w fixture) string { return filepath.Dir(w.file) },
			func(t *testing.T, w fixture) { write(t, w.file, b64(key(32))) }},
		{"a file becomes a directory", func(w fixture) string { return w.file },
			func(t *testing.T, w fixture) {
				require.NoError(t, os.Remove(w.file))
				require.NoError(t, os.Mkdir(w.file, 0o755))
			}},
		{"a first file comes into an empty directory", func(w fixture) string { return w.empty },
			func(t *testing.T, w fixture) { write(t, w.empty+"/key", b64(k)) }},
		{"a path comes to exist", func(w fixture) string { return w.empty + "/yet/to/come" },
			func(t *testing.T, w fixture) { require.NoError(t, os.MkdirAll(w.empty+"/yet/to/come", 0o755)) }},
		{"a link points to another file of the same content", func(w fixture) string { return w.empty + "/../link" },
			func(t *testing.T, w fixture) { link(t, "b", w.empty+"/../link") }},
	}
	for _, row := range rows {
		t.Run("when "+row.sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := openDir(t)
				w := fixture{newMount(t, map[string]string{"a": b64(k), "b": b64(k)}), dir + "/file", dir + "/empty"}
				write(t, w.file, b64(k))
				write(t, dir+"/a", b64(k))
				write(t, dir+"/b", b64(k))
				link(t, "a", dir+"/link")
				require.NoError(t, os.Mkdir(w.empty, 0o755))
				source := keyfile.New(row.path(w))
				before := settledStamp(t, source)
				awaitTick(t)
				row.change(t, w)
				assert.NotEqual(t, before, settledStamp(t, source))
			})
		})
	}
}

func TestStamp_DoesNotChangeByReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMount(t, map[string]string{"key": b64(key(32))})
		source := keyfile.New(m.dir)
		before := settledStamp(t, source)
		_, _, err := source.Read()
		require.NoError(t, err)
		assert.Equal(t, before, source.Revision())
	})
}

func BenchmarkStamp(b *testing.B) {
	dir := b.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	source := keyfile.New(dir)
	b.ReportAllocs()
	for b.Loop() {
		source.Revision()
	}
}
