package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// A kustomization above ours may rename what it renders, and the account with
// it. The policies apply to every account that has the rights.
func TestPolicies_BindRenamedAccounts(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		above string // in the kustomization
		in    installation
	}{
		"a prefix for all names": {"namePrefix: b-", installation{"security", "b-vault", "vault-0", "external-secrets"}},
		"another account": {`patches:
  - target: {kind: RoleBinding|ClusterRoleBinding}
    patch: |
      - {op: replace, path: /subjects/0/name, value: second}`, installation{"security", "second", "vault-0", "external-secrets"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := newScenario(t, setup{cluster: true, crds: true, withoutRBAC: true, uninitialized: true})
			require.NoError(t, sc.cluster.InstallCRDs(sc.ctx))
			rights := sc.renderRenamed(row.above)
			require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(podManifest, row.in.namespace, row.in.serviceAccount, "mine-0"),
				fmt.Sprintf(rightsObjects, row.in.esoNamespace, row.in.namespace), rights))
			token, err := sc.cluster.Token(sc.ctx, row.in.namespace, row.in.serviceAccount, "mine-0")
			require.NoError(t, err)
			client, err := sc.cluster.ClientForToken(token)
			require.NoError(t, err)
			pc := podClient{sc, client, row.in}
			pc.awaitPolicies()
			pc.assertRestricted()
		})
	}
}

// Two Vaults of a cluster have the same names: the second takes the policies of
// the first, which say the same.
func TestPolicies_BindTheFirstOfTwoVaults(t *testing.T) {
	t.Parallel()
	first := newPodClient(t)
	sc := first.scenario
	second := installation{"vault-b", "vault-b", "vault-b-0", "external-secrets"}
	require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(podManifest, second.namespace, second.serviceAccount, second.pod),
		fmt.Sprintf(rightsObjects, second.esoNamespace, second.namespace), sc.renderManifests(second, allComponents...)))
	token, err := sc.cluster.Token(sc.ctx, second.namespace, second.serviceAccount, second.pod)
	require.NoError(t, err)
	client, err := sc.cluster.ClientForToken(token)
	require.NoError(t, err)
	podClient{sc, client, second}.awaitPolicies()
	podClient{sc, client, second}.assertRestricted()
	first.assertPodsRestricted()
	first.assertEventsRestricted()
}

// Each of two Vaults has an External Secrets of its own, with a Deployment of another name.
func TestPolicies_LetEachOfTwoVaultsEvictItsOwnController(t *testing.T) {
	t.Parallel()
	first := newPodClient(t)
	sc := first.scenario
	in := installation{"vault-b", "vault-b", "vault-b-0", "eso-b"}
	const theirs = "eso-b-6d5f7c8b9c-x2x4z"
	rights := sc.renderManifests(in, allComponents...)
	require.Equal(t, 1, strings.Count(rights, "  - external-secrets\n"))
	rights = strings.Replace(rights, "  - external-secrets\n", "  - eso-b\n", 1) // esoDeployment
	require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(podManifest, in.namespace, in.serviceAccount, in.pod),
		`{apiVersion: v1, kind: Namespace, metadata: {name: eso-b}}`, fmt.Sprintf(rightsObjects, in.esoNamespace, in.namespace), rights, `
apiVersion: v1
kind: Pod
metadata: {name: eso-b-6d5f7c8b9c-x2x4z, namespace: eso-b}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
`))
	token, err := sc.cluster.Token(sc.ctx, in.namespace, in.serviceAccount, in.pod)
	require.NoError(t, err)
	client, err := sc.cluster.ClientForToken(token)
	require.NoError(t, err)
	second := podClient{sc, client, in}
	second.awaitPolicies()
	second.assertForbidden("evict another pod", second.evict(controllerPod))
	second.assertAllowed("evict its controller", second.evict(theirs))
	first.assertAllowed("evict the first's", first.evict(controllerPod))
}

// renderRenamed renders all rights with the account beside them, and more in the
// kustomization.
func (sc *scenario) renderRenamed(above string) string {
	dir, err := sc.env.Mkdir("renamed")
	require.NoError(sc, err)
	from, err := filepath.Rel(dir, sc.env.Source("manifests"))
	require.NoError(sc, err)
	settings, err := os.ReadFile(sc.env.Source("manifests/settings.yaml"))
	require.NoError(sc, err)
	kustomization := "resources: [settings.yaml, account.yaml]\ncomponents:\n"
	for _, c := range allComponents {
		kustomization += "  - " + filepath.Join(from, c) + "\n"
	}
	for name, text := range map[string]string{
		"settings.yaml":      string(settings),
		"account.yaml":       "{apiVersion: v1, kind: ServiceAccount, metadata: {name: vault, namespace: security}}",
		"kustomization.yaml": kustomization,
	} {
		require.NoError(sc, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	outer, err := sc.env.Mkdir("above")
	require.NoError(sc, err)
	require.NoError(sc, os.WriteFile(filepath.Join(outer, "kustomization.yaml"), []byte("resources: [../renamed]\n"+above+"\n"), 0o600))
	rendered, err := sc.env.Kustomize(outer)
	require.NoError(sc, err)
	return rendered
}

// clientAs returns a client for a user in groups.
func (sc *scenario) clientAs(user string, groups ...string) dynamic.Interface {
	c := sc.cluster.AdminConfig()
	c.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	client, err := dynamic.NewForConfig(c)
	require.NoError(sc, err)
	return client
}

// What is not the sidecar's goes on as ever: administrators, controllers with
// wide rights, kubelets.
func TestPolicies_LeaveOtherClientsAlone(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{cluster: true, crds: true, withoutRBAC: true, uninitialized: true})
	require.NoError(t, sc.cluster.InstallCRDs(sc.ctx))
	require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(rightsObjects, defaultInstallation.esoNamespace, defaultInstallation.namespace),
		sc.renderManifests(defaultInstallation, allComponents...), healthyCluster, controllers))
	token, err := sc.cluster.Token(sc.ctx, "security", "vault", "vault-0")
	require.NoError(t, err)
	client, err := sc.cluster.ClientForToken(token)
	require.NoError(t, err)
	podClient{sc, client, defaultInstallation}.awaitPolicies()
	const accounts = "system:serviceaccounts"
	for who, client := range map[string]dynamic.Interface{
		"an administrator":                   sc.clientAs("somebody", "system:masters"),
		"an account that may do everything":  sc.clientAs("system:serviceaccount:default:administrator", accounts),
		"a controller that may patch all":    sc.clientAs("system:serviceaccount:kube-system:controller", accounts, accounts+":kube-system"),
		"one that may do all to these kinds": sc.clientAs("system:serviceaccount:kube-system:owner", accounts, accounts+":kube-system"),
		"a kubelet":                          sc.clientAs("system:node:one", "system:nodes", "kubelets"),
		"a person who may patch all":         sc.clientAs("person", "kubelets"),
	} {
		pc := podClient{sc, client, defaultInstallation}
		pc.assertAllowed(who+" writes a pod's status", pc.patchStatus("vault-0", `{"status":{"message":"`+who+`"}}`))
		for _, o := range annotatableObjects {
			pc.assertAllowed(who+" labels "+o.resource.Resource, pc.patch(o.resource, o.namespace, o.name, merge, `{"metadata":{"labels":{"x":"`+strings.ReplaceAll(who, " ", "-")+`"}}}`))
		}
		pc.assertAllowed(who+" makes an Event", pc.create(eventsResource, "security", pc.foreignEvent(strings.ReplaceAll(who, " ", "-"))))
		require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(rightsObjects, defaultInstallation.esoNamespace, defaultInstallation.namespace)))
		pc.assertAllowed(who+" evicts", pc.evict("external-secrets-webhook-6d5f7c8b9c-x2x4z"))
	}
}

// controllers are accounts that may do much, and not all.
const controllers = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: controller}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: [get, list, watch, create, update, patch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: controller}
subjects:
  - {kind: ServiceAccount, name: controller, namespace: kube-system}
  - {kind: Group, apiGroup: rbac.authorization.k8s.io, name: kubelets}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: owner}
rules: [{apiGroups: ["", external-secrets.io], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: owner}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: owner}
subjects: [{kind: ServiceAccount, name: owner, namespace: kube-system}]
`

// foreignEvent is one that the sidecar does not make.
func (pc podClient) foreignEvent(name string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"name": name},
		"involvedObject": map[string]any{"kind": "Pod", "namespace": pc.installation.namespace, "name": pc.installation.pod}}
}

// manyFields are many that an object does not have.
func manyFields(manager string) []any {
	return []any{map[string]any{"manager": manager, "operation": "Update", "apiVersion": "v1", "time": timestamp(0), "fieldsType": "FieldsV1",
		"fieldsV1": map[string]any{"f:metadata": map[string]any{"f:annotations": map[string]any{"f:" + strings.Repeat("x", 2000): map[string]any{}}}}}}
}

func (pc podClient) assertEventsRestricted() {
	ours := pc.installation.pod + ".vault-unseal-sidecar.unsealed"
	event := func(change func(e map[string]any)) map[string]any {
		e := pc.foreignEvent(ours)
		e["reason"], e["type"], e["message"], e["source"] = "Unsealed", "Normal", "x", map[string]any{"component": "vault-unseal-sidecar"}
		change(e)
		return e
	}
	changed := func(path ...any) func(map[string]any) {
		return func(e map[string]any) {
			for _, key := range path[:len(path)-2] {
				e = e[key.(string)].(map[string]any)
			}
			e[path[len(path)-2].(string)] = path[len(path)-1]
		}
	}
	for what, change := range map[string]func(map[string]any){
		"an Event of any name":       changed("metadata", "name", "other"),
		"one of a name that is made": func(e map[string]any) { e["metadata"] = map[string]any{"generateName": ours} },
		"one of another reason":      changed("reason", "Other"),
		"one of another pod": func(e map[string]any) {
			changed("involvedObject", "name", "other-0")(e)
			changed("metadata", "name", "other-0.vault-unseal-sidecar.unsealed")(e)
		},
		"one that speaks of another pod":   changed("involvedObject", "name", "other-0"),
		"one of another kind":              changed("involvedObject", "kind", "Node"),
		"a long one":                       changed("message", strings.Repeat("x", 2000)),
		"one with a long field":            changed("involvedObject", "fieldPath", strings.Repeat("x", 2000)),
		"one with a long uid":              changed("involvedObject", "uid", strings.Repeat("x", 2000)),
		"one with a long host":             changed("source", "host", strings.Repeat("x", 2000)),
		"one with a long action":           changed("action", strings.Repeat("x", 2000)),
		"one with a long component":        changed("reportingComponent", strings.Repeat("x", 2000)),
		"one that is related to something": changed("related", map[string]any{"name": strings.Repeat("x", 2000)}),
		"one with labels":                  changed("metadata", "labels", map[string]any{"a": "b"}),
		"one with annotations":             changed("metadata", "annotations", map[string]any{"a": strings.Repeat("x", 2000)}),
		"one with finalizers":              changed("metadata", "finalizers", []any{"example.com/x"}),
		"one with owners":                  changed("metadata", "ownerReferences", []any{map[string]any{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}}),
		"one with others' fields":          changed("metadata", "managedFields", manyFields("other")),
		"one with fields that are not":     changed("metadata", "managedFields", manyFields("vault-unseal-sidecar")),
	} {
		pc.assertForbidden("tell "+what, pc.create(eventsResource, pc.installation.namespace, event(change)))
	}
	pc.assertAllowed("tell an Event", pc.create(eventsResource, pc.installation.namespace, event(func(map[string]any) {})))
	pc.assertAllowed("tell it again", pc.patch(eventsResource, pc.installation.namespace, ours, merge, `{"count":2,"message":"y"}`))
	for what, body := range map[string]string{
		"lengthen":    `{"message":"` + strings.Repeat("x", 2000) + `"}`,
		"label":       `{"metadata":{"labels":{"a":"b"}}}`,
		"annotate":    `{"metadata":{"annotations":{"a":"b"}}}`,
		"keep":        `{"metadata":{"finalizers":["example.com/x"]}}`,
		"continue":    `{"series":{"count":2,"lastObservedTime":"2026-01-01T00:00:00.000000Z"}}`,
		"rename":      `{"reason":"Other"}`,
		"give to all": `{"source":{"host":"x"}}`,
	} {
		pc.assertForbidden(what+" its Event", pc.patch(eventsResource, pc.installation.namespace, ours, merge, body))
	}
	_, err := pc.cluster.Client.Resource(eventsResource).Namespace(pc.installation.namespace).
		Create(pc.ctx, &unstructured.Unstructured{Object: pc.foreignEvent("theirs")}, metav1.CreateOptions{})
	require.NoError(pc, err)
	pc.assertForbidden("change another's Event", pc.patch(eventsResource, pc.installation.namespace, "theirs", merge, `{"count":2}`))
	pc.assertForbidden("remove an Event", pc.delete(eventsResource, pc.installation.namespace, ours))
}
