package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// newPodClient returns a client with the token of Vault's pod in a cluster where all
// components are applied, with one object of each kind.
func newPodClient(t *testing.T) podClient {
	sc := newScenario(t, setup{cluster: true, crds: true, withoutRBAC: true, uninitialized: true})
	require.NoError(t, sc.cluster.InstallCRDs(sc.ctx))
	require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(rightsObjects, defaultInstallation.esoNamespace, defaultInstallation.namespace), sc.renderManifests(defaultInstallation, allComponents...)))
	token, err := sc.cluster.Token(sc.ctx, "security", "vault", "vault-0")
	require.NoError(t, err)
	client, err := sc.cluster.ClientForToken(token)
	require.NoError(t, err)
	pc := podClient{sc, client, defaultInstallation}
	pc.awaitPolicies()
	return pc
}

// forceSync tries to have an object synced, as the sidecar does.
func (pc podClient) forceSync(o annotatableObject) error {
	return pc.patch(o.resource, o.namespace, o.name, merge, o.forceSyncPatch(time.Now().UTC().Format(time.RFC3339Nano)))
}

func (o annotatableObject) setReady(pc podClient, status string) {
	setReady(o.resource, o.namespace, o.name, status, "Reason", "message")(pc.scenario)
}

// annotatableByResource finds one of the objects.
func annotatableByResource(resource string) annotatableObject {
	for _, o := range annotatableObjects {
		if o.resource.Resource == resource {
			return o
		}
	}
	panic(resource)
}

func TestForceSync_IsLimitedToUnreadyObjects(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	for _, row := range []struct {
		resource                    string
		unknown, whileNot, whenItIs bool
	}{
		{"clustersecretstores", true, true, false},
		{"secretstores", true, true, false},
		{"externalsecrets", false, true, false},
		{"pushsecrets", false, true, false},
	} {
		pc.subtest(row.resource, func(*testing.T) {
			o := annotatableByResource(row.resource)
			try := func(when string, allowed bool) {
				if allowed {
					pc.assertAllowed("resync one"+when, pc.forceSync(o))
				} else {
					pc.assertForbidden("resync one"+when, pc.forceSync(o))
				}
			}
			try(" of which nothing is known", row.unknown)
			o.setReady(pc, "False")
			try(" that is not Ready", row.whileNot)
			o.setReady(pc, "True")
			try(" that is Ready", row.whenItIs)
		})
	}
}

// What generates a value would write a new one over that which is in use.
func TestForceSync_IsRefusedForGenerators(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	generator := func(kind string) string {
		return `{"spec":{"dataFrom":[{"sourceRef":{"generatorRef":{"apiVersion":"generators.external-secrets.io/v1alpha1","kind":"` + kind + `","name":"x"}}}]}}`
	}
	for what, row := range map[string]struct {
		resource, spec string
		may            bool
	}{
		"a password":                    {"externalsecrets", generator("Password"), false},
		"what only the cluster defines": {"externalsecrets", generator("ClusterGenerator"), false},
		"what vault generates":          {"externalsecrets", generator("VaultDynamicSecret"), true},
		"a password that is pushed": {"pushsecrets", `{"spec":{"selector":{"secret":null,"generatorRef":
			{"apiVersion":"generators.external-secrets.io/v1alpha1","kind":"Password","name":"x"}}}}`, false},
	} {
		pc.subtest(what, func(t *testing.T) {
			o := annotatableByResource(row.resource)
			_, err := pc.cluster.Client.Resource(o.resource).Namespace(o.namespace).Patch(pc.ctx, o.name, merge, []byte(row.spec), metav1.PatchOptions{})
			require.NoError(t, err)
			o.setReady(pc, "False")
			if row.may {
				pc.assertAllowed("have generated "+what, pc.forceSync(o))
			} else {
				pc.assertForbidden("have generated "+what, pc.forceSync(o))
			}
		})
	}
}

// patchAsAdmin changes an object under another name.
func (pc podClient) patchAsAdmin(o annotatableObject, manager, body string) {
	_, err := pc.cluster.Client.Resource(o.resource).Namespace(o.namespace).
		Patch(pc.ctx, o.name, merge, []byte(body), metav1.PatchOptions{FieldManager: manager})
	require.NoError(pc, err)
}

func (pc podClient) getAsAdmin(o annotatableObject) *unstructured.Unstructured {
	there, err := pc.cluster.Client.Resource(o.resource).Namespace(o.namespace).Get(pc.ctx, o.name, metav1.GetOptions{})
	require.NoError(pc, err)
	return there
}

func TestForceSync_KeepsFieldsOfOtherManagers(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	for _, o := range annotatableObjects {
		pc.subtest(o.resource.Resource, func(t *testing.T) {
			o.setReady(pc, "False")
			applied := pc.getAsAdmin(o)
			applied.SetManagedFields(nil)
			applied.SetResourceVersion("")
			applied.SetAnnotations(map[string]string{"applied": "1"})
			unstructured.RemoveNestedField(applied.Object, "status")
			_, err := pc.cluster.Client.Resource(o.resource).Namespace(o.namespace).
				Apply(pc.ctx, o.name, applied, metav1.ApplyOptions{FieldManager: "gitops", Force: true})
			require.NoError(t, err)

			pc.assertForbidden("resync it as another", pc.patchAs("other", o.resource, o.namespace, o.name, merge, o.forceSyncPatch(timestamp(1))))
			pc.assertForbidden("take all fields", pc.patch(o.resource, o.namespace, o.name, merge,
				`{"metadata":{"managedFields":[{}],"annotations":{"`+o.annotation+`":"`+timestamp(2)+`"}}}`))
			less := pc.getAsAdmin(o).GetManagedFields()
			for n := range less {
				if less[n].Manager == "gitops" {
					less[n].FieldsV1 = metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:applied":{}}}}`)
				}
			}
			pc.assertForbidden("take the fields of its owner", pc.patch(o.resource, o.namespace, o.name, merge, managedFieldsPatch(t, o, less, timestamp(3))))
			more := pc.getAsAdmin(o).GetManagedFields()
			for n := range more {
				if more[n].Manager == "gitops" {
					more[n].FieldsV1 = metav1.NewFieldsV1(strings.Replace(more[n].FieldsV1.GetRawString(), `"f:applied":{}`, `"f:applied":{},"f:not-there":{}`, 1))
				}
			}
			pc.assertForbidden("give more to its owner", pc.patch(o.resource, o.namespace, o.name, merge, managedFieldsPatch(t, o, more, timestamp(4))))
			pc.assertForbidden("forge entries", pc.patch(o.resource, o.namespace, o.name, merge, managedFieldsPatch(t, o, append(less, metav1.ManagedFieldsEntry{
				Manager: "vault-unseal-sidecar", Operation: "Update", APIVersion: o.resource.GroupVersion().String(), FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:` + strings.Repeat("x", 5000) + `":{}}}}`)}), timestamp(5))))
			apply := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{
				"name": o.name, "annotations": map[string]any{o.annotation: timestamp(6), "applied": "1"}}}}
			apply.SetGroupVersionKind(applied.GroupVersionKind())
			_, err = pc.client.Resource(o.resource).Namespace(o.namespace).Apply(pc.ctx, o.name, apply, metav1.ApplyOptions{FieldManager: "gitops", Force: true})
			pc.assertForbidden("apply in its owner's name", err)

			pc.assertAllowed("resync it after its owner", pc.forceSync(o))
			pc.patchAsAdmin(o, "kubectl-annotate", o.forceSyncPatch("1"))
			pc.assertAllowed("resync it after a person", pc.forceSync(o))
		})
	}
}

// managedFieldsPatch is a patch that requests a resync and sets the managed fields.
func managedFieldsPatch(t *testing.T, o annotatableObject, fields []metav1.ManagedFieldsEntry, when string) string {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"managedFields": fields, "annotations": map[string]any{o.annotation: when}}})
	require.NoError(t, err)
	return string(body)
}

// A policy that took too long, or that did not foresee what the API server does
// by itself, would keep an object from being resynced.
func TestForceSync_WorksForLargeAndOldObjects(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	annotations := map[string]any{}
	for n := range 1000 {
		annotations[fmt.Sprintf("example.com/annotation-%04d", n)] = strings.Repeat("x", 200)
	}
	many, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations, "labels": map[string]any{"a": "b"}}})
	require.NoError(t, err)
	for _, o := range annotatableObjects {
		pc.subtest(o.resource.Resource, func(t *testing.T) {
			o.setReady(pc, "False")
			old := pc.getAsAdmin(o).GetManagedFields()
			old = append(old, metav1.ManagedFieldsEntry{Manager: "older", Operation: "Update", APIVersion: "external-secrets.io/v1alpha9",
				FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:refreshInterval":{}}}`)})
			pc.patchAsAdmin(o, "kubectl-edit", managedFieldsPatch(t, o, old, "1"))
			pc.assertAllowed("resync one with fields of an older version", pc.forceSync(o))
			pc.patchAsAdmin(o, "kubectl-client-side-apply", string(many))
			pc.assertAllowed("resync one with 1,000 annotations", pc.forceSync(o))
			for n := range 12 {
				pc.patchAsAdmin(o, fmt.Sprint("manager-", n), fmt.Sprintf(`{"metadata":{"annotations":{"manager-%d":"x"}}}`, n))
			}
			pc.assertAllowed("resync one that twelve have written", pc.forceSync(o))
		})
	}
	data := []any{}
	for n := range 1000 {
		data = append(data, map[string]any{"secretKey": fmt.Sprint("key-", n), "remoteRef": map[string]any{"key": "app"}})
	}
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"data": data}})
	require.NoError(t, err)
	o := annotatableByResource("externalsecrets")
	pc.patchAsAdmin(o, "kubectl-edit", string(body))
	pc.assertAllowed("resync one with 1,000 data", pc.forceSync(o))

	_, err = pc.cluster.Client.Resource(podsResource).Namespace("security").Patch(pc.ctx, "vault-0", merge, many, metav1.PatchOptions{FieldManager: "kubectl"})
	require.NoError(t, err)
	for n := range 12 {
		_, err = pc.cluster.Client.Resource(podsResource).Namespace("security").Patch(pc.ctx, "vault-0", strategic,
			fmt.Appendf(nil, `{"status":{"conditions":[{"type":"example.com/%d","status":"True"}]}}`, n), metav1.PatchOptions{FieldManager: fmt.Sprint("manager-", n)}, "status")
		require.NoError(t, err)
		pc.assertAllowed("write the condition of a pod with much on it", pc.patchStatus("vault-0",
			fmt.Sprintf(`{"status":{"conditions":[{"type":"`+gateType+`","status":"True","message":"%d"}]}}`, n)))
	}
}
