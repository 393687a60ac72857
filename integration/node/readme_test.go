package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readme returns the README's blocks of shell commands that are no examples.
func readme(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(machine.root, "README.md"))
	require.NoError(t, err)
	for i, part := range strings.Split(string(text), "```") {
		inside := i%2 == 1
		if !inside {
			for line := range strings.Lines(part) {
				assert.False(t, strings.HasPrefix(line, "    "), "no fence around %s", line)
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

// Every command in the README that is not marked as an example is run, in its
// order, as it stands there.
func TestTheReadmesCommands(t *testing.T) {
	n := theNode(t)
	n.volumes("vault-data-lh")
	blocks := readme(t)
	require.NotEmpty(t, blocks)
	password := someKey(t) // of the administrator, which bootstrap reads
	for _, block := range blocks {
		n.Logf("%s", block)
		out, err := n.run(password, "bash", "-euo", "pipefail", "-c", block)
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
