package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// The ServiceAccount is Vault's too, so what the sidecar may do Vault may do:
// everything else is tried here, with its token, and refused.
func TestTheRightsAreNoMoreThanIsNeeded(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]install{
		"as the manifests are":                          asShipped,
		"relocated, with external-secrets beside vault": {"secrets", "keeper", "keeper-0", "secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := furnish(t, home{cluster: true, rightless: true, virgin: true})
			require.NoError(t, w.cluster.InstallCRDs(w.ctx))
			if in != asShipped {
				require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(podElsewhere, in.namespace, in.account, in.pod)))
			}
			require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(rightsObjects, in.eso, in.namespace), w.manifests(in, allComponents...)))
			token, err := w.cluster.Token(w.ctx, in.namespace, in.account, in.pod)
			require.NoError(t, err)
			client, err := w.cluster.As(token)
			require.NoError(t, err)
			i := intruder{w, client, in}
			i.awaitPolicies()
			i.triesAll()
			i.triesTheRest()
		})
	}
}

// intruder has the token of Vault's pod and tries what it gives.
type intruder struct {
	*world
	client dynamic.Interface
	in     install
}

var (
	strategic = types.StrategicMergePatchType
	merge     = types.MergePatchType
)

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

func (i intruder) may(what string, err error) { assert.NoError(i, err, what) }

// mayNot checks that it is a role or a policy that refuses, and not, say, a
// mistake in what was asked.
func (i intruder) mayNot(what string, err error) {
	if assert.Error(i, err, "it may %s", what) {
		assert.Regexp(i, "forbidden: User|ValidatingAdmissionPolicy .* denied request", err.Error(), what)
		assert.NotContains(i, err.Error(), "resulted in error", what)
	}
}

// triesAll tries what the policies narrow.
func (i intruder) triesAll() {
	i.triesPods()
	i.triesExternalSecrets()
	i.triesEvents()
	i.triesEvictions()
}

// patch acts under the name of the sidecar's fields.
func (i intruder) patch(r schema.GroupVersionResource, namespace, name string, kind types.PatchType, body string, subresources ...string) error {
	return i.patchAs("vault-unseal-sidecar", r, namespace, name, kind, body, subresources...)
}

func (i intruder) patchAs(manager string, r schema.GroupVersionResource, namespace, name string, kind types.PatchType, body string, subresources ...string) error {
	_, err := i.client.Resource(r).Namespace(namespace).
		Patch(i.ctx, name, kind, []byte(body), metav1.PatchOptions{FieldManager: manager}, subresources...)
	return err
}

func (i intruder) patchStatus(pod, body string) error {
	return i.patch(podsResource, i.in.namespace, pod, strategic, body, "status")
}

func (i intruder) get(r schema.GroupVersionResource, namespace, name string) error {
	_, err := i.client.Resource(r).Namespace(namespace).Get(i.ctx, name, metav1.GetOptions{})
	return err
}

func (i intruder) list(r schema.GroupVersionResource, namespace string, o metav1.ListOptions) error {
	_, err := i.client.Resource(r).Namespace(namespace).List(i.ctx, o)
	return err
}

func (i intruder) create(r schema.GroupVersionResource, namespace string, o map[string]any, subresources ...string) error {
	_, err := i.client.Resource(r).Namespace(namespace).Create(i.ctx, &unstructured.Unstructured{Object: o},
		metav1.CreateOptions{FieldManager: "vault-unseal-sidecar"}, subresources...)
	return err
}

func (i intruder) delete(r schema.GroupVersionResource, namespace, name string) error {
	return i.client.Resource(r).Namespace(namespace).Delete(i.ctx, name, metav1.DeleteOptions{})
}

// awaitPolicies waits until each policy refuses something that the roles
// allow: they are in force a moment after they are made.
func (i intruder) awaitPolicies() {
	await(i.world, expectation{"the policies to be in force", func(*world) string {
		dry := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
		_, err := i.client.Resource(podsResource).Namespace(i.in.namespace).Patch(i.ctx, i.in.pod, strategic, []byte(`{"status":{"message":"x"}}`), dry, "status")
		if err == nil {
			return "the gate's is not"
		}
		for _, o := range wakeable {
			_, err := i.client.Resource(o.resource).Namespace(o.namespace).Patch(i.ctx, o.name, merge, []byte(`{"metadata":{"labels":{"x":"y"}}}`), dry)
			if err == nil {
				return "that of " + o.resource.Resource + " is not"
			}
		}
		o := i.evictionOf(i.in.pod)
		o["deleteOptions"] = map[string]any{"dryRun": []any{"All"}}
		if i.in.eso == i.in.namespace && i.create(podsResource, i.in.eso, o, "eviction") == nil {
			return "the eviction's is not"
		}
		if _, err := i.client.Resource(eventsResource).Namespace(i.in.namespace).Create(i.ctx, &unstructured.Unstructured{Object: i.eventOf("x")},
			metav1.CreateOptions{DryRun: dry.DryRun}); err == nil {
			return "that of the Events is not"
		}
		return ""
	}})
}

func (i intruder) triesPods() {
	_, err := i.cluster.Client.Resource(podsResource).Namespace(i.in.namespace).Patch(i.ctx, i.in.pod, strategic,
		[]byte(`{"status":{"conditions":[{"type":"example.com/other","status":"True"}]}}`), metav1.PatchOptions{}, "status")
	require.NoError(i, err)
	i.may("read its pod", i.get(podsResource, i.in.namespace, i.in.pod))
	for _, kind := range []string{gateType, secretsType, restrictedType} {
		i.may("write "+kind, i.patchStatus(i.in.pod, `{"status":{"conditions":[{"type":"`+kind+`","status":"True"}]}}`))
	}
	for what, body := range map[string]string{
		"write another condition":           `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`,
		"remove another condition":          `{"status":{"conditions":[{"type":"example.com/other","$patch":"delete"}]}}`,
		"replace all conditions":            `{"status":{"conditions":[{"$patch":"replace"}]}}`,
		"end the pod":                       `{"status":{"phase":"Succeeded"}}`,
		"move its address":                  `{"status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}}`,
		"write a message":                   `{"status":{"message":"x"}}`,
		"label the pod through its status":  `{"metadata":{"labels":{"app":"other"}},"status":{"conditions":[{"type":"` + gateType + `","status":"False"}]}}`,
		"annotate it through its status":    `{"metadata":{"annotations":{"a":"b"}}}`,
		"put a finalizer on it that way":    `{"metadata":{"finalizers":["example.com/x"]}}`,
		"tell a tale on it":                 `{"status":{"conditions":[{"type":"` + gateType + `","status":"True","message":"` + strings.Repeat("x", 5000) + `"}]}}`,
		"claim that its containers are fit": `{"status":{"containerStatuses":[{"name":"vault","image":"x","imageID":"x","ready":true,"restartCount":0}]}}`,
	} {
		i.mayNot(what, i.patchStatus(i.in.pod, body))
	}
	i.mayNot("label the pod", i.patch(podsResource, i.in.namespace, i.in.pod, merge, `{"metadata":{"labels":{"app":"other"}}}`))
	i.mayNot("add a container to it", i.patch(podsResource, i.in.namespace, i.in.pod, strategic, `{"spec":{"ephemeralContainers":[{"name":"x","image":"x:1"}]}}`, "ephemeralcontainers"))
	i.mayNot("read another pod", i.get(podsResource, i.in.namespace, "other-0"))
	i.mayNot("write another pod's condition", i.patchStatus("other-0", `{"status":{"conditions":[{"type":"`+gateType+`","status":"True"}]}}`))
	i.mayNot("delete its pod", i.delete(podsResource, i.in.namespace, i.in.pod))
	i.mayNot("run a command in it", i.create(podsResource, i.in.namespace, map[string]any{
		"apiVersion": "v1", "kind": "PodExecOptions", "metadata": map[string]any{"name": i.in.pod}}, "exec"))
	i.may("list its pod by name", i.list(podsResource, i.in.namespace, metav1.ListOptions{FieldSelector: "metadata.name=" + i.in.pod}))
}

// wakeable is what may be annotated, and with what.
var wakeable = []wakeableObject{
	{storesResource, "", "home", "force-sync"},
	{eso("v1", "secretstores"), "app", "own", "force-sync"},
	{secretsResource, "app", "one", "force-sync"},
	{eso("v1", "clusterexternalsecrets"), "", "everywhere", "external-secrets.io/force-sync"},
	{eso("v1alpha1", "pushsecrets"), "app", "one", "force-sync"},
}

// wakeableObject is one of them.
type wakeableObject struct {
	resource        schema.GroupVersionResource
	namespace, name string
	annotation      string
}

// wake is the patch that has it synced.
func (o wakeableObject) wake(value string) string {
	body, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{o.annotation: value}}})
	return string(body)
}

// timeOf is one as the sidecar writes it.
func timeOf(n int) string { return time.Unix(1e9, int64(n)).UTC().Format(time.RFC3339Nano) }

func eso(version, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "external-secrets.io", Version: version, Resource: resource}
}

func (i intruder) triesExternalSecrets() {
	for _, o := range wakeable {
		what := " " + o.resource.Resource
		readyIs(o.resource, o.namespace, o.name, "False", "Failed", "it is not")(i.world)
		for n := range 2 {
			i.may("wake"+what, i.patch(o.resource, o.namespace, o.name, merge, o.wake(timeOf(n))))
		}
		for deed, body := range map[string]string{
			"write more than a time to":   o.wake("1"),
			"hide a letter in":            o.wake(timeOf(3) + "\n" + strings.Repeat("x", 1000)),
			"unwake":                      `{"metadata":{"annotations":{"` + o.annotation + `":null}}}`,
			"annotate otherwise":          `{"metadata":{"annotations":{"other":"1"}}}`,
			"remove an annotation of":     `{"metadata":{"annotations":{"theirs":null}}}`,
			"change an annotation of":     `{"metadata":{"annotations":{"theirs":"2"}}}`,
			"remove all annotations of":   `{"metadata":{"annotations":null}}`,
			"label":                       `{"metadata":{"labels":{"app":"other"}}}`,
			"put a finalizer on":          `{"metadata":{"finalizers":["example.com/x"]}}`,
			"give away":                   `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Secret","name":"x","uid":"y"}]}}`,
			"change the spec of":          specOf[o.resource.Resource],
			"wake and change the spec of": `{"metadata":{"annotations":{"` + o.annotation + `":"3"}},` + specOf[o.resource.Resource][1:],
		} {
			i.mayNot(deed+what, i.patch(o.resource, o.namespace, o.name, merge, body))
		}
		i.mayNot("write the status of"+what, i.patch(o.resource, o.namespace, o.name, merge, `{"status":{"conditions":[]}}`, "status"))
		i.mayNot("delete"+what, i.delete(o.resource, o.namespace, o.name))
		i.mayNot("apply a new one of"+what, i.apply(o.resource, o.namespace))
	}
}

// specOf is a change that each kind's schema lets pass.
var specOf = map[string]string{
	"clustersecretstores":    `{"spec":{"provider":{"vault":{"server":"http://thief"}}}}`,
	"secretstores":           `{"spec":{"provider":{"vault":{"server":"http://thief"}}}}`,
	"externalsecrets":        `{"spec":{"target":{"name":"stolen"}}}`,
	"clusterexternalsecrets": `{"spec":{"refreshTime":"77h"}}`,
	"pushsecrets":            `{"spec":{"refreshInterval":"77h"}}`,
}

// apply tries to make an object by a patch, which for a server-side apply may
// be one that is not there.
func (i intruder) apply(r schema.GroupVersionResource, namespace string) error {
	there, err := i.cluster.Client.Resource(r).Namespace(namespace).List(i.ctx, metav1.ListOptions{})
	require.NoError(i, err)
	o := &unstructured.Unstructured{Object: map[string]any{"spec": there.Items[0].Object["spec"]}}
	o.SetGroupVersionKind(there.Items[0].GroupVersionKind())
	o.SetName("new")
	_, err = i.client.Resource(r).Namespace(namespace).Apply(i.ctx, "new", o, metav1.ApplyOptions{FieldManager: "x"})
	return err
}

const controllerPod = "external-secrets-6d5f7c8b9c-x2x4z"

func (i intruder) evictionOf(pod string) map[string]any {
	return map[string]any{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": pod, "namespace": i.in.eso}}
}

func (i intruder) evict(pod string) error {
	_, err := i.client.Resource(podsResource).Namespace(i.in.eso).
		Create(i.ctx, &unstructured.Unstructured{Object: i.evictionOf(pod)}, metav1.CreateOptions{}, "eviction")
	return err
}

func (i intruder) triesEvictions() {
	i.may("list the pods of ESO", i.list(podsResource, i.in.eso, metav1.ListOptions{}))
	for _, pod := range []string{"external-secrets-webhook-6d5f7c8b9c-x2x4z", "external-secrets-cert-controller-6d5f7c8b9c-x2x4z"} {
		i.mayNot("evict "+pod, i.evict(pod))
	}
	if i.in.eso == i.in.namespace {
		i.mayNot("evict itself", i.evict(i.in.pod))
		i.mayNot("evict another", i.evict("other-0"))
	}
	for what, options := range map[string]map[string]any{
		"at once":            {"gracePeriodSeconds": int64(0)},
		"after an hour":      {"gracePeriodSeconds": int64(3600)},
		"before its objects": {"propagationPolicy": "Orphan"},
		"if it is that one":  {"preconditions": map[string]any{"resourceVersion": "1"}},
		"at once, in a try":  {"gracePeriodSeconds": int64(0), "dryRun": []any{"All"}},
	} {
		o := i.evictionOf(controllerPod)
		o["deleteOptions"] = options
		i.mayNot("evict the controller "+what, i.create(podsResource, i.in.eso, o, "eviction"))
	}
	o := i.evictionOf(controllerPod)
	o["deleteOptions"] = map[string]any{"dryRun": []any{"All"}}
	i.may("try the eviction", i.create(podsResource, i.in.eso, o, "eviction"))
	i.mayNot("delete the controller", i.delete(podsResource, i.in.eso, controllerPod))
	i.may("evict the controller", i.evict(controllerPod))
}

func (i intruder) triesTheRest() {
	for _, namespace := range []string{"", i.in.namespace, i.in.eso, "app"} {
		i.mayNot("list Secrets in "+namespace, i.list(core("secrets"), namespace, metav1.ListOptions{}))
	}
	i.mayNot("read a Secret", i.get(core("secrets"), i.in.namespace, "vault-unseal"))
	i.mayNot("list all pods", i.list(podsResource, "", metav1.ListOptions{}))
	i.mayNot("read ConfigMaps", i.list(core("configmaps"), i.in.namespace, metav1.ListOptions{}))
	i.mayNot("make a token", i.create(core("serviceaccounts"), i.in.namespace, map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": "other"}}, "token"))
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	i.mayNot("restart ESO by its Deployment", i.patch(deployments, i.in.eso, "external-secrets", merge, `{}`))
	i.mayNot("widen its rights", i.patch(schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		i.in.namespace, "vault-unseal-sidecar", merge, `{"rules":[]}`))
	i.mayNot("remove a policy", i.delete(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}, "", "vault-unseal-sidecar-gate"))
}

const podElsewhere = `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[2]s, namespace: %[1]s}
---
apiVersion: v1
kind: Pod
metadata: {name: %[3]s, namespace: %[1]s}
spec: {serviceAccountName: %[2]s, containers: [{name: vault, image: "vault:1"}]}
`

const rightsObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: app}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: %[1]s}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-6d5f7c8b9c-x2x4z, namespace: %[1]s}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-webhook-6d5f7c8b9c-x2x4z, namespace: %[1]s}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-cert-controller-6d5f7c8b9c-x2x4z, namespace: %[1]s}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other, namespace: %[2]s}
---
apiVersion: v1
kind: Pod
metadata: {name: other-0, namespace: %[2]s}
spec: {serviceAccountName: other, containers: [{name: c, image: "c:1"}]}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home, annotations: {theirs: "1"}}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, namespace: app, key: t}}}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: own, namespace: app, annotations: {theirs: "1"}}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, key: t}}}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: one, namespace: app, annotations: {theirs: "1"}}
spec: {secretStoreRef: {name: own}, data: [{secretKey: v, remoteRef: {key: app}}]}
---
apiVersion: external-secrets.io/v1
kind: ClusterExternalSecret
metadata: {name: everywhere, annotations: {theirs: "1"}}
spec: {namespaceSelectors: [{matchLabels: {x: "y"}}], externalSecretSpec: {secretStoreRef: {name: own}, data: [{secretKey: v, remoteRef: {key: app}}]}}
---
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
metadata: {name: one, namespace: app, annotations: {theirs: "1"}}
spec: {secretStoreRefs: [{name: own}], selector: {secret: {name: x}}, data: [{match: {secretKey: v, remoteRef: {remoteKey: app}}}]}
`
