package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRotate_ReplacesTheKey(t *testing.T) {
	n := theHomelab(t)
	first := n.unsealKey()
	n.runScript("", "rotate", "--dry-run")
	assert.Equal(t, first, n.unsealKey())
	n.runScript("", "rotate")
	second := n.unsealKey()
	assert.NotEqual(t, first, second)
	n.runScript("", "rotate", "--shares", "3", "--threshold", "2")
	assert.Len(t, strings.Fields(n.unsealKey()), 3)
	assert.Equal(t, "0", n.restartCount(sidecarContainer), "it was not restarted for it")
	n.verifyMustPass()
	n.cutPower("open")
	n.awaitRebooted("vault-0")
	n.ready("vault-0")
}

// killingKubectl is a kubectl that kills the script which calls it after the call, at
// the one of that number among those that change something.
const killingKubectl = `#!/bin/bash
%s/kubectl "$@"
code=$?
case "$*" in
*" annotate secret "*|*" replace "*|*" write "*" sys/rekey/"*)
	echo x >>%s
	[[ $(wc -l <%[2]s) != "$KILL_AT" ]] || kill -9 -- -"$(ps -o pgid= $$ | tr -d ' ')" ;;
esac
exit $code
`

// rotationSteps are the calls of a rotation that change something, those after which
// it is killed and Vault's pod replaced, and one that leaves a rekey in Vault, as long as
// it does not restart. TestRotate_SucceedsUnderEachRule of ../ is killed after all of them.
var rotationSteps = []struct {
	name          string
	tried, leaves bool
}{
	{"noting that one will be", false, false},
	{"beginning it", false, false},
	{"noting which it is", false, false},
	{"making the new key", false, true},
	{"putting it beside the old one", true, false},
	{"changing over", true, false},
	{"putting it in the place of the old one", false, false},
	{"taking it away beside it", false, false},
	{"taking the note away", false, false},
}

// When a rotation is killed, Vault comes back with what the Secret holds
// then, and the next run ends well.
func TestRotate_KilledAtAnyStepRecovers(t *testing.T) {
	n := theHomelab(t)
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kubectl"), fmt.Appendf(nil, killingKubectl, machine.bin, calls), 0o755))
	rotate := func(at int) error {
		require.NoError(n, os.WriteFile(calls, nil, 0o644))
		_, err := n.run("", "setsid", "--wait", "env", fmt.Sprintf("KILL_AT=%d", at), "PATH="+dir+":"+os.Getenv("PATH"),
			filepath.Join(machine.root, "scripts/rotate"))
		return err
	}
	require.NoError(t, rotate(0))
	text, err := os.ReadFile(calls)
	require.NoError(t, err)
	steps := strings.Count(string(text), "x")
	require.Equal(t, len(rotationSteps), steps, "the calls that change something")
	for i, call := range rotationSteps {
		at := i + 1
		if !call.tried {
			continue
		}
		n.subtest("killed after "+call.name, func(t *testing.T) {
			before := n.unsealKey()
			require.Error(t, rotate(at))
			n.recreatePod()
			n.ready("vault-0")
			require.NoError(t, rotate(0), "the next run")
			assert.NotEqual(t, before, n.unsealKey())
			assert.Empty(t, n.field(`{.data.key-next}`, "-n", "security", "secret", "vault-unseal-key"))
		})
	}
	n.verifyMustPass()

	// Vault forgets a rekey when it restarts. Where it did not, the next run ends
	// what was left.
	for i, call := range rotationSteps {
		if call.leaves {
			n.subtest("rekey is left after "+call.name, func(t *testing.T) {
				require.Error(t, rotate(i+1))
				assert.Contains(t, n.runScript("", "rotate"), "canceling its rekey")
			})
		}
	}

	// A foreign rekey is neither canceled nor used.
	theirs, before := n.startRekey("-init", "-key-shares=1", "-key-threshold=1"), n.unsealKey()
	require.NotEmpty(t, theirs)
	n.scriptMustFail("somebody else's rekey is under way", "", "rotate")
	assert.Equal(t, theirs, n.startRekey("-status"))
	assert.Equal(t, before, n.unsealKey())
	n.startRekey("-cancel", "-nonce="+theirs)
	n.leaveHomelab()
}

// startRekey returns the nonce of the rekey that is under way.
func (n *node) startRekey(args ...string) string {
	n.Helper()
	out := n.kubectl(append([]string{"-n", "security", "exec", "vault-0", "-c", "vault", "--", "vault", "operator", "rekey", "-format=json"}, args...)...)
	_, nonce, _ := strings.Cut(out, `"nonce": "`)
	nonce, _, _ = strings.Cut(nonce, `"`)
	return nonce
}
