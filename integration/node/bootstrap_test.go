package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failingCreateKubectl is a kubectl whose first two creations fail.
const failingCreateKubectl = `#!/bin/bash
if [[ "$*" == *" create -f -" && $(wc -l <COUNT) -lt 2 ]]; then
	echo x >>COUNT
	echo "the server is currently unable to handle the request" >&2
	exit 1
fi
exec BIN/kubectl "$@"
`

// A bootstrap that cannot end well ends before it has made a key, and one that
// has made it does not lose it.
func TestBootstrap_FailuresLoseNoKey(t *testing.T) {
	n := theNode(t)
	n.applyHomelab()
	n.awaitGateCondition("False", "NotInitialized")
	empty := func(when string) {
		t.Helper()
		n.awaitGateCondition("False", "NotInitialized")
		assert.Empty(t, n.field("{.data}", "-n", "security", "secret", "vault-unseal-key"), when)
	}

	n.apply(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: vault-weak}
rules:
  - {apiGroups: [""], resources: [namespaces, pods, secrets], verbs: [get, list]}
  - {apiGroups: [apps], resources: [statefulsets], verbs: [get]}
  - {apiGroups: [""], resources: [pods/exec], verbs: [get, create]}
`, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: weak, namespace: security}}`, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-weak}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: vault-weak}
subjects: [{kind: ServiceAccount, name: weak, namespace: security}]
`)
	n.kubectl("config", "set-credentials", "weak", "--token="+strings.TrimSpace(n.kubectl("-n", "security", "create", "token", "weak")))
	n.kubectl("config", "set-context", "weak", "--user=weak", "--cluster="+strings.Fields(n.kubectl("config", "get-clusters"))[1])
	n.scriptMustFail("you may not create Secrets in security, so the key would be lost: nothing was done", "", "bootstrap", "--show-root-token", "--context", "weak")
	empty("nobody could have kept the key")

	n.runScript(someKey(t), "seed-key")
	n.scriptMustFail("Vault is empty, but the Secret vault-unseal-key holds a key", "", "bootstrap")
	n.kubectl("-n", "security", "delete", "secret", "vault-unseal-key")
	empty("the Secret held another's key")

	count := filepath.Join(t.TempDir(), "count")
	require.NoError(t, os.WriteFile(count, nil, 0o600))
	unwrap := n.replaceProgram("kubectl", strings.NewReplacer("COUNT", count, "BIN", machine.bin).Replace(failingCreateKubectl))
	out := n.bootstrap("--shares", "3", "--threshold", "2")
	unwrap()
	assert.Contains(t, out, "the unseal key is in the Secret vault-unseal-key")
	assert.Contains(t, out, "revoked the root token")
	key := n.unsealKey()
	assert.Len(t, strings.Fields(key), 3)
	n.ready("vault-0")

	// Shares that are not Vault's make no root token, and leave no attempt.
	attempt := func(args ...string) string {
		return n.kubectl(append([]string{"-n", "security", "exec", "vault-0", "-c", "vault", "--", "vault", "operator", "generate-root"}, args...)...)
	}
	n.runScript(strings.Repeat("A", 44)+"\n"+strings.Repeat("B", 44), "seed-key", "--replace")
	n.scriptMustFail("are not Vault's key, or too few, to make a root token", "", "bootstrap")
	assert.Regexp(t, `Started +false`, attempt("-status"))
	n.kubectl("-n", "security", "delete", "secret", "vault-unseal-key")
	n.scriptMustFail("the Secret vault-unseal-key with its unseal key is missing: scripts/seed-key", "", "bootstrap")
	n.runScript(key, "seed-key")

	// An attempt of another client is not canceled.
	attempt("-init")
	n.scriptMustFail("another attempt to make a root token is under way", "", "bootstrap")
	assert.Regexp(t, `Started +true`, attempt("-status"))
	attempt("-cancel")
	n.runScript("", "bootstrap")

	_, err := n.tryKubectl("-n", "security", "exec", "vault-0", "-c", "vault", "--", "vault", "operator", "seal")
	require.Error(t, err, "no token is left in the pod")
}
