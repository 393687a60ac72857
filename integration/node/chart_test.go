package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The official chart of today, by kustomize over what it renders and by Helm alone, ends
// with a verify that finds nothing wrong, and comes back from a power cut.
func TestChart_EachWayEndsAllGreen(t *testing.T) {
	n := theNode(t)
	n.subtest("by kustomize", func(t *testing.T) {
		n.installChart(n.overlay("resources: [chart.yaml]\ncomponents: [patches, patches/services]\n", map[string]string{"chart.yaml": n.chart()}))
		assert.NotContains(t, n.runScript("", "verify"), "WRONG")
		n.cutPower("hang")
		n.notReady("vault-0")
		n.setStorage("open")
		n.ready("vault-0")
		assert.NotContains(t, n.runScript("", "verify"), "WRONG")
	})
	n.deleteHomelab()
	n.subtest("by Helm alone", func(t *testing.T) {
		n.installChart(n.helmTemplate())
		out := n.runScript("", "verify")
		assert.NotContains(t, out, "WRONG")
		assert.Contains(t, out, "it is no readiness gate, as with Helm alone")
		n.cutPower("hang")
		n.notReady("vault-0")
		n.setStorage("open")
		n.ready("vault-0")
		n.awaitGateCondition("True", "Unsealed")
		assert.NotContains(t, n.runScript("", "verify"), "WRONG")
	})
}

// chart is what the chart of today renders, with a Vault and a volume of this node's.
func (n *node) chart() string {
	n.Helper()
	text, err := os.ReadFile(filepath.Join(machine.root, "integration/testdata/vault-chart-claims.yaml"))
	require.NoError(n, err)
	return strings.NewReplacer("hashicorp/vault:2.0.4", "hashicorp/vault:1.21.4", "storage: 10Gi", "storage: 1Gi").Replace(string(text))
}

// helmTemplate has Helm render that chart, with the values of patches/helm, where the
// official one has its values for more containers and volumes.
func (n *node) helmTemplate() string {
	n.Helper()
	dir := n.TempDir()
	template := strings.NewReplacer(
		"      containers:\n", "        {{- toYaml .Values.server.volumes | nindent 8 }}\n      containers:\n",
		"  volumeClaimTemplates:\n", "        {{- toYaml .Values.server.extraContainers | nindent 8 }}\n  volumeClaimTemplates:\n",
	).Replace(n.chart())
	require.NoError(n, os.Mkdir(filepath.Join(dir, "templates"), 0o755))
	require.NoError(n, os.WriteFile(filepath.Join(dir, "templates/server.yaml"), []byte(template), 0o644))
	require.NoError(n, os.WriteFile(filepath.Join(dir, "Chart.yaml"), []byte("{apiVersion: v2, name: vault, version: 1.0.0}"), 0o644))
	out, err := n.run("", filepath.Join(machine.root, "bin/servers/helm/helm"), "template", "vault", dir, "--namespace", "security",
		"--values", filepath.Join(machine.root, "patches/helm/values.yaml"))
	require.NoError(n, err)
	return out
}

// installChart applies what a chart renders and the sidecar's rights, and initializes Vault.
func (n *node) installChart(rendered string) {
	n.Helper()
	n.volumes("chart-data")
	n.apply("{apiVersion: v1, kind: Namespace, metadata: {name: security}}", rendered, n.render("manifests"))
	n.bootstrap()
	n.ready("vault-0")
}
