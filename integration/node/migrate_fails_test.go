package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sharedRBAC is what the CronJobs have together with others: a role and a binding,
// and an account that a Deployment uses.
const sharedRBAC = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: vault-shared}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-shared}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: vault-shared}
subjects:
  - {kind: ServiceAccount, name: vault-unsealer, namespace: security}
  - {kind: ServiceAccount, name: somebody, namespace: security}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-own}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: vault-shared}
subjects: [{kind: ServiceAccount, name: vault-unsealer, namespace: security}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: vault-busy, namespace: security}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vault-busy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: vault-busy, namespace: security}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy, namespace: security}
spec:
  replicas: 0
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec: {serviceAccountName: vault-busy, containers: [{name: c, image: "busybox:1.37"}]}
`

// imageAfterDeleteKubectl is a kubectl that puts the image onto the node when a pod is deleted.
const imageAfterDeleteKubectl = `#!/bin/bash
if [[ "$*" == *" delete pod "* ]]; then
	nsenter -t "$(<DIR/init.pid)" -m -n -p ctr -a DIR/containerd.sock -n k8s.io \
		images tag --force "$(sed -n "s/^ *image: //p" ROOT/patches/pod/pod.yaml)" localhost/late:v1 >&2
fi
exec BIN/kubectl "$@"
`

// What a migration could not end well with, it refuses before it changes
// anything; when the gate does not open, the CronJobs go on; and the run after
// it brings about what its options say.
func TestMigrate_FailuresLeaveTheCronJobs(t *testing.T) {
	n := theNode(t)
	n.applyChart()
	n.apply(sharedRBAC, strings.Replace(cronJob("vault-extra"), "vault-unsealer", "vault-busy", 1))
	key := n.initVault()
	n.unseal(key)
	n.ready("vault-0")
	n.runScript(key, "seed-key", "--secret", "other")
	backup := filepath.Join(t.TempDir(), "backup")
	migrate := []string{"--backup", backup, "--secret", "other", "--cronjobs", "vault-auto-unseal eso-recovery vault-extra"}
	with := func(args ...string) []string { return append(migrate[:len(migrate):len(migrate)], args...) }
	before := n.cronJobObjects()
	unchanged := func(when string) {
		t.Helper()
		assert.Equal(t, before, n.cronJobObjects(), when)
		assert.NoDirExists(t, backup, when)
	}

	n.scriptMustFail("there is no CronJob vault-unsealing in security", "", "migrate", with("--cronjobs", "vault-auto-unseal vault-unsealing")...)
	unchanged("a CronJob of that name is not there")
	n.scriptMustFail("would have the Secret vault-unseal-key mounted, and the key was found in other", "",
		"migrate", with("--home", n.writeKustomization("vault-chart.yaml"))...)
	unchanged("the kustomization mounts another Secret")
	elsewhere := n.copyManifests("namespace: security", "namespace: nowhere")
	n.scriptMustFail("nothing was changed", "", "migrate", with("--manifests", elsewhere)...)
	unchanged("the rights are for a namespace that is not there")
	n.scriptMustFail("The StatefulSet and the CronJobs are as they were", "",
		"migrate", with("--manifests", n.copyManifests("serviceAccount: vault", "serviceAccount: somebody"))...)
	assert.Equal(t, before, n.cronJobObjects(), "the rights are of another account")

	// The gate never opens.
	n.scriptMustFail("localhost/late:v1", "", "migrate", with("--image", "localhost/late:v1")...)
	after := n.cronJobObjects()
	for what := range before {
		if what != "statefulset/vault" {
			assert.Equal(t, before[what], after[what], "%s goes on", what)
		}
	}
	n.unseal(key) // as the CronJob would

	// Then the image is there, under the same name: no template is newer, and
	// the next try of the kubelet may be minutes away. Here only a new pod finds
	// it.
	own := n.copyManifests("components:", "components:\n  - network")
	unwrap := n.replaceProgram("kubectl", strings.NewReplacer("BIN", machine.bin, "DIR", machine.dir, "ROOT", machine.root).Replace(imageAfterDeleteKubectl))
	n.runScript("", "migrate", with("--image", "localhost/late:v1", "--manifests", own)...)
	unwrap()
	n.ready("vault-0")
	assert.Equal(t, "localhost/late:v1", n.field(`{.spec.containers[?(@.name=="`+sidecarContainer+`")].image}`, "-n", "security", "pod", "vault-0"))
	assert.Equal(t, "other", n.field(`{.spec.volumes[?(@.name=="unseal-key")].secret.secretName}`, "-n", "security", "pod", "vault-0"))
	assert.Equal(t, "vault "+sidecarContainer, n.field("{.spec.containers[*].name}", "-n", "security", "pod", "vault-0"))
	for _, gone := range []string{"cronjob/vault-auto-unseal", "cronjob/eso-recovery", "cronjob/vault-extra", "clusterrolebinding/eso-recovery",
		"clusterrole/eso-recovery", "clusterrolebinding/vault-own", "serviceaccount/vault-unsealer"} {
		assert.Empty(t, n.field("{.metadata.name}", "-n", "security", gone), "%s is gone", gone)
	}
	for _, stays := range []string{"clusterrolebinding/vault-shared", "clusterrole/vault-shared", "serviceaccount/vault-busy",
		"clusterrolebinding/vault-busy", "clusterrole/view"} {
		_, name, _ := strings.Cut(stays, "/")
		assert.Equal(t, name, n.field("{.metadata.name}", "-n", "security", stays), "%s is used by others too", stays)
	}

	// Another Secret, by another run; the rest stays as it is.
	n.runScript(key, "seed-key")
	n.runScript("", "migrate", with("--secret", "vault-unseal-key")...)
	n.ready("vault-0")
	assert.Equal(t, "vault-unseal-key", n.field(`{.spec.volumes[?(@.name=="unseal-key")].secret.secretName}`, "-n", "security", "pod", "vault-0"))
	assert.Equal(t, "localhost/late:v1", n.field(`{.spec.containers[?(@.name=="`+sidecarContainer+`")].image}`, "-n", "security", "pod", "vault-0"))
	n.runScript("", "verify")

	// It knows by itself which rights it gave, in any of the runs.
	require.Equal(t, sidecarContainer, n.field("{.metadata.name}", "-n", "security", "networkpolicy", sidecarContainer))
	n.runScript("", "migrate", "--rollback", "--backup", backup)
	assert.Equal(t, before, n.cronJobObjects())
	assert.Empty(t, n.field("{.metadata.name}", "-n", "security", "networkpolicy", sidecarContainer))
}

// copyManifests copies manifests/, with something in it replaced, and returns where.
func (n *node) copyManifests(old, text string) string {
	n.Helper()
	dir := n.TempDir()
	_, err := n.run("", "cp", "-r", filepath.Join(machine.root, "manifests"), dir)
	require.NoError(n, err)
	dir = filepath.Join(dir, "manifests")
	found := false
	for _, file := range []string{"settings.yaml", "kustomization.yaml"} {
		path := filepath.Join(dir, file)
		was, err := os.ReadFile(path)
		require.NoError(n, err)
		found = found || strings.Contains(string(was), old)
		require.NoError(n, os.WriteFile(path, []byte(strings.Replace(string(was), old, text, 1)), 0o644))
	}
	require.True(n, found, old)
	return dir
}

// replaceInFile replaces in a file.
func (n *node) replaceInFile(path string, with *strings.Replacer) {
	n.Helper()
	was, err := os.ReadFile(path)
	require.NoError(n, err)
	require.NoError(n, os.WriteFile(path, []byte(with.Replace(string(was))), 0o644))
}
