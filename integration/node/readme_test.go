package node

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readmes returns the READMEs of the repository in the order in which a person
// needs them: first the one that installs the home, whose Vault the commands of
// the others ask.
func readmes(t *testing.T) []string {
	t.Helper()
	paths := []string{"manifests/homelab/README.md", "README.md"}
	require.NoError(t, fs.WalkDir(os.DirFS(machine.root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "bin" || path == ".git"):
			return fs.SkipDir
		case d.Name() == "README.md" && !slices.Contains(paths, path):
			paths = append(paths, path)
		}
		return nil
	}))
	return paths
}

// commands returns a README's blocks of shell commands that are no examples.
func commands(t *testing.T, name string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(machine.root, name))
	require.NoError(t, err)
	for i, part := range strings.Split(string(text), "```") {
		inside := i%2 == 1
		if !inside {
			for line := range strings.Lines(part) {
				assert.False(t, strings.HasPrefix(line, "    "), "%s: no fence around %s", name, line)
			}
			continue
		}
		kind, body, _ := strings.Cut(part, "\n")
		assert.Contains(t, []string{"sh", "yaml", "hcl", "text"}, kind, part)
		if kind == "sh" && !strings.HasPrefix(body, "# Example") {
			blocks = append(blocks, body)
		}
	}
	return blocks
}

// Every command in the READMEs that is not marked as an example is run, in its
// order, as it stands there.
func TestTheReadmesCommands(t *testing.T) {
	n := theNode(t)
	n.volumes("vault-data-lh")
	var blocks []string
	for _, name := range readmes(t) {
		blocks = append(blocks, commands(t, name)...)
	}
	require.Len(t, blocks, 2, "those that install the home, and those that ask it")
	machine.password = someKey(t) // which bootstrap reads
	for _, block := range blocks {
		n.Logf("%s", block)
		out, err := n.run(machine.password, "bash", "-euo", "pipefail", "-c", block)
		require.NoError(n, err, "%s\n%s", block, out)
		n.Logf("%s", out)
		if strings.Contains(block, "scripts/bootstrap") { // what a person does next, and waits for
			n.put("first")
			n.ready("vault-0")
			n.appHas("first")
			n.becomes("True", `{.status.conditions[?(@.type=="`+secretsType+`")].status}`, "-n", "security", "pod", "vault-0")
		}
	}
}
