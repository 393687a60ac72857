package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func notes(dir string, args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(dir, "scripts/notes"), args...).CombinedOutput()
	return string(out), err
}

func TestNotes_ListTheCommitsSinceTheLastVersion(t *testing.T) {
	t.Parallel()
	dir, git := newReleaseRepo(t)
	commit := func(subject string) {
		git("commit", "--quiet", "--allow-empty", "--message", subject, "--message", "why")
	}
	git("tag", "v1.0.0")
	commit("vault: send <key> to `sys/unseal` [once]")
	git("tag", "v1.1.0-rc.1")
	git("tag", "nightly")
	commit("eso: annotate_all")
	git("checkout", "--quiet", "-b", "side", "v1.0.0")
	commit("web: a side line")
	git("checkout", "--quiet", "-")
	git("merge", "--quiet", "--no-ff", "--message", "Merge branch 'side'", "side")
	git("tag", "--annotate", "--message", "1.1.0", "v1.1.0")
	commit("later: not in it")
	for tag, want := range map[string]string{
		"v1.0.0":      "## Changes\n\n- all\n",
		"v1.1.0-rc.1": "## Changes since v1.0.0\n\n- vault: send \\<key\\> to \\`sys/unseal\\` \\[once\\]\n",
		"v1.1.0": "## Changes since v1.0.0\n\n- web: a side line\n- eso: annotate\\_all\n" +
			"- vault: send \\<key\\> to \\`sys/unseal\\` \\[once\\]\n",
	} {
		out, err := notes(dir, "--tag", tag)
		require.NoError(t, err, out)
		assert.ElementsMatch(t, strings.Split(want, "\n"), strings.Split(out, "\n"), tag)
		assert.True(t, strings.HasPrefix(out, want[:strings.Index(want, "- ")]), out)
	}
}

func TestNotes_RefuseWhatTheyCannotKnow(t *testing.T) {
	t.Parallel()
	dir, git := newReleaseRepo(t)
	git("commit", "--quiet", "--allow-empty", "--message", "more")
	git("tag", "v1.0.1")
	shallow := filepath.Join(t.TempDir(), "shallow")
	git("clone", "--quiet", "--depth", "1", "file://"+dir, shallow)
	for name, row := range map[string]struct {
		dir  string
		args []string
		says string
	}{
		"no tag":            {dir, nil, "of which release? --tag says it"},
		"a tag without one": {dir, []string{"--tag"}, "--tag needs a value"},
		"an unknown tag":    {dir, []string{"--tag", "v9.9.9"}, "there is no tag v9.9.9: git fetch --tags"},
		"half a history":    {shallow, []string{"--tag", "v1.0.1"}, "git fetch --unshallow"},
		"another option":    {dir, []string{"--since", "v1"}, "no such option: --since"},
	} {
		out, err := notes(row.dir, row.args...)
		require.Error(t, err, name)
		assert.Contains(t, out, row.says, name)
		assert.NotContains(t, out, "## ", name)
	}
}
