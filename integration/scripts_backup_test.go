package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maliciousBinding is what an attacker would have an administrator apply.
const maliciousBinding = `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "evil"},
	"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
	"subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": "tenant"}]}`

// The backup's folder is its owner's alone, and only what migrate saved in it is
// applied.
func TestMigrate_BackupIsPrivate(t *testing.T) {
	t.Parallel()
	s := newMigrationScenario(t)
	share := strings.TrimSpace(s.secretData()["key"])
	job := strings.NewReplacer("NAME", "eso-recovery", "restartPolicy", "serviceAccountName: vault-unsealer, restartPolicy",
		`"busybox:1.37"`, `"busybox:1.37", env: [{name: KEY, value: "`+share+`"}]`).Replace(idleCronJobManifest)
	require.NoError(t, s.cluster.Apply(s.ctx, job))
	before := s.listObjects()
	backup := filepath.Join(s.env.Dir, "backup")
	require.NoError(t, os.Mkdir(backup, 0o755))
	assert.Contains(t, s.mustRun("", "migrate", "--backup", backup), "a CronJob has the unseal key in its template, and so has "+backup)
	mode := func(name string) os.FileMode {
		info, err := os.Lstat(filepath.Join(backup, name))
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	assert.Equal(t, os.FileMode(0o700), mode("."))
	for _, name := range []string{"objects.json", "rights.json", ".gitignore"} {
		assert.Equal(t, os.FileMode(0o600), mode(name), name)
	}
	ignored, err := os.ReadFile(filepath.Join(backup, ".gitignore"))
	require.NoError(t, err)
	assert.Equal(t, "*\n", string(ignored))

	refused := func(why, backup string) {
		t.Helper()
		now := s.listObjects()
		s.mustFail(why, "", "migrate", "--rollback", "--backup", backup)
		s.mustFail(why, "", "migrate", "--backup", backup)
		assert.Equal(t, now, s.listObjects(), why)
	}
	link := filepath.Join(s.env.Dir, "link")
	require.NoError(t, os.Symlink(backup, link))
	refused("symbolic link", link+"/")
	require.NoError(t, os.Chmod(backup, 0o770))
	refused("others may write", backup)
	require.NoError(t, os.Chmod(backup, 0o700))
	require.NoError(t, os.Chmod(filepath.Join(backup, "objects.json"), 0o666))
	refused("others may write", backup)
	require.NoError(t, os.Chmod(filepath.Join(backup, "objects.json"), 0o600))
	theirs := "/usr"
	if os.Getuid() == 0 {
		theirs = filepath.Join(s.env.Dir, "theirs")
		require.NoError(t, os.Mkdir(theirs, 0o700))
		require.NoError(t, os.Chown(theirs, 65534, 65534))
	}
	refused("is another user's", theirs)

	// A backup of the earlier form, and what others put beside it.
	earlier := filepath.Join(s.env.Dir, "earlier")
	require.NoError(t, os.Mkdir(earlier, 0o755))
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(earlier, name), []byte(text), 0o600))
	}
	text, err := os.ReadFile(filepath.Join(backup, "objects.json"))
	require.NoError(t, err)
	var list struct{ Items []map[string]any }
	require.NoError(t, json.Unmarshal(text, &list))
	require.NotEmpty(t, list.Items)
	for _, o := range list.Items {
		kind, name := o["kind"].(string), o["metadata"].(map[string]any)["name"].(string)
		prefix := map[string]string{"CronJob": "cronjob-", "ServiceAccount": "account-", "ClusterRole": "role-ClusterRole-security-"}[kind]
		if prefix == "" {
			prefix = fmt.Sprintf("right-%s-security-", kind)
		}
		text, err := json.Marshal(o)
		require.NoError(t, err)
		write(prefix+name+".json", string(text))
	}
	write("evil.json", maliciousBinding)
	write("\x1b[2J.json", maliciousBinding)
	write("right-ConfigMap-security-x.json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "evil", "namespace": "security"}}`)
	write("rights.yaml", "---\n# 1 2\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: vault-data, namespace: security}\n"+
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: vault-unseal-sidecar, namespace: security}\n")
	out := s.mustRun("", "migrate", "--rollback", "--backup", earlier)
	assert.Contains(t, out, "others may read")
	assert.Contains(t, out, earlier+"/evil.json was not saved by migrate: it is not read")
	assert.NotContains(t, out, "\x1b")
	assert.Contains(t, out, "the PersistentVolumeClaim security/vault-data")
	after := s.listObjects()
	assert.Equal(t, []string{"Role security/vault-unseal-sidecar"}, removedObjects(before, after))
	assert.NotContains(t, after, "ClusterRoleBinding evil")
	assert.NotContains(t, after, "ConfigMap security/evil")
}
