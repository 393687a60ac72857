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

// breaksIn returns what has the token of Vault's pod in a home where all is
// granted, with one object of each kind.
func breaksIn(t *testing.T) intruder {
	w := furnish(t, home{cluster: true, rightless: true, virgin: true})
	require.NoError(t, w.cluster.InstallCRDs(w.ctx))
	require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(rightsObjects, asShipped.eso, asShipped.namespace), w.manifests(asShipped, allComponents...)))
	token, err := w.cluster.Token(w.ctx, "security", "vault", "vault-0")
	require.NoError(t, err)
	client, err := w.cluster.As(token)
	require.NoError(t, err)
	i := intruder{w, client, asShipped}
	i.awaitPolicies()
	return i
}

// wakes tries to have an object synced, as the sidecar does.
func (i intruder) wakes(o wakeableObject) error {
	return i.patch(o.resource, o.namespace, o.name, merge, o.wake(time.Now().UTC().Format(time.RFC3339Nano)))
}

func (o wakeableObject) is(i intruder, status string) {
	readyIs(o.resource, o.namespace, o.name, status, "Reason", "message")(i.world)
}

// kindOf finds one of the objects.
func kindOf(resource string) wakeableObject {
	for _, o := range wakeable {
		if o.resource.Resource == resource {
			return o
		}
	}
	panic(resource)
}

func TestForceSync_OnlyOfWhatIsNotReady(t *testing.T) {
	t.Parallel()
	i := breaksIn(t)
	for _, row := range []struct {
		resource                    string
		unknown, whileNot, whenItIs bool
	}{
		{"clustersecretstores", true, true, false},
		{"secretstores", true, true, false},
		{"externalsecrets", false, true, false},
		{"pushsecrets", false, true, false},
		{"clusterexternalsecrets", true, true, true}, // for its children
	} {
		o := kindOf(row.resource)
		try := func(when string, allowed bool) {
			if allowed {
				i.may("wake "+row.resource+when, i.wakes(o))
			} else {
				i.mayNot("wake "+row.resource+when, i.wakes(o))
			}
		}
		try(" of which nothing is known", row.unknown)
		o.is(i, "False")
		try(" that is not Ready", row.whileNot)
		o.is(i, "True")
		try(" that is Ready", row.whenItIs)
	}
}

// What generates a value would write a new one over that which is in use.
func TestForceSync_NotOfWhatGenerates(t *testing.T) {
	t.Parallel()
	i := breaksIn(t)
	generator := func(kind string) string {
		return `{"spec":{"dataFrom":[{"sourceRef":{"generatorRef":{"apiVersion":"generators.external-secrets.io/v1alpha1","kind":"` + kind + `","name":"x"}}}]}}`
	}
	ofAll := func(kind string) string { return `{"spec":{"externalSecretSpec":` + generator(kind)[8:] + `}` }
	for what, row := range map[string]struct {
		resource, spec string
		may            bool
	}{
		"a password":                    {"externalsecrets", generator("Password"), false},
		"what only the cluster tells":   {"externalsecrets", generator("ClusterGenerator"), false},
		"what vault generates":          {"externalsecrets", generator("VaultDynamicSecret"), true},
		"passwords for all namespaces":  {"clusterexternalsecrets", ofAll("Password"), false},
		"what vault generates, for all": {"clusterexternalsecrets", ofAll("VaultDynamicSecret"), false},
		"a password that is pushed": {"pushsecrets", `{"spec":{"selector":{"secret":null,"generatorRef":
			{"apiVersion":"generators.external-secrets.io/v1alpha1","kind":"Password","name":"x"}}}}`, false},
	} {
		o := kindOf(row.resource)
		_, err := i.cluster.Client.Resource(o.resource).Namespace(o.namespace).Patch(i.ctx, o.name, merge, []byte(row.spec), metav1.PatchOptions{})
		require.NoError(t, err, what)
		o.is(i, "False")
		if row.may {
			i.may("have generated "+what, i.wakes(o))
		} else {
			i.mayNot("have generated "+what, i.wakes(o))
		}
	}
}

// asAdmin changes an object under another name.
func (i intruder) asAdmin(o wakeableObject, manager, body string) {
	_, err := i.cluster.Client.Resource(o.resource).Namespace(o.namespace).
		Patch(i.ctx, o.name, merge, []byte(body), metav1.PatchOptions{FieldManager: manager})
	require.NoError(i, err)
}

func (i intruder) read(o wakeableObject) *unstructured.Unstructured {
	there, err := i.cluster.Client.Resource(o.resource).Namespace(o.namespace).Get(i.ctx, o.name, metav1.GetOptions{})
	require.NoError(i, err)
	return there
}

func TestForceSync_ChangesNobodysFields(t *testing.T) {
	t.Parallel()
	i := breaksIn(t)
	for _, o := range wakeable {
		what := " of " + o.resource.Resource
		o.is(i, "False")
		applied := i.read(o)
		applied.SetManagedFields(nil)
		applied.SetResourceVersion("")
		applied.SetAnnotations(map[string]string{"applied": "1"})
		unstructured.RemoveNestedField(applied.Object, "status")
		_, err := i.cluster.Client.Resource(o.resource).Namespace(o.namespace).
			Apply(i.ctx, o.name, applied, metav1.ApplyOptions{FieldManager: "gitops", Force: true})
		require.NoError(t, err)

		i.mayNot("wake it as another"+what, i.patchAs("other", o.resource, o.namespace, o.name, merge, o.wake(timeOf(1))))
		i.mayNot("take all fields"+what, i.patch(o.resource, o.namespace, o.name, merge,
			`{"metadata":{"managedFields":[{}],"annotations":{"`+o.annotation+`":"`+timeOf(2)+`"}}}`))
		less := i.read(o).GetManagedFields()
		for n := range less {
			if less[n].Manager == "gitops" {
				less[n].FieldsV1 = metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:applied":{}}}}`)
			}
		}
		i.mayNot("take the fields of its owner"+what, i.patch(o.resource, o.namespace, o.name, merge, managed(t, o, less, timeOf(3))))
		more := i.read(o).GetManagedFields()
		for n := range more {
			if more[n].Manager == "gitops" {
				more[n].FieldsV1 = metav1.NewFieldsV1(strings.Replace(more[n].FieldsV1.GetRawString(), `"f:applied":{}`, `"f:applied":{},"f:not-there":{}`, 1))
			}
		}
		i.mayNot("give more to its owner"+what, i.patch(o.resource, o.namespace, o.name, merge, managed(t, o, more, timeOf(4))))
		i.mayNot("forge entries"+what, i.patch(o.resource, o.namespace, o.name, merge, managed(t, o, append(less, metav1.ManagedFieldsEntry{
			Manager: "vault-unseal-sidecar", Operation: "Update", APIVersion: o.resource.GroupVersion().String(), FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:` + strings.Repeat("x", 5000) + `":{}}}}`)}), timeOf(5))))
		apply := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{
			"name": o.name, "annotations": map[string]any{o.annotation: timeOf(6), "applied": "1"}}}}
		apply.SetGroupVersionKind(applied.GroupVersionKind())
		_, err = i.client.Resource(o.resource).Namespace(o.namespace).Apply(i.ctx, o.name, apply, metav1.ApplyOptions{FieldManager: "gitops", Force: true})
		i.mayNot("apply in its owner's name"+what, err)

		i.may("wake it after its owner"+what, i.wakes(o))
		i.asAdmin(o, "kubectl-annotate", o.wake("1"))
		i.may("wake it after a person"+what, i.wakes(o))
	}
}

// managed is a patch that wakes, and writes who owns what.
func managed(t *testing.T, o wakeableObject, fields []metav1.ManagedFieldsEntry, when string) string {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"managedFields": fields, "annotations": map[string]any{o.annotation: when}}})
	require.NoError(t, err)
	return string(body)
}

// A policy that took too long, or that did not foresee what the API server does
// by itself, would keep an object of a home from being woken.
func TestForceSync_OfLargeAndOldObjects(t *testing.T) {
	t.Parallel()
	i := breaksIn(t)
	annotations := map[string]any{}
	for n := range 1000 {
		annotations[fmt.Sprintf("example.com/annotation-%04d", n)] = strings.Repeat("x", 200)
	}
	many, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations, "labels": map[string]any{"a": "b"}}})
	require.NoError(t, err)
	for _, o := range wakeable {
		what := " " + o.resource.Resource
		o.is(i, "False")
		old := i.read(o).GetManagedFields()
		old = append(old, metav1.ManagedFieldsEntry{Manager: "older", Operation: "Update", APIVersion: "external-secrets.io/v1alpha9",
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:refreshInterval":{}}}`)})
		i.asAdmin(o, "kubectl-edit", managed(t, o, old, "1"))
		i.may("wake one with fields of an older version"+what, i.wakes(o))
		i.asAdmin(o, "kubectl-client-side-apply", string(many))
		i.may("wake one with 1,000 annotations"+what, i.wakes(o))
		for n := range 12 {
			i.asAdmin(o, fmt.Sprint("manager-", n), fmt.Sprintf(`{"metadata":{"annotations":{"manager-%d":"x"}}}`, n))
		}
		i.may("wake one that twelve have written"+what, i.wakes(o))
	}
	data := []any{}
	for n := range 1000 {
		data = append(data, map[string]any{"secretKey": fmt.Sprint("key-", n), "remoteRef": map[string]any{"key": "app"}})
	}
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"data": data}})
	require.NoError(t, err)
	o := kindOf("externalsecrets")
	i.asAdmin(o, "kubectl-edit", string(body))
	i.may("wake one with 1,000 data", i.wakes(o))

	_, err = i.cluster.Client.Resource(podsResource).Namespace("security").Patch(i.ctx, "vault-0", merge, many, metav1.PatchOptions{FieldManager: "kubectl"})
	require.NoError(t, err)
	for n := range 12 {
		_, err = i.cluster.Client.Resource(podsResource).Namespace("security").Patch(i.ctx, "vault-0", strategic,
			fmt.Appendf(nil, `{"status":{"conditions":[{"type":"example.com/%d","status":"True"}]}}`, n), metav1.PatchOptions{FieldManager: fmt.Sprint("manager-", n)}, "status")
		require.NoError(t, err)
		i.may("write the condition of a pod with much on it", i.patchStatus("vault-0",
			fmt.Sprintf(`{"status":{"conditions":[{"type":"`+gateType+`","status":"True","message":"%d"}]}}`, n)))
	}
}
