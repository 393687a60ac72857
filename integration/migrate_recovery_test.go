package integration

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The migration ends with the recovery as the sidecar draws it, or with how to see it.
func TestMigrate_ShowsTheRecovery(t *testing.T) {
	t.Parallel()
	third := strings.Replace(idleCronJobManifest, "NAME", "third", 1)
	s := newMigrationScenario(t, third)
	backup := filepath.Join(s.env.Dir, "backup")
	const call = "vault-unseal-sidecar -- /vault-unseal-sidecar status$"
	const hint = "this shows it: kubectl -n security exec vault-0 -c vault-unseal-sidecar -- /vault-unseal-sidecar status\n"
	hostile := strings.ReplaceAll(terminalEscapes, "\x00", "") + strings.Repeat(" and on", 10_000) + strings.Repeat("\nand on", 10_000)
	for _, row := range []struct {
		sentence, job string
		env           []string
		want          string
	}{
		{"a status", "vault-auto-unseal", nil, "\n    unsealing "},
		{"a hostile status", "eso-recovery", s.feign(call, hostile[:80_000], "", 0), "\n  began "},
		{"a status that fails", "third", s.feign(call, "began", "no such container", 1), hint},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			out, err := s.runScriptWithEnv("", row.env, "migrate", "--backup", backup, "--cronjobs", row.job)
			require.NoError(t, err, out)
			_, after, _ := strings.Cut(out, "theirs alone are gone\n")
			assert.Contains(t, after, row.want)
			assert.True(t, strings.HasSuffix(out, "migrate: done: the sidecar looks after Vault. scripts/verify checks it all\n"), out)
			assert.NotContains(t, out, "\nmigrate: all is well")
			assert.Less(t, len(after), 10_000)
			for _, r := range out {
				require.True(t, r == '\n' || r == '\t' || unicode.IsPrint(r), "%q in %q", r, out)
			}
		})
	}
}
