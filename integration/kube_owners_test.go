package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// ownersOf returns who owns which fields of an object.
func (pc podClient) ownersOf(o annotatableObject) []metav1.ManagedFieldsEntry {
	return pc.getAsAdmin(o).GetManagedFields()
}

// ofSidecar is an entry under the sidecar's name.
func ofSidecar(operation metav1.ManagedFieldsOperationType, version, subresource, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: "vault-unseal-sidecar", Operation: operation, APIVersion: version, Subresource: subresource,
		Time: &metav1.Time{Time: time0}, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

var time0 = metav1.Unix(1e9, 0).Time

// Whoever may update an object may write under the sidecar's name, and so may an older sidecar have.
func TestForceSync_WorksWhereItsNameOwnsMore(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	for _, o := range annotatableObjects {
		pc.subtest(o.resource.Resource, func(t *testing.T) {
			o.setReady(pc, "False")
			pc.patchAsAdmin(o, "vault-unseal-sidecar", `{"metadata":{"labels":{"a":"b"},"annotations":{"another":"1"},"finalizers":["example.com/x"]}}`)
			pc.patchAsAdmin(o, "vault-unseal-sidecar", specPatches[o.resource.Resource])
			pc.assertAllowed("resync one whose fields were written under its name", pc.forceSync(o))
			pc.assertAllowed("do so again", pc.forceSync(o))

			version := o.resource.GroupVersion().String()
			pc.patchAsAdmin(o, "kubectl-edit", managedFieldsPatch(t, o, append(pc.ownersOf(o),
				ofSidecar("Apply", version, "", `{"f:metadata":{"f:labels":{"f:a":{}},"f:annotations":{"f:force-sync":{}}}}`),
				ofSidecar("Update", version, "status", `{"f:status":{"f:conditions":{}}}`)), "1"))
			pc.assertAllowed("resync one with other entries under its name", pc.forceSync(o))

			more := pc.ownersOf(o)
			for n := range more {
				if more[n].Manager == "vault-unseal-sidecar" && more[n].Operation == "Update" && more[n].Subresource == "" {
					more[n].FieldsV1 = metav1.NewFieldsV1(strings.Replace(more[n].FieldsV1.GetRawString(), `"f:another":{}`, `"f:another":{},"f:theirs":{}`, 1))
				}
			}
			pc.assertForbidden("own more by its own entry", pc.patch(o.resource, o.namespace, o.name, merge, managedFieldsPatch(t, o, more, timestamp(1))))
			for what, entry := range map[string]metav1.ManagedFieldsEntry{
				"an entry that applies":      ofSidecar("Apply", version, "scale", `{"f:metadata":{"f:annotations":{"f:force-sync":{}}}}`),
				"one of another version":     ofSidecar("Update", "v1", "", `{"f:metadata":{"f:annotations":{"f:force-sync":{}}}}`),
				"one of another subresource": ofSidecar("Update", version, "scale", `{"f:metadata":{"f:annotations":{"f:force-sync":{}}}}`),
			} {
				err := pc.patch(o.resource, o.namespace, o.name, merge, managedFieldsPatch(t, o, append(pc.ownersOf(o), entry), timestamp(2)))
				if err == nil { // the API server drops what is of a version that it does not know
					for _, there := range pc.ownersOf(o) {
						require.NotEqual(t, entry.APIVersion+entry.Subresource+string(entry.Operation),
							there.APIVersion+there.Subresource+string(there.Operation), "make %s", what)
					}
					continue
				}
				pc.assertForbidden("make "+what, err)
			}
		})
	}
}

// The API server keeps ten entries of updates, and merges the oldest: nobody else may.
func TestForceSync_MergesNoOwnersItself(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	for _, o := range annotatableObjects {
		pc.subtest(o.resource.Resource, func(t *testing.T) {
			o.setReady(pc, "False")
			pc.patchAsAdmin(o, "kubectl-edit", specPatches[o.resource.Resource])
			full := func(from int) {
				for n := from; n < from+10; n++ {
					pc.patchAsAdmin(o, fmt.Sprint("manager-", n), fmt.Sprintf(`{"metadata":{"annotations":{"manager-%d":"x"},"labels":{"manager-%d":"x"}}}`, n, n))
				}
			}
			full(0)
			pc.assertMergesNothing(t, o)
			pc.assertAllowed("resync it where the API server merges", pc.forceSync(o))
			full(10)
			pc.assertAllowed("resync it where it merges into what it has merged", pc.forceSync(o))
		})
	}
}

// assertMergesNothing tries to write who owns an object that has as many owners as there may be.
func (pc podClient) assertMergesNothing(t *testing.T, o annotatableObject) {
	owners := func() []metav1.ManagedFieldsEntry { return pc.ownersOf(o) }
	updates := slices.DeleteFunc(owners(), func(m metav1.ManagedFieldsEntry) bool { return m.Operation != "Update" })
	require.Len(t, updates, 10)
	without := func(manager string) []metav1.ManagedFieldsEntry {
		return slices.DeleteFunc(owners(), func(m metav1.ManagedFieldsEntry) bool { return m.Manager == manager })
	}
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		e := ofSidecar("Update", o.resource.GroupVersion().String(), "", fields)
		e.Manager = manager
		return e
	}
	const last = "manager-9"
	changed := owners()
	for n := range changed {
		if changed[n].Manager == last {
			changed[n].Time = &metav1.Time{Time: time0}
		}
	}
	for what, owners := range map[string][]metav1.ManagedFieldsEntry{
		"forge what was merged":           append(owners(), entry("ancient-changes", `{"f:metadata":{"f:labels":{"f:forged":{}}}}`)),
		"forge it deeply":                 append(owners(), entry("ancient-changes", `{"f:spec":{"f:a":{"f:b":{"f:c":{"f:d":{"f:e":{"f:g":{}}}}}}}}`)),
		"forge an owner":                  append(owners(), entry("other", `{"f:metadata":{"f:labels":{"f:manager-1":{}}}}`)),
		"remove an owner":                 without(last),
		"replace it":                      append(without(last), entry("other", `{"f:metadata":{"f:labels":{"f:manager-9":{}}}}`)),
		"merge less than it had":          append(without(last), entry("ancient-changes", `{"f:metadata":{"f:labels":{"f:manager-9":{}}}}`)),
		"take its fields":                 append(without(last), entry("vault-unseal-sidecar", `{"f:metadata":{"f:labels":{"f:manager-9":{}}}}`)),
		"have one the oldest":             changed,
		"have the owners of all be empty": {{}},
	} {
		pc.assertForbidden(what, pc.patch(o.resource, o.namespace, o.name, merge, managedFieldsPatch(t, o, owners, timestamp(1))))
	}
}

// Of a subresource the API server takes nobody's word on who owns which fields: what is left are
// writes in others' names.
func TestPolicies_KeepOwnersOfThePod(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	pods := pc.cluster.Client.Resource(podsResource).Namespace("security")
	n := 0
	gate := func() string {
		n++
		return fmt.Sprintf(`{"status":{"conditions":[{"type":"%s","status":"True","message":"%d"}]}}`, gateType, n)
	}
	asAdmin := func(manager, body string, subresources ...string) {
		_, err := pods.Patch(pc.ctx, "vault-0", strategic, []byte(body), metav1.PatchOptions{FieldManager: manager}, subresources...)
		require.NoError(t, err)
	}
	apply := func(client dynamic.Interface, manager string, changes map[string]any, subresources ...string) error {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod"}}
		maps.Copy(o.Object, changes)
		require.NoError(t, unstructured.SetNestedField(o.Object, "vault-0", "metadata", "name"))
		_, err := client.Resource(podsResource).Namespace("security").
			Apply(pc.ctx, "vault-0", o, metav1.ApplyOptions{FieldManager: manager, Force: true}, subresources...)
		return err
	}
	label := func(key string) map[string]any {
		return map[string]any{"metadata": map[string]any{"labels": map[string]any{key: "b"}}}
	}
	tryOthers := func() {
		for _, manager := range []string{"other", "manager-9", "ancient-changes"} {
			pc.assertForbidden("write it as "+manager, pc.patchAs(manager, podsResource, "security", "vault-0", strategic, gate(), "status"))
		}
		for _, manager := range []string{"testenv", "vault-unseal-sidecar"} {
			pc.assertForbidden("apply as "+manager, apply(pc.client, manager, label("a"), "status"))
		}
		pod, err := pods.Get(pc.ctx, "vault-0", metav1.GetOptions{})
		require.NoError(t, err)
		before := pod.GetManagedFields()
		for _, kind := range []types.PatchType{strategic, merge} {
			pc.assertAllowed("speak of owners", pc.patch(podsResource, "security", "vault-0", kind, `{"metadata":{"managedFields":[{}]}}`, "status"))
		}
		pod, err = pods.Get(pc.ctx, "vault-0", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, before, pod.GetManagedFields())
	}
	pc.assertAllowed("write the gate", pc.patchStatus("vault-0", gate()))
	asAdmin("kubectl-label", `{"metadata":{"labels":{"a":"b"}}}`)
	tryOthers()
	asAdmin("vault-unseal-sidecar", `{"metadata":{"labels":{"e":"f"}}}`)
	asAdmin("vault-unseal-sidecar", `{"status":{"message":"x","conditions":[{"type":"example.com/x","status":"True"}]}}`, "status")
	pc.assertAllowed("write it where its name owns more", pc.patchStatus("vault-0", gate()))
	require.NoError(t, apply(pc.cluster.Client, "vault-unseal-sidecar", label("c")))
	pc.assertAllowed("write it where its name has applied", pc.patchStatus("vault-0", gate()))
	tryOthers()
	for i := range 10 {
		asAdmin(fmt.Sprint("manager-", i), fmt.Sprintf(`{"metadata":{"labels":{"manager-%d":"x"},"annotations":{"manager-%d":"x"}}}`, i, i))
	}
	tryOthers()
	pc.assertAllowed("write it where the API server merges", pc.patchStatus("vault-0", gate()))
	for i := range 10 {
		asAdmin(fmt.Sprint("manager-", i), fmt.Sprintf(`{"status":{"conditions":[{"type":"example.com/%d","status":"True"}]}}`, i), "status")
	}
	tryOthers()
	pc.assertAllowed("write it where it merges into what it has merged", pc.patchStatus("vault-0", gate()))
}
