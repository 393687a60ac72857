package node

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two Vaults in one cluster, the second with the names that OpenBao's chart gives: both
// recover from a power cut, and neither sidecar may do anything to the other's pod.
func TestTwoVaults_RecoverAndStayApart(t *testing.T) {
	n := theHomelab(t)

	n.volumes("bao-data")
	dir := filepath.Join(n.copyManifests("namespace: security", "namespace: strongroom"), "homelab")
	_, err := n.run("", "cp", "-r", filepath.Join(machine.root, "patches"), filepath.Join(dir, "../.."))
	require.NoError(t, err)
	settings := filepath.Join(dir, "settings.yaml")
	n.replaceInFile(settings, strings.NewReplacer("namespace: security", "namespace: strongroom", "statefulSet: vault", "statefulSet: openbao",
		"container: vault", "container: openbao", "serviceAccount: vault", "serviceAccount: openbao",
		"vault.in.alybadawy.com", "bao.in.alybadawy.com", "vault-data-lh", "bao-data", "store: k8s-secrets", "store: bao-secrets"))
	// The settings rename the StatefulSet and its container, once patches/ has found them.
	names := strings.NewReplacer("kind: StatefulSet\nmetadata:\n  name: vault\n", "kind: StatefulSet\nmetadata:\n  name: vault\n", "        - name: vault\n", "        - name: vault\n", "name: vault\n", "name: openbao\n", "name: vault, port", "name: openbao, port", "vault-internal", "openbao-internal",
		"vault-server-binding", "openbao-server-binding", "name: vault-config", "name: openbao-config", "configMap: {name: vault-config}", "configMap: {name: openbao-config}",
		"app.kubernetes.io/name: vault", "app.kubernetes.io/name: openbao")
	n.replaceInFile(filepath.Join(dir, "vault.yaml"), names)
	n.replaceInFile(filepath.Join(dir, "external-secrets.yaml"), strings.NewReplacer("http://vault.", "http://openbao."))
	n.replaceInFile(filepath.Join(dir, "kustomization.yaml"), strings.NewReplacer("name: vault-config", "name: openbao-config",
		"ServiceAccount, name: vault}", "ServiceAccount, name: openbao}", "vault-server-binding", "openbao-server-binding", "  - app.yaml\n", ""))
	n.apply(n.render(dir))
	n.bootstrap("--settings", settings)

	bao := func(field string) string { return n.field(field, "-n", "strongroom", "pod", "openbao-0") }
	bothReady := func() {
		n.ready("vault-0")
		n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "-n", "strongroom", "pod", "openbao-0")
		for _, store := range []string{"k8s-secrets", "bao-secrets"} {
			n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "clustersecretstore", store)
		}
	}
	bothReady()

	n.cutPower("hang")
	n.notReady("vault-0")
	n.becomes("False", `{.status.conditions[?(@.type=="Ready")].status}`, "-n", "strongroom", "pod", "openbao-0")
	n.setStorage("open")
	n.becomes("1", `{.status.containerStatuses[?(@.name=="`+sidecarContainer+`")].restartCount}`, "-n", "strongroom", "pod", "openbao-0")
	bothReady()
	// Both may be Ready by the gates of before, for a moment.
	n.await("OpenBao's sidecar to tell its recovery", func() string {
		if said := bao(`{.status.conditions[?(@.type=="` + gateType + `")].message}`); !strings.Contains(said, "Recovered in ") {
			return said + " is what it tells"
		}
		return ""
	})

	n.verifyMustPass()
	n.runScript("", "verify", "--settings", settings)

	accounts := map[string]string{"security/vault-0": "system:serviceaccount:strongroom:openbao", "strongroom/openbao-0": "system:serviceaccount:security:vault"}
	for pod, account := range accounts {
		namespace, name, _ := strings.Cut(pod, "/")
		_, err := n.tryKubectl("-n", namespace, "--as", account, "patch", "pod", name, "--subresource=status", "-p", `{"status":{"message":"x"}}`)
		assert.ErrorContains(t, err, "(Forbidden)", "%s and %s", account, pod)
		_, err = n.tryKubectl("-n", namespace, "--as", account, "get", "secret", "vault-unseal-key")
		assert.ErrorContains(t, err, "(Forbidden)", "%s and the key beside %s", account, pod)
	}
}
