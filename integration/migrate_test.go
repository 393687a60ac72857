package integration

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// cronJobManifests are the CronJobs, with their rights, for a StatefulSet that has the
// sidecar already, and the objects around it.
const cronJobManifests = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: vault, namespace: security}
spec:
  serviceName: vault
  replicas: 1
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app.kubernetes.io/name: vault}}
  template:
    metadata: {labels: {app.kubernetes.io/name: vault}}
    spec:
      serviceAccountName: vault
      volumes: [{name: unseal-key, secret: {secretName: vault-unseal-key}}]
      containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "sidecar:1"}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: vault-data, namespace: security}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
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
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: settings-reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: tenant}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: tenant, namespace: tenant}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: tenant, namespace: tenant}
rules:
  - {apiGroups: [""], resources: [configmaps], verbs: [get]}
  - {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tenant, namespace: tenant}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tenant}
subjects: [{kind: ServiceAccount, name: tenant, namespace: tenant}]
`

// newMigrationScenario is a scenario that can migrate: Vault is unsealed, by the sidecar
// itself.
func newMigrationScenario(t *testing.T, manifests ...string) *scriptScenario {
	t.Helper()
	job := func(name string) string {
		return strings.NewReplacer("NAME", name, "restartPolicy", "serviceAccountName: vault-unsealer, restartPolicy").Replace(idleCronJobManifest)
	}
	s := newScriptScenario(t, proxy.Open, append([]string{cronJobManifests, job("vault-auto-unseal"), job("eso-recovery")}, manifests...)...)
	s.simulateStatefulSetController()
	s.setUpVault()
	s.restartVaultAndAwaitUnseal()
	await(s.scenario, gateConditionIs("True", "Unsealed"))
	return s
}

// simulateStatefulSetController says that it has seen each change of the StatefulSet, until the
// test ends.
func (s *scriptScenario) simulateStatefulSetController() {
	s.follow(statefulSetsResource, "vault", func(set *unstructured.Unstructured) {
		seen, _, _ := unstructured.NestedInt64(set.Object, "status", "observedGeneration")
		if seen == set.GetGeneration() {
			return
		}
		body, _ := json.Marshal(map[string]any{"status": map[string]any{"replicas": 1, "observedGeneration": set.GetGeneration()}})
		_, err := s.cluster.Client.Resource(statefulSetsResource).Namespace("security").
			Patch(s.ctx, "vault", types.MergePatchType, body, metav1.PatchOptions{}, "status")
		if err != nil && s.ctx.Err() == nil {
			s.Log(err)
		}
	})
}

// createRoleBinding creates a RoleBinding as a tenant may in one namespace: for the account
// of the CronJobs, and for others.
func (s *scriptScenario) createRoleBinding(name, kind, role string, others ...string) {
	s.Helper()
	kubeconfig, err := s.cluster.Kubeconfig(s.ctx, "tenant", "tenant", "")
	require.NoError(s, err)
	subjects := []map[string]any{{"kind": "ServiceAccount", "name": "vault-unsealer", "namespace": "security"}}
	for _, other := range others {
		subjects = append(subjects, map[string]any{"kind": "ServiceAccount", "name": other, "namespace": "tenant"})
	}
	object := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
		"metadata": map[string]any{"name": name, "namespace": "tenant"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
		"subjects": subjects}
	body, err := json.Marshal(object)
	require.NoError(s, err)
	out, err := s.kubectl(string(body), "--kubeconfig", kubeconfig, "--namespace", "tenant", "create", "-f", "-")
	require.NoError(s, err, out)
}

// listObjects are the objects that there are, as a script names them.
func (s *scriptScenario) listObjects() (out []string) {
	s.Helper()
	for _, each := range []struct{ kind, group, resource string }{
		{"PersistentVolumeClaim", "", "persistentvolumeclaims"}, {"Secret", "", "secrets"}, {"ServiceAccount", "", "serviceaccounts"},
		{"ConfigMap", "", "configmaps"}, {"Pod", "", "pods"}, {"StatefulSet", "apps", "statefulsets"}, {"CronJob", "batch", "cronjobs"},
		{"Role", "rbac.authorization.k8s.io", "roles"}, {"RoleBinding", "rbac.authorization.k8s.io", "rolebindings"},
		{"ClusterRole", "rbac.authorization.k8s.io", "clusterroles"}, {"ClusterRoleBinding", "rbac.authorization.k8s.io", "clusterrolebindings"},
	} {
		list, err := s.cluster.Client.Resource(schema.GroupVersionResource{Group: each.group, Version: "v1", Resource: each.resource}).
			List(s.ctx, metav1.ListOptions{})
		require.NoError(s, err)
		for _, o := range list.Items {
			if o.GetDeletionTimestamp() == nil {
				out = append(out, objectName(each.kind, o.GetNamespace(), o.GetName()))
			}
		}
	}
	return out
}

func objectName(kind, namespace, name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:._-") != "" {
		quoted, _ := json.Marshal(name)
		name = string(quoted)
	}
	if namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}

// removedObjects are those of before that are not there any more.
func removedObjects(before, after []string) (out []string) {
	for _, each := range before {
		if !slices.Contains(after, each) {
			out = append(out, each)
		}
	}
	slices.Sort(out)
	return out
}

// announcedRemovals are the objects that a run of migrate said it removes.
func announcedRemovals(out string) (found []string) {
	_, list, _ := strings.Cut(out, "what is removed, and nothing else:\n")
	for line := range strings.Lines(list) {
		if !strings.HasPrefix(line, "  ") {
			break
		}
		found = append(found, strings.TrimSpace(line))
	}
	slices.Sort(found)
	return found
}

// The name of a RoleBinding that a tenant makes is no word of a command.
func TestMigrate_NamesAreNeverExecuted(t *testing.T) {
	t.Parallel()
	for what, names := range map[string][]string{
		"the words of a volume claim and a Secret": {
			"theirs Role tenant\nPersistentVolumeClaim security vault-data Secret vault-unseal-key\nRoleBinding tenant others"},
		"what a shell, kubectl or a terminal could act on": {"-n security secret vault-unseal-key", "--all", "*", "x\n",
			"$(touch pwned)`touch pwned`", `'"; touch pwned #\`, "a\x1b[2Jb\tc\rd", strings.Repeat("long", 100)},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newMigrationScenario(t)
			for _, name := range names {
				s.createRoleBinding(name, "Role", "tenant")
			}
			s.migrateAndBack()
		})
	}
}

// migrateAndBack migrates, and back.
func (s *scriptScenario) migrateAndBack() {
	t := s.T
	s.createRoleBinding("reader", "ClusterRole", "settings-reader") // no other account has it
	s.createRoleBinding("theirs", "Role", "tenant", "tenant")
	s.createRoleBinding("others", "Role", "tenant", "tenant")
	stay := []string{"RoleBinding tenant/tenant", "RoleBinding tenant/theirs", "RoleBinding tenant/others"}
	before := s.listObjects()
	expected := []string{"CronJob security/eso-recovery", "CronJob security/vault-auto-unseal", "ClusterRole eso-recovery",
		"ClusterRoleBinding eso-recovery", "ServiceAccount security/vault-unsealer"}
	for _, each := range before {
		if strings.HasPrefix(each, "RoleBinding tenant/") && !slices.Contains(stay, each) {
			expected = append(expected, each)
		}
	}
	slices.Sort(expected)

	backup := filepath.Join(s.env.Dir, "backup")
	out := s.mustRun("", "migrate", "--backup", backup, "--dry-run")
	assert.Equal(t, expected, announcedRemovals(out))
	assert.Contains(t, out, "ClusterRole settings-reader stays")
	assert.Equal(t, before, s.listObjects())
	all := s.ctx
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(all, 5*time.Minute) // it would wait for ever for what holds back a volume claim
	out, err := s.runScript("", "migrate", "--backup", backup)
	cancel()
	s.ctx = all
	after := s.listObjects()
	assert.Contains(t, after, "PersistentVolumeClaim security/vault-data")
	assert.Contains(t, after, "Secret security/vault-unseal-key")
	assert.Equal(t, expected, announcedRemovals(out))
	assert.Equal(t, expected, removedObjects(before, after))
	require.NoError(t, err, out)
	assert.NoFileExists(t, "pwned")
	out = s.mustRun("", "migrate", "--backup", backup, "--dry-run")
	assert.Contains(t, out, "nothing to do: the sidecar is in place")

	// And back.
	s.mustRun("", "migrate", "--backup", backup, "--rollback")
	assert.Empty(t, removedObjects(expected, s.listObjects()), "all is back")
}

// What others use too stays, and what is built in.
func TestMigrate_RemovesOnlyObjectsOfTheCronJobs(t *testing.T) {
	t.Parallel()
	s := newMigrationScenario(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: both}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: settings-reader}
subjects: [{kind: ServiceAccount, name: vault-unsealer, namespace: security}, {kind: ServiceAccount, name: vault, namespace: security}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: vault-unsealer, namespace: security}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: opener, namespace: security}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: opener, namespace: security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: opener}
subjects: [{kind: ServiceAccount, name: vault-unsealer, namespace: security}]
`)
	before := s.listObjects()
	backup := filepath.Join(s.env.Dir, "backup")
	out := s.mustRun("", "migrate", "--backup", backup, "--cronjobs", "vault-auto-unseal")
	assert.Contains(t, out, "the ServiceAccount vault-unsealer is used by others")
	assert.Equal(t, []string{"CronJob security/vault-auto-unseal"}, removedObjects(before, s.listObjects()))
	s.mustRun("", "migrate", "--backup", backup)
	assert.Equal(t, []string{"ClusterRole eso-recovery", "ClusterRoleBinding eso-recovery", "ClusterRoleBinding viewer", "CronJob security/eso-recovery",
		"CronJob security/vault-auto-unseal", "Role security/opener", "RoleBinding security/opener", "ServiceAccount security/vault-unsealer"}, removedObjects(before, s.listObjects()))
	s.mustRun("", "migrate", "--backup", backup)
	s.mustRun("", "migrate", "--backup", backup, "--rollback")
	back := removedObjects(before, s.listObjects())
	for _, each := range back {
		assert.Contains(t, each, "vault-unseal-sidecar", "only the sidecar's rights are gone")
	}
	_, err := os.Stat(backup)
	require.NoError(t, err)
}
