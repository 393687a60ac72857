package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Vault whose binary has the file capability IPC_LOCK does not start where a
// container may have none, and starts with what sidecar/README.md has one add.
func TestVaultBinary_WithFileCapabilityNeedsIPCLock(t *testing.T) {
	const home = "resources: [manifests/homelab]\nimages: [{name: hashicorp/vault, newName: localhost/vault, newTag: file-capability}]\n"
	const add = "capabilities: {drop: [ALL], add: [IPC_LOCK]}"
	n := theNode(t)
	readme, err := os.ReadFile(filepath.Join(machine.root, "sidecar/README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), "`"+add+"`")

	n.volumes("vault-data-lh")
	n.apply(n.overlay(home, nil))
	n.await("exec to fail", func() string {
		seen, err := n.tryKubectl("-n", "security", "logs", "vault-0", "-c", "vault")
		if err != nil || !strings.Contains(seen, "exec /bin/vault: operation not permitted") {
			return fmt.Sprintf("vault's container logged %q %v", seen, err)
		}
		return ""
	})

	n.apply(n.overlay(home+`
patches:
  - target: {kind: StatefulSet, name: vault}
    patch: |-
      apiVersion: apps/v1
      kind: StatefulSet
      metadata: {name: vault}
      spec: {template: {spec: {containers: [{name: vault, securityContext: {`+add+`}}]}}}
`, nil))
	n.kubectl("-n", "security", "delete", "pod", "vault-0")
	n.awaitGateCondition("False", "NotInitialized")
	n.runScript(someKey(t), "bootstrap", "--admin", "maria")
	n.ready("vault-0")
}
