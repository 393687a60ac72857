package node

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Vault that answers 403 to a rekey without a token, as Vault from 2.0
// does: it moves to the sidecar, gets an administrator and a new key, and is not
// closed with a key that nobody proved or trusts.
func TestVault2_MigratesAndRotatesWithAToken(t *testing.T) {
	n := theNode(t)
	n.applyChart(strings.NewReplacer(`"[::]:8200"`, `"127.0.0.1:8300"`,
		"          env:\n", "          env:\n            - {name: CLOSED_RULE, value: vault2}\n            - {name: CLOSED_LISTEN, value: \"[::]:8200\"}\n"))
	n.becomes("true", `{.status.containerStatuses[?(@.name=="vault")].started}`, "-n", "security", "pod", "vault-0")
	var made struct {
		Keys  []string `json:"unseal_keys_b64"`
		Token string   `json:"root_token"`
	}
	n.await("Vault to be initialized", func() string {
		out, err := n.tryKubectl("-n", "security", "exec", "vault-0", "--", "vault", "operator", "init", "-format=json", "-key-shares=1", "-key-threshold=1")
		if err != nil {
			return err.Error()
		}
		require.NoError(t, json.Unmarshal([]byte(out), &made))
		return ""
	})
	n.runScript(made.Keys[0], "seed-key")
	n.unseal(made.Keys[0])
	n.ready("vault-0")
	before := n.cronJobObjects()
	backup := filepath.Join(t.TempDir(), "backup")

	n.scriptMustFail("could not be proved: nothing was changed. Vault takes a rekey only with a token that may", "", "migrate", "--backup", backup)
	assert.Equal(t, before, n.cronJobObjects())
	assert.Contains(t, n.runScript(made.Token+"\n", "migrate", "--backup", backup, "--token-file", "-"), "proved: Vault takes the key")
	n.ready("vault-0")
	assert.Contains(t, n.runScript(made.Token+"\n"+someKey(t), "bootstrap", "--token-file", "-", "--admin", "maria", "--prove-role", sidecarContainer), "can log in: maria")
	n.scriptMustFail("give one with --token-file", "", "rotate")
	n.runScript(made.Token+"\n", "rotate", "--token-file", "-")
	assert.NotEqual(t, made.Keys[0], n.unsealKey())
	n.recreatePod()
	n.ready("vault-0")

	// A dead key that is trusted: the sidecar's word on it is waited for, and no
	// longer.
	n.runScript(someKey(t), "seed-key", "--secret", "dead")
	var cancel context.CancelFunc
	all := n.ctx
	n.ctx, cancel = context.WithTimeout(all, waitTimeout)
	n.scriptMustFail("the sidecar has not brought back vault-0: ", "", "migrate", "--backup", backup, "--secret", "dead", "--trust-key")
	cancel()
	n.ctx = all
	n.awaitGateCondition("False", "KeyRejected")
}
