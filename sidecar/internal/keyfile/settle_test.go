package keyfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRearm_WatchesTheNearestDirectoryOnly(t *testing.T) {
	dir := t.TempDir()
	source := New(dir + "/a/b/key")
	watcher, err := fsnotify.NewWatcher()
	require.NoError(t, err)
	defer watcher.Close()
	for _, step := range []struct {
		sentence string
		change   func() error
		want     []string
	}{
		{"an ancestor", func() error { return nil }, []string{dir, dir + "/.."}},
		{"the next", func() error { return os.Mkdir(dir+"/a", 0o755) }, []string{dir + "/a", dir}},
		{"the parent", func() error { return os.Mkdir(dir+"/a/b", 0o755) }, []string{dir + "/a/b", dir + "/a"}},
		{"still the parent, for a file", func() error { return os.WriteFile(dir+"/a/b/key", nil, 0o600) }, []string{dir + "/a/b", dir + "/a"}},
		{"back up", func() error { return os.RemoveAll(dir + "/a/b") }, []string{dir + "/a", dir}},
		{"all the way, past a file", func() error {
			return errors.Join(os.Remove(dir+"/a"), os.WriteFile(dir+"/a", nil, 0o600))
		}, []string{dir, dir + "/.."}},
		{"the path, a directory", func() error {
			return errors.Join(os.Remove(dir+"/a"), os.MkdirAll(dir+"/a/b/key", 0o755))
		}, []string{dir + "/a/b/key", dir + "/a/b"}},
	} {
		require.NoError(t, step.change())
		at, err := source.rearm(t.Context(), watcher)
		require.NoError(t, err)
		for n := range step.want {
			step.want[n] = filepath.Clean(step.want[n])
		}
		assert.Equal(t, step.want[0], at, step.sentence)
		assert.ElementsMatch(t, step.want, watcher.WatchList(), step.sentence)
	}
}

func TestMatters_IgnoresUnrelatedEvents(t *testing.T) {
	for _, row := range []struct {
		sentence, path, event string
		want                  bool
	}{
		{"the path itself", "/vault/key", "/vault/key", true},
		{"a file in it", "/vault/key", "/vault/key/share", true},
		{"the directory above", "/vault/key", "/vault", true},
		{"the directory above, as a watch on the root names it", "/vault/key", "//vault", true},
		{"the root", "/vault/key", "/", true},
		{"a neighbor", "/vault/key", "/vault/data", false},
		{"a neighbor whose name begins alike", "/vault/key", "/vault/key-2", false},
		{"an ancestor's neighbor", "/vault/key", "//vaul", false},
		{"the kubelet's link in it", "/vault/key", "/vault/key/..data", true},
		{"the kubelet's link beside it", "/vault/key", "/vault/..data", true},
		{"the kubelet's link above it", "/mount/folder/key", "/mount/..data", true},
		{"the kubelet's link elsewhere", "/vault/key", "/other/..data", false},
		{"a version that is not published yet", "/vault/key", "/vault/key/..2026_01_02", false},
		{"the link before its rename", "/vault/key", "/vault/key/..data_tmp", false},
		{"deep below it", "/vault/key", "/vault/key/folder/file", false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, New(row.path).matters(row.event))
		})
	}
}

// A directory that was removed and made again is another one, though its name
// and often its number are the same: a watch of the first does not cover it.
func TestNearest_DistinguishesARecreatedDirectory(t *testing.T) {
	dir := t.TempDir()
	s := New(dir + "/a/b/c")
	made := func() error { return os.MkdirAll(dir+"/a/b", 0o755) }
	for sentence, change := range map[string]func() error{
		"it was":            func() error { return errors.Join(os.Remove(dir+"/a/b"), made()) },
		"and the one above": func() error { return errors.Join(os.RemoveAll(dir+"/a"), made()) },
		"the one above alone": func() error {
			return errors.Join(os.Rename(dir+"/a/b", dir+"/b"), os.Remove(dir+"/a"), os.Mkdir(dir+"/a", 0o755), os.Rename(dir+"/b", dir+"/a/b"))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			for range 50 {
				require.NoError(t, made())
				before, err := s.nearest()
				require.NoError(t, err)
				unchanged, err := s.nearest()
				require.NoError(t, err)
				assert.True(t, unchanged.same(before))
				unchanged.close()
				require.NoError(t, change())
				after, err := s.nearest()
				require.NoError(t, err)
				assert.Equal(t, before.dir, after.dir)
				assert.False(t, after.same(before))
				before.close()
				after.close()
			}
		})
	}
}

func TestNearest_WorksAtTheRoot(t *testing.T) {
	p, err := New("/no/such/path").nearest()
	require.NoError(t, err)
	defer p.close()
	assert.Equal(t, "/", p.dir)
	assert.True(t, p.same(p))
	p.above = nil
	assert.True(t, p.same(p))
	assert.False(t, p.same(watchTarget{}), "nothing is watched yet")
}
