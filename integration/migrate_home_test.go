package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const helmHome = `
helmGlobals: {chartHome: charts}
helmCharts: [{name: vault, releaseName: vault, namespace: security}]
components: [patches]
`

// A kustomization may have the chart rendered: the tests of the chart are no part of
// what is installed.
func TestMigrate_HomeMayRenderAChart(t *testing.T) {
	t.Parallel()
	s := newMigrationScenario(t)
	s.deleteObject(statefulSetsResource, "security", "vault")
	without := statefulSet(t, helmTemplate(t, s.env))
	text, err := without.MarshalJSON()
	require.NoError(t, err)
	require.NoError(t, s.cluster.Apply(s.ctx, string(text)))
	require.NoError(t, os.Symlink(s.env.Binary("servers/helm/helm"), filepath.Join(s.env.Dir, "bin", "helm")))
	home := copied(t, s.env)
	require.NoError(t, os.CopyFS(filepath.Join(home, "charts"), os.DirFS("testdata/chart")))
	require.NoError(t, os.WriteFile(filepath.Join(home, "kustomization.yaml"), []byte(helmHome), 0o644))
	rendered, err := s.kubectl("", "kustomize", "--enable-helm", "--helm-command", s.env.Binary("servers/helm/helm"), home)
	require.NoError(t, err, rendered)
	require.Contains(t, rendered, "vault-server-test", "the chart has a test")

	s.mustRun("", "migrate", "--backup", filepath.Join(s.env.Dir, "backup"), "--home", home)
	assert.NotContains(t, s.listObjects(), "Pod security/vault-server-test")
	set, err := s.cluster.Get(s.ctx, "apps/v1", "StatefulSet", "security", "vault")
	require.NoError(t, err)
	_, names := list(t, set, "containers", "name")
	assert.Equal(t, []string{"vault", "vault-unseal-sidecar"}, names)
	_, err = s.cluster.Get(s.ctx, "v1", "Service", "security", "vault")
	assert.NoError(t, err, "what else the chart makes is applied")
}
