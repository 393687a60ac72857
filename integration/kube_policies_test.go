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
// it. Whoever has the rights is narrowed.
func TestPolicies_BindWhoeverHoldsTheRights(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		above string // in the kustomization
		in    install
	}{
		"a prefix for all names": {"namePrefix: b-", install{"security", "b-vault", "vault-0", "external-secrets"}},
		"another namespace":      {"namespace: other", install{"other", "vault", "vault-0", "other"}},
		"another account": {`patches:
  - target: {kind: RoleBinding|ClusterRoleBinding}
    patch: |
      - {op: replace, path: /subjects/0/name, value: second}`, install{"security", "second", "vault-0", "external-secrets"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := furnish(t, home{cluster: true, rightless: true, virgin: true})
			require.NoError(t, w.cluster.InstallCRDs(w.ctx))
			rights := w.renamed(row.above)
			require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(podElsewhere, row.in.namespace, row.in.account, "mine-0"),
				fmt.Sprintf(rightsObjects, row.in.eso, row.in.namespace), rights))
			if row.in.namespace != "security" {
				require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(podElsewhere, row.in.namespace, row.in.account, row.in.pod)))
			}
			token, err := w.cluster.Token(w.ctx, row.in.namespace, row.in.account, "mine-0")
			require.NoError(t, err)
			client, err := w.cluster.As(token)
			require.NoError(t, err)
			i := intruder{w, client, row.in}
			i.awaitPolicies()
			i.triesAll()
		})
	}
}

// Two Vaults of a cluster have the same names: the second takes the policies of
// the first, which say the same.
func TestPolicies_BindTheFirstOfTwoVaults(t *testing.T) {
	t.Parallel()
	first := breaksIn(t)
	w := first.world
	second := install{"vault-b", "vault-b", "vault-b-0", "external-secrets"}
	require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(podElsewhere, second.namespace, second.account, second.pod),
		fmt.Sprintf(rightsObjects, second.eso, second.namespace), w.manifests(second, allComponents...)))
	token, err := w.cluster.Token(w.ctx, second.namespace, second.account, second.pod)
	require.NoError(t, err)
	client, err := w.cluster.As(token)
	require.NoError(t, err)
	intruder{w, client, second}.awaitPolicies()
	intruder{w, client, second}.triesAll()
	first.triesPods()
	first.triesEvents()
}

// renamed renders all rights with the account beside them, and more in the
// kustomization.
func (w *world) renamed(above string) string {
	dir, err := w.lab.Mkdir("renamed")
	require.NoError(w, err)
	from, err := filepath.Rel(dir, w.lab.Source("manifests"))
	require.NoError(w, err)
	settings, err := os.ReadFile(w.lab.Source("manifests/settings.yaml"))
	require.NoError(w, err)
	kustomization := "resources: [settings.yaml, account.yaml]\ncomponents:\n"
	for _, c := range allComponents {
		kustomization += "  - " + filepath.Join(from, c) + "\n"
	}
	for name, text := range map[string]string{
		"settings.yaml":      string(settings),
		"account.yaml":       "{apiVersion: v1, kind: ServiceAccount, metadata: {name: vault, namespace: security}}",
		"kustomization.yaml": kustomization,
	} {
		require.NoError(w, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	outer, err := w.lab.Mkdir("above")
	require.NoError(w, err)
	require.NoError(w, os.WriteFile(filepath.Join(outer, "kustomization.yaml"), []byte("resources: [../renamed]\n"+above+"\n"), 0o600))
	rendered, err := w.lab.Kustomize(outer)
	require.NoError(w, err)
	return rendered
}

// as returns a client for a user in groups.
func (w *world) as(user string, groups ...string) dynamic.Interface {
	c := w.cluster.AdminConfig()
	c.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	client, err := dynamic.NewForConfig(c)
	require.NoError(w, err)
	return client
}

// What is not the sidecar's goes on as ever: administrators, controllers with
// wide rights, kubelets.
func TestPolicies_LeaveOthersAlone(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{cluster: true, rightless: true, virgin: true})
	require.NoError(t, w.cluster.InstallCRDs(w.ctx))
	require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(rightsObjects, asShipped.eso, asShipped.namespace),
		w.manifests(asShipped, allComponents...), around, controllers))
	token, err := w.cluster.Token(w.ctx, "security", "vault", "vault-0")
	require.NoError(t, err)
	client, err := w.cluster.As(token)
	require.NoError(t, err)
	intruder{w, client, asShipped}.awaitPolicies()
	const accounts = "system:serviceaccounts"
	for who, client := range map[string]dynamic.Interface{
		"an administrator":                   w.as("somebody", "system:masters"),
		"an account that may do everything":  w.as("system:serviceaccount:default:administrator", accounts),
		"a controller that may patch all":    w.as("system:serviceaccount:kube-system:controller", accounts, accounts+":kube-system"),
		"one that may do all to these kinds": w.as("system:serviceaccount:kube-system:owner", accounts, accounts+":kube-system"),
		"a kubelet":                          w.as("system:node:one", "system:nodes", "kubelets"),
		"a person who may patch all":         w.as("person", "kubelets"),
	} {
		i := intruder{w, client, asShipped}
		i.may(who+" writes a pod's status", i.patchStatus("vault-0", `{"status":{"message":"`+who+`"}}`))
		for _, o := range wakeable {
			i.may(who+" labels "+o.resource.Resource, i.patch(o.resource, o.namespace, o.name, merge, `{"metadata":{"labels":{"x":"`+strings.ReplaceAll(who, " ", "-")+`"}}}`))
		}
		i.may(who+" makes an Event", i.create(eventsResource, "security", i.eventOf(strings.ReplaceAll(who, " ", "-"))))
		require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(rightsObjects, asShipped.eso, asShipped.namespace)))
		i.may(who+" evicts", i.evict("external-secrets-webhook-6d5f7c8b9c-x2x4z"))
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

// eventOf is one that the sidecar does not make.
func (i intruder) eventOf(name string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"name": name},
		"involvedObject": map[string]any{"kind": "Pod", "namespace": i.in.namespace, "name": i.in.pod}}
}

// fieldsOf are many that an object does not have.
func fieldsOf(manager string) []any {
	return []any{map[string]any{"manager": manager, "operation": "Update", "apiVersion": "v1", "time": timeOf(0), "fieldsType": "FieldsV1",
		"fieldsV1": map[string]any{"f:metadata": map[string]any{"f:annotations": map[string]any{"f:" + strings.Repeat("x", 2000): map[string]any{}}}}}}
}

func (i intruder) triesEvents() {
	ours := i.in.pod + ".vault-unseal-sidecar.unsealed"
	event := func(change func(e map[string]any)) map[string]any {
		e := i.eventOf(ours)
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
		"one with others' fields":          changed("metadata", "managedFields", fieldsOf("other")),
		"one with fields that are not":     changed("metadata", "managedFields", fieldsOf("vault-unseal-sidecar")),
	} {
		i.mayNot("tell "+what, i.create(eventsResource, i.in.namespace, event(change)))
	}
	i.may("tell an Event", i.create(eventsResource, i.in.namespace, event(func(map[string]any) {})))
	i.may("tell it again", i.patch(eventsResource, i.in.namespace, ours, merge, `{"count":2,"message":"y"}`))
	for what, body := range map[string]string{
		"lengthen":    `{"message":"` + strings.Repeat("x", 2000) + `"}`,
		"label":       `{"metadata":{"labels":{"a":"b"}}}`,
		"annotate":    `{"metadata":{"annotations":{"a":"b"}}}`,
		"keep":        `{"metadata":{"finalizers":["example.com/x"]}}`,
		"continue":    `{"series":{"count":2,"lastObservedTime":"2026-01-01T00:00:00.000000Z"}}`,
		"rename":      `{"reason":"Other"}`,
		"give to all": `{"source":{"host":"x"}}`,
	} {
		i.mayNot(what+" its Event", i.patch(eventsResource, i.in.namespace, ours, merge, body))
	}
	_, err := i.cluster.Client.Resource(eventsResource).Namespace(i.in.namespace).
		Create(i.ctx, &unstructured.Unstructured{Object: i.eventOf("theirs")}, metav1.CreateOptions{})
	require.NoError(i, err)
	i.mayNot("change another's Event", i.patch(eventsResource, i.in.namespace, "theirs", merge, `{"count":2}`))
	i.mayNot("remove an Event", i.delete(eventsResource, i.in.namespace, ours))
}
