package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newReleaseRepo makes a repository of one commit with what a release is made by,
// in the version v1.0.0.
func newReleaseRepo(t *testing.T) (dir string, git func(args ...string)) {
	t.Helper()
	env := newEnv(t)
	dir = t.TempDir()
	for _, folder := range []string{"scripts", "patches"} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, folder), os.DirFS(env.Source(folder))))
	}
	for _, file := range []string{"Makefile", "go.mod", ".gitignore"} {
		text, err := os.ReadFile(env.Source(file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), text, 0o644))
	}
	out, err := exec.Command(filepath.Join(dir, "scripts/version"), "v1.0.0").CombinedOutput()
	require.NoError(t, err, string(out))
	git = func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=nobody", "-c", "user.email=nobody@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	git("init", "--quiet")
	git("add", "--all")
	git("commit", "--quiet", "--message", "all")
	return dir, git
}

// What a release refuses, it refuses before it looks for a builder. That it
// makes one is shown in node/, where there is a builder.
func TestRelease_RefusesBadPreconditions(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		do   func(t *testing.T, dir string, git func(...string))
		args []string
		says string
	}{
		"of a commit without a tag": {func(*testing.T, string, func(...string)) {}, nil, "HEAD has no tag, and a release is made of one: git tag"},
		"of a commit behind the tag": {func(_ *testing.T, _ string, git func(...string)) {
			git("tag", "v1.0.0")
			git("commit", "--quiet", "--allow-empty", "--message", "more")
		}, nil, "HEAD has no tag, and"},
		"of a changed file": {func(t *testing.T, dir string, git func(...string)) {
			git("tag", "v1.0.0")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o644))
		}, nil, "the tree has changes that no commit holds; commit or stash them first:\n M go.mod"},
		"of a new file": {func(t *testing.T, dir string, git func(...string)) {
			git("tag", "v1.0.0")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "new.go"), nil, 0o644))
		}, nil, "?? new.go"},
		"of two tags": {func(_ *testing.T, _ string, git func(...string)) {
			git("tag", "v1.0.0")
			git("tag", "v1.0.1")
		}, nil, "HEAD has several tags; name one with scripts/release --tag: v1.0.0 v1.0.1"},
		"of a tag elsewhere": {func(_ *testing.T, _ string, git func(...string)) { git("tag", "v1.0.0") },
			[]string{"--tag", "v9"}, "HEAD has no tag v9, it has: v1.0.0"},
		"of a tag that no image can have": {func(_ *testing.T, _ string, git func(...string)) { git("tag", "release/1") },
			nil, "the tag release/1 cannot be an image's"},
		"of a tag that patches do not name": {func(_ *testing.T, _ string, git func(...string)) { git("tag", "v1.0.1") },
			nil, "the tag is v1.0.1 and patches/ asks for the image v1.0.0: scripts/version v1.0.1 sets it everywhere"},
		"with a key that is not there": {func(_ *testing.T, _ string, git func(...string)) { git("tag", "v1.0.0") },
			[]string{"--sign-key", "/nowhere"}, "the key /nowhere cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, git := newReleaseRepo(t)
			row.do(t, dir, git)
			out, err := exec.Command(filepath.Join(dir, "scripts/release"), row.args...).CombinedOutput()
			require.Error(t, err, string(out))
			assert.Contains(t, string(out), row.says)
			assert.NoDirExists(t, filepath.Join(dir, "bin"))
		})
	}
}

func TestMakeRelease_ReportsTheError(t *testing.T) {
	t.Parallel()
	dir, _ := newReleaseRepo(t)
	out, err := exec.Command("make", "-C", dir, "release").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "release: HEAD has no tag")
}
