package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cronJobRBAC are the rights of the two CronJobs that are replaced. The jobs do nothing
// here but run.
const cronJobRBAC = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: vault-unsealer, namespace: security}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: eso-recovery}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: eso-recovery}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: eso-recovery}
subjects: [{kind: ServiceAccount, name: vault-unsealer, namespace: security}]
`

func cronJob(name string) string {
	return `
apiVersion: batch/v1
kind: CronJob
metadata: {name: ` + name + `, namespace: security}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          serviceAccountName: vault-unsealer
          restartPolicy: Never
          containers: [{name: c, image: "busybox:1.37", command: ["true"]}]
`
}

// applyChart applies what the official chart renders, as it was before the sidecar, with
// changes.
func (n *node) applyChart(changes ...*strings.Replacer) {
	n.Helper()
	n.volumes("vault-data-lh")
	text, err := os.ReadFile(filepath.Join(machine.root, "integration/testdata/vault-chart.yaml"))
	require.NoError(n, err)
	for _, change := range changes {
		text = []byte(change.Replace(string(text)))
	}
	n.apply("{apiVersion: v1, kind: Namespace, metadata: {name: security}}", `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: vault-data-lh, namespace: security}
spec: {accessModes: [ReadWriteOnce], storageClassName: longhorn, resources: {requests: {storage: 1Gi}}}
`, string(text), cronJobRBAC, cronJob("vault-auto-unseal"), cronJob("eso-recovery"))
}

// An installation by the chart moves from the CronJobs to the sidecar, and back.
func TestMigrate_MovesToTheSidecarAndBack(t *testing.T) {
	n := theNode(t)
	n.applyChart()
	backup := filepath.Join(t.TempDir(), "backup")
	key := n.initVault()
	n.scriptMustFail("scripts/seed-key puts the key there", "", "migrate", "--backup", backup)
	n.runScript(key, "seed-key")
	n.scriptMustFail("is sealed", "", "migrate", "--backup", backup)
	n.unseal(key)
	n.ready("vault-0")
	before := n.cronJobObjects()

	n.runScript("", "migrate", "--backup", backup, "--dry-run")
	assert.NoDirExists(t, backup)
	assert.Equal(t, "vault", n.field("{.spec.template.spec.containers[*].name}", "-n", "security", "statefulset", "vault"))
	n.runScript("", "migrate", "--backup", backup)
	n.ready("vault-0")
	assert.Equal(t, "vault "+sidecarContainer, n.field("{.spec.containers[*].name}", "-n", "security", "pod", "vault-0"))
	for what := range before {
		if what != "statefulset/vault" {
			assert.Empty(t, n.field("{.metadata.name}", "-n", "security", what), "%s is gone", what)
		}
	}
	n.runScript("", "verify")
	n.runScript("", "migrate", "--backup", backup)

	n.runScript("", "migrate", "--rollback", "--backup", backup, "--dry-run")
	n.runScript("", "migrate", "--rollback", "--backup", backup)
	assert.Equal(t, "vault", n.field("{.spec.containers[*].name}", "-n", "security", "pod", "vault-0"))
	assert.Equal(t, before, n.cronJobObjects(), "it is as it was")
	assert.Empty(t, n.field("{.metadata.name}", "-n", "security", "role", sidecarContainer), "the sidecar's rights are gone")
	n.scriptMustFail("add the component patches to the kustomization that renders it", "", "verify")

	// Again, for a StatefulSet that comes from Git.
	n.unseal(key)
	n.ready("vault-0")
	own := n.writeKustomization("vault-chart.yaml")
	n.scriptMustFail("renders no container", "", "migrate", "--backup", backup, "--home", filepath.Join(machine.root, "manifests"))
	n.runScript("", "migrate", "--backup", backup, "--home", own)
	n.ready("vault-0")
	assert.Equal(t, "vault "+sidecarContainer, n.field("{.spec.containers[*].name}", "-n", "security", "pod", "vault-0"))
	n.runScript("", "verify")
}

// cronJobObjects are the objects of an installation with CronJobs, without what only the cluster
// knows.
func (n *node) cronJobObjects() map[string]string {
	n.Helper()
	out := map[string]string{}
	for what, path := range map[string]string{
		"cronjob/vault-auto-unseal":       "{.spec}",
		"cronjob/eso-recovery":            "{.spec}",
		"clusterrole/eso-recovery":        "{.rules}",
		"clusterrolebinding/eso-recovery": "{.roleRef}{.subjects}",
		"serviceaccount/vault-unsealer":   "{.metadata.name}",
		"statefulset/vault":               "{.spec}",
	} {
		out[what] = n.field(path, "-n", "security", what)
		require.NotEmpty(n, out[what], what)
		require.NotContains(n, out[what], "error: ", what)
	}
	return out
}

// initVault initializes the chart's Vault and returns its key.
func (n *node) initVault() (key string) {
	n.Helper()
	n.becomes("true", `{.status.containerStatuses[?(@.name=="vault")].started}`, "-n", "security", "pod", "vault-0")
	n.await("Vault to be initialized", func() (problem string) {
		out, err := n.tryKubectl("-n", "security", "exec", "vault-0", "--", "vault", "operator", "init", "-format=json", "-key-shares=1", "-key-threshold=1")
		if err != nil {
			return err.Error()
		}
		_, rest, _ := strings.Cut(out, `"unseal_keys_b64": [`)
		key = strings.Split(rest, `"`)[1]
		return ""
	})
	return key
}

// unseal does what a person or the CronJob does.
func (n *node) unseal(key string) {
	n.Helper()
	n.await("Vault to take its key", func() string {
		if _, err := n.run(key, filepath.Join(machine.bin, "kubectl"), "-n", "security", "exec", "-i", "vault-0", "--", "vault", "write", "sys/unseal", "key=-"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// writeKustomization makes one of a StatefulSet of the test data, with the patch in
// it, and returns its folder.
func (n *node) writeKustomization(of string) string {
	n.Helper()
	folder := n.TempDir()
	text, err := os.ReadFile(filepath.Join(machine.root, "integration/testdata", of))
	require.NoError(n, err)
	require.NoError(n, os.WriteFile(filepath.Join(folder, of), text, 0o600))
	patches, err := filepath.Rel(folder, filepath.Join(machine.root, "patches"))
	require.NoError(n, err)
	require.NoError(n, os.WriteFile(filepath.Join(folder, "kustomization.yaml"),
		[]byte("resources: ["+of+"]\ncomponents: ["+patches+"]\n"), 0o600))
	return folder
}
