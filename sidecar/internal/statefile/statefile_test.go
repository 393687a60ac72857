package statefile_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
)

type memory struct {
	Process string         `json:"process,omitempty"`
	Held    bool           `json:"held,omitempty"`
	Counts  map[string]int `json:"counts,omitempty"`
}

var sample = memory{Process: "boot/11", Held: true, Counts: map[string]int{"refused": 2}}

func TestFile_LoadsWhatWasSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	require.NoError(t, statefile.New(dir, "state.json").Save(memory{Process: "before"}))
	require.NoError(t, statefile.New(dir, "state.json").Save(sample))
	var got memory
	require.NoError(t, statefile.New(dir, "state.json").Load(&got))
	assert.Equal(t, sample, got)

	raw, err := os.ReadFile(dir + "/state.json")
	require.NoError(t, err)
	assert.JSONEq(t, `{"version":1,"memory":{"process":"boot/11","held":true,"counts":{"refused":2}}}`, string(raw))
	info, err := os.Stat(dir + "/state.json")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	info, err = os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	assert.Equal(t, []string{"state.json"}, names(t, dir))
}

func TestLoad_IsEmptyWithoutAFile(t *testing.T) {
	for sentence, dir := range map[string]string{
		"an empty directory":  t.TempDir(),
		"a missing directory": filepath.Join(t.TempDir(), "missing"),
	} {
		t.Run(sentence, func(t *testing.T) {
			got := sample
			require.NoError(t, statefile.New(dir, "state.json").Load(&got))
			assert.Zero(t, got)
		})
	}
}

func TestLoad_ReportsABadFile(t *testing.T) {
	with := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) }
	}
	for _, row := range []struct {
		sentence string
		make     func(t *testing.T, path string)
		want     string
	}{
		{"an empty file", with(""), "corrupt: unexpected end of JSON input"},
		{"half a file", with(`{"version":1,"memory":{"process":"bo`), "corrupt: unexpected end of JSON input"},
		{"no JSON", with("\x00\x00\x00"), "corrupt: invalid character"},
		{"something after it", with(`{"version":1,"memory":{}}{}`), "corrupt: invalid character"},
		{"JSON of another shape", with(`[1]`), "corrupt: json: cannot unmarshal array"},
		{"a memory of another shape, after a good part", with(`{"version":1,"memory":{"process":"boot/11","held":"yes"}}`), "corrupt: json: cannot unmarshal string"},
		{"no memory", with(`{"version":1}`), "corrupt: holds no memory"},
		{"a null memory", with(`{"version":1,"memory":null}`), "corrupt: holds no memory"},
		{"no version", with(`{"memory":{}}`), "has version 0, known is 1"},
		{"a version of the future, with a memory of its own", with(`{"version":2,"memory":[7]}`), "has version 2, known is 1"},
		{"a large file", with(`{"version":1,"memory":{}}` + strings.Repeat(" ", 64<<10)), "larger than 64 KiB"},
		{"a nest of arrays", with(strings.Repeat("[", 60<<10)), "corrupt: "},
		{"a directory", func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o755)) }, "not a regular file"},
		{"a pipe, without waiting", func(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) }, "not a regular file"},
		{"a link to a good file", func(t *testing.T, path string) {
			with(`{"version":1,"memory":{"process":"planted"}}`)(t, path+".target")
			require.NoError(t, os.Symlink(path+".target", path))
		}, "is a symbolic link"},
		{"a link to nowhere", func(t *testing.T, path string) { require.NoError(t, os.Symlink("nowhere", path)) }, "is a symbolic link"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			dir := t.TempDir()
			path := dir + "/state.json"
			row.make(t, path)
			file, got := statefile.New(dir, "state.json"), sample
			done := make(chan error, 1)
			go func() { done <- file.Load(&got) }()
			select {
			case err := <-done:
				require.ErrorContains(t, err, "starting without the state of "+path+": "+row.want)
			case <-time.After(5 * time.Second):
				require.Fail(t, "still loading")
			}
			assert.Zero(t, got)
		})
	}
}

func TestLoad_RequiresAPointer(t *testing.T) {
	file := statefile.New(t.TempDir(), "state.json")
	for _, into := range []any{nil, memory{}, (*memory)(nil)} {
		t.Run(fmt.Sprintf("%T", into), func(t *testing.T) { assert.ErrorContains(t, file.Load(into), "not a pointer") })
	}
}

func TestSave_ReplacesABadFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/state.json", []byte("{"), 0o600))
	require.NoError(t, statefile.New(dir, "state.json").Save(sample))
	var got memory
	require.NoError(t, statefile.New(dir, "state.json").Load(&got))
	assert.Equal(t, sample, got)
}

func TestSave_DoesNotFollowASymbolicLink(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, []byte("theirs"), 0o600))
	require.NoError(t, os.Symlink(other, dir+"/state.json"))
	require.NoError(t, os.Symlink(other, dir+"/.state.json.1"))
	require.NoError(t, statefile.New(dir, "state.json").Save(sample))

	raw, err := os.ReadFile(other)
	require.NoError(t, err)
	assert.Equal(t, "theirs", string(raw))
	info, err := os.Lstat(dir + "/state.json")
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
}

func TestSave_RemovesTemporaryFilesOfACrash(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".state.json.123", ".state.json.456", "unrelated", ".hidden"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600))
	}
	require.NoError(t, statefile.New(dir, "state.json").Save(sample))
	assert.Equal(t, []string{".hidden", "state.json", "unrelated"}, names(t, dir))
}

func TestSave_MemoryIsIndependentOfTheNumberOfNames(t *testing.T) {
	dir := t.TempDir()
	for i := range 30_000 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%0250d", i)), nil, 0o600))
	}
	for i := range 200 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf(".state.json.%d", i)), nil, 0o600))
	}
	// The heap holds no free memory at first, and garbage does not add up: what Save
	// takes from the system is what it needed at one time.
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	taken := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapSys - m.HeapReleased)
	}
	debug.FreeOSMemory()
	before := taken()
	require.NoError(t, statefile.New(dir, "state.json").Save(sample))
	assert.Less(t, taken()-before, int64(5<<20), "bytes")
	leftovers, err := filepath.Glob(dir + "/.state.json.*")
	require.NoError(t, err)
	assert.Empty(t, leftovers)
}

func TestSave_KeepsTheOldStateOnFailure(t *testing.T) {
	for _, row := range []struct {
		sentence string
		value    any
		want     string
	}{
		{"a value that JSON cannot hold", map[string]float64{"x": math.NaN()}, "unsupported value"},
		{"a value that Load would refuse", strings.Repeat("x", 64<<10), "larger than 64 KiB"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, statefile.New(dir, "state.json").Save(sample))
			err := statefile.New(dir, "state.json").Save(row.value)
			require.ErrorContains(t, err, "saving the state to "+dir+"/state.json: ")
			require.ErrorContains(t, err, row.want)
			var got memory
			require.NoError(t, statefile.New(dir, "state.json").Load(&got))
			assert.Equal(t, sample, got)
			assert.Equal(t, []string{"state.json"}, names(t, dir))
		})
	}
}

func TestSave_ReportsWhyItFailed(t *testing.T) {
	t.Run("below a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		file := statefile.New(path, "state.json")
		require.ErrorIs(t, file.Save(sample), syscall.ENOTDIR)
		var got memory
		assert.ErrorIs(t, file.Load(&got), syscall.ENOTDIR)
	})
	t.Run("a directory has its name", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.MkdirAll(dir+"/state.json/full", 0o755))
		require.Error(t, statefile.New(dir, "state.json").Save(sample))
		assert.Equal(t, []string{"state.json"}, names(t, dir), "the temp is gone")
	})
	t.Run("a directory that cannot be written", func(t *testing.T) {
		// Even root cannot make files in it.
		require.ErrorContains(t, statefile.New("/proc/self", "state.json").Save(sample), "saving the state to /proc/self/state.json: ")
	})
}

// FuzzLoad reads any file: what was read and is written is read the same.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"version":1,"memory":{"process":"x","counts":{"a":1}}}`, `{"version":1e9}`, `{"version":1,"memory":[]}`,
		`{"version":1,"memory":{"process":7}}`, `{"version":1,"memory":null}`,
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	file := statefile.New(dir, "state.json")
	f.Fuzz(func(t *testing.T, raw []byte) {
		require.NoError(t, os.WriteFile(dir+"/state.json", raw, 0o600))
		got := sample
		if err := file.Load(&got); err != nil {
			require.Zero(t, got)
			require.Less(t, len(err.Error()), 400)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.NoError(t, file.Save(got))
		var again memory
		require.NoError(t, file.Load(&again))
		require.Equal(t, got, again)
		written, err := os.ReadFile(dir + "/state.json")
		require.NoError(t, err)
		require.NoError(t, file.Save(again))
		rewritten, err := os.ReadFile(dir + "/state.json")
		require.NoError(t, err)
		require.Equal(t, written, rewritten)
	})
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := []string{}
	for _, entry := range entries {
		out = append(out, entry.Name())
	}
	return out
}
