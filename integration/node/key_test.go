package node

import (
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unsealKey is what the Secret holds.
func (n *node) unsealKey() string {
	text, err := base64.StdEncoding.DecodeString(n.field("{.data.key}", "-n", "security", "secret", "vault-unseal-key"))
	require.NoError(n, err)
	return strings.TrimSpace(string(text))
}

func someKey(t *testing.T) string {
	var b [32]byte
	_, err := rand.Read(b[:])
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(b[:])
}

// seal seals Vault as an operator does.
func (n *node) seal() {
	n.Helper()
	n.asMaria("vault operator seal")
	n.awaitGateCondition("False", "HeldByOperator")
	n.notReady("vault-0")
}

// The Secret is missing when the pod starts, then wrong, then right: each
// repaired by kubectl or by a script alone.
func TestKey_MissingOrWrongIsRepaired(t *testing.T) {
	n := theHomelab(t)
	right := n.unsealKey()
	n.kubectl("-n", "security", "delete", "secret", "vault-unseal-key")
	n.kubectl("-n", "security", "delete", "pod", "vault-0")
	n.awaitGateCondition("False", "NoKey")
	assert.Equal(t, "true", n.field(`{.status.containerStatuses[?(@.name=="vault")].started}`, "-n", "security", "pod", "vault-0"), "Vault runs")
	n.notReady("vault-0")

	n.scriptMustFail("too short for a share", "half a key\n", "seed-key")
	n.scriptMustFail("this is not a key: empty", "\n", "seed-key")
	n.runScript(someKey(t), "seed-key")
	n.awaitGateCondition("False", "KeyRejected")
	n.notReady("vault-0")
	n.scriptMustFail("holds another key", right, "seed-key")
	n.runScript(right, "seed-key", "--replace", "--dry-run")
	assert.NotEqual(t, right, n.unsealKey())
	n.runScript(right, "seed-key", "--replace")
	n.runScript(right, "seed-key", "--replace")
	n.awaitGateCondition("True", "Unsealed")
	n.ready("vault-0")
	n.verifyMustPass()
	n.runScript(someKey(t), "seed-key", "--replace")
	n.scriptMustFail("thing(s) wrong", "", "verify") // whichever key is mounted by now
	n.runScript(right, "seed-key", "--replace")
	n.leaveHomelab()
}

// A seal set by hand is held over a restart of the sidecar, and ends in each of
// the documented ways.
func TestOperatorSeal_IsHeldOverRestarts(t *testing.T) {
	n := theHomelab(t)
	n.seal()
	n.killContainer(sidecarContainer)
	n.becomes("1", `{.status.containerStatuses[?(@.name=="`+sidecarContainer+`")].restartCount}`, "-n", "security", "pod", "vault-0")
	n.await("the new sidecar to hold it", func() string {
		s, err := n.status("vault-0")
		if err != nil {
			return err.Error()
		}
		if s.Phase != "held" {
			return "it is " + s.Phase
		}
		return ""
	})
	n.awaitGateCondition("False", "HeldByOperator")

	_, err := n.run(n.unsealKey(), filepath.Join(machine.bin, "kubectl"), "-n", "security", "exec", "-i", "vault-0", "-c", "vault", "--",
		"vault", "write", "sys/unseal", "key=-")
	require.NoError(t, err, "by hand")
	n.awaitGateCondition("True", "Unsealed")

	n.seal()
	n.kubectl("-n", "security", "delete", "pod", "vault-0")
	n.awaitGateCondition("True", "Unsealed")

	n.seal()
	// The same key in another form is a change of the Secret, but of no key.
	n.runScript(n.unsealKey()+"\n"+someKey(t), "seed-key", "--replace")
	n.awaitGateCondition("True", "Unsealed")
	n.ready("vault-0")
}
