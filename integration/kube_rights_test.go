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
func TestRBAC_GrantsNoMoreThanNeeded(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]installation{
		"as the manifests are":                          defaultInstallation,
		"relocated, with external-secrets beside vault": {"secrets", "keeper", "keeper-0", "secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := newScenario(t, setup{cluster: true, crds: true, withoutRBAC: true, uninitialized: true})
			require.NoError(t, sc.cluster.InstallCRDs(sc.ctx))
			if in != defaultInstallation {
				require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(podManifest, in.namespace, in.serviceAccount, in.pod)))
			}
			require.NoError(t, sc.cluster.Apply(sc.ctx, fmt.Sprintf(rightsObjects, in.esoNamespace, in.namespace), sc.renderManifests(in, allComponents...)))
			token, err := sc.cluster.Token(sc.ctx, in.namespace, in.serviceAccount, in.pod)
			require.NoError(t, err)
			client, err := sc.cluster.ClientForToken(token)
			require.NoError(t, err)
			pc := podClient{sc, client, in}
			pc.awaitPolicies()
			pc.assertRestricted()
			pc.assertNothingElseAllowed()
		})
	}
}

// podClient is a client with the token of Vault's pod, to try what it allows.
type podClient struct {
	*scenario
	client       dynamic.Interface
	installation installation
}

var (
	strategic = types.StrategicMergePatchType
	merge     = types.MergePatchType
)

func coreResource(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

func (pc podClient) assertAllowed(what string, err error) { assert.NoError(pc, err, what) }

// assertForbidden checks that it is a role or a policy that refuses, and not, say, a
// mistake in what was asked.
func (pc podClient) assertForbidden(what string, err error) {
	if assert.Error(pc, err, "it may %s", what) {
		assert.Regexp(pc, "forbidden: User|ValidatingAdmissionPolicy .* denied request", err.Error(), what)
		assert.NotContains(pc, err.Error(), "resulted in error", what)
	}
}

// assertRestricted tries what the policies restrict.
func (pc podClient) assertRestricted() {
	pc.assertPodsRestricted()
	pc.assertExternalSecretsRestricted()
	pc.assertEventsRestricted()
	pc.assertEvictionsRestricted()
}

// patch acts under the name of the sidecar's fields.
func (pc podClient) patch(r schema.GroupVersionResource, namespace, name string, kind types.PatchType, body string, subresources ...string) error {
	return pc.patchAs("vault-unseal-sidecar", r, namespace, name, kind, body, subresources...)
}

func (pc podClient) patchAs(manager string, r schema.GroupVersionResource, namespace, name string, kind types.PatchType, body string, subresources ...string) error {
	_, err := pc.client.Resource(r).Namespace(namespace).
		Patch(pc.ctx, name, kind, []byte(body), metav1.PatchOptions{FieldManager: manager}, subresources...)
	return err
}

func (pc podClient) patchStatus(pod, body string) error {
	return pc.patch(podsResource, pc.installation.namespace, pod, strategic, body, "status")
}

func (pc podClient) get(r schema.GroupVersionResource, namespace, name string) error {
	_, err := pc.client.Resource(r).Namespace(namespace).Get(pc.ctx, name, metav1.GetOptions{})
	return err
}

func (pc podClient) list(r schema.GroupVersionResource, namespace string, o metav1.ListOptions) error {
	_, err := pc.client.Resource(r).Namespace(namespace).List(pc.ctx, o)
	return err
}

func (pc podClient) create(r schema.GroupVersionResource, namespace string, o map[string]any, subresources ...string) error {
	_, err := pc.client.Resource(r).Namespace(namespace).Create(pc.ctx, &unstructured.Unstructured{Object: o},
		metav1.CreateOptions{FieldManager: "vault-unseal-sidecar"}, subresources...)
	return err
}

func (pc podClient) delete(r schema.GroupVersionResource, namespace, name string) error {
	return pc.client.Resource(r).Namespace(namespace).Delete(pc.ctx, name, metav1.DeleteOptions{})
}

// awaitPolicies waits until each policy refuses something that the roles
// allow: they are in force a moment after they are made.
func (pc podClient) awaitPolicies() {
	await(pc.scenario, condition{"the policies to be in force", func(*scenario) string {
		dry := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}
		_, err := pc.client.Resource(podsResource).Namespace(pc.installation.namespace).Patch(pc.ctx, pc.installation.pod, strategic, []byte(`{"status":{"message":"x"}}`), dry, "status")
		if err == nil {
			return "the gate's is not"
		}
		for _, o := range annotatableObjects {
			_, err := pc.client.Resource(o.resource).Namespace(o.namespace).Patch(pc.ctx, o.name, merge, []byte(`{"metadata":{"labels":{"x":"y"}}}`), dry)
			if err == nil {
				return "that of " + o.resource.Resource + " is not"
			}
		}
		o := pc.eviction(pc.installation.pod)
		o["deleteOptions"] = map[string]any{"dryRun": []any{"All"}}
		if pc.installation.esoNamespace == pc.installation.namespace && pc.create(podsResource, pc.installation.esoNamespace, o, "eviction") == nil {
			return "the eviction's is not"
		}
		if _, err := pc.client.Resource(eventsResource).Namespace(pc.installation.namespace).Create(pc.ctx, &unstructured.Unstructured{Object: pc.foreignEvent("x")},
			metav1.CreateOptions{DryRun: dry.DryRun}); err == nil {
			return "that of the Events is not"
		}
		return ""
	}})
}

func (pc podClient) assertPodsRestricted() {
	_, err := pc.cluster.Client.Resource(podsResource).Namespace(pc.installation.namespace).Patch(pc.ctx, pc.installation.pod, strategic,
		[]byte(`{"status":{"conditions":[{"type":"example.com/other","status":"True"}]}}`), metav1.PatchOptions{}, "status")
	require.NoError(pc, err)
	pc.assertAllowed("read its pod", pc.get(podsResource, pc.installation.namespace, pc.installation.pod))
	for _, kind := range []string{gateType, secretsType, restrictedType} {
		pc.assertAllowed("write "+kind, pc.patchStatus(pc.installation.pod, `{"status":{"conditions":[{"type":"`+kind+`","status":"True"}]}}`))
	}
	for what, body := range map[string]string{
		"write another condition":            `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`,
		"remove another condition":           `{"status":{"conditions":[{"type":"example.com/other","$patch":"delete"}]}}`,
		"replace all conditions":             `{"status":{"conditions":[{"$patch":"replace"}]}}`,
		"end the pod":                        `{"status":{"phase":"Succeeded"}}`,
		"move its address":                   `{"status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}}`,
		"write a message":                    `{"status":{"message":"x"}}`,
		"label the pod through its status":   `{"metadata":{"labels":{"app":"other"}},"status":{"conditions":[{"type":"` + gateType + `","status":"False"}]}}`,
		"annotate it through its status":     `{"metadata":{"annotations":{"a":"b"}}}`,
		"put a finalizer on it that way":     `{"metadata":{"finalizers":["example.com/x"]}}`,
		"tell a tale on it":                  `{"status":{"conditions":[{"type":"` + gateType + `","status":"True","message":"` + strings.Repeat("x", 5000) + `"}]}}`,
		"tell a terminal what to do":         `{"status":{"conditions":[{"type":"` + gateType + `","status":"True","message":"\u001b[2Jall is well"}]}}`,
		"tell it that in the reason's place": `{"status":{"conditions":[{"type":"` + gateType + `","status":"True","reason":"\u009b2J"}]}}`,
		"begin a line of its own":            `{"status":{"conditions":[{"type":"` + gateType + `","status":"True","message":"x\nall is well"}]}}`,
		"claim that its containers are fit":  `{"status":{"containerStatuses":[{"name":"vault","image":"x","imageID":"x","ready":true,"restartCount":0}]}}`,
	} {
		pc.assertForbidden(what, pc.patchStatus(pc.installation.pod, body))
	}
	pc.assertForbidden("label the pod", pc.patch(podsResource, pc.installation.namespace, pc.installation.pod, merge, `{"metadata":{"labels":{"app":"other"}}}`))
	pc.assertForbidden("add a container to it", pc.patch(podsResource, pc.installation.namespace, pc.installation.pod, strategic, `{"spec":{"ephemeralContainers":[{"name":"x","image":"x:1"}]}}`, "ephemeralcontainers"))
	pc.assertForbidden("read another pod", pc.get(podsResource, pc.installation.namespace, "other-0"))
	pc.assertForbidden("write another pod's condition", pc.patchStatus("other-0", `{"status":{"conditions":[{"type":"`+gateType+`","status":"True"}]}}`))
	pc.assertForbidden("delete its pod", pc.delete(podsResource, pc.installation.namespace, pc.installation.pod))
	pc.assertForbidden("run a command in it", pc.create(podsResource, pc.installation.namespace, map[string]any{
		"apiVersion": "v1", "kind": "PodExecOptions", "metadata": map[string]any{"name": pc.installation.pod}}, "exec"))
	pc.assertAllowed("list its pod by name", pc.list(podsResource, pc.installation.namespace, metav1.ListOptions{FieldSelector: "metadata.name=" + pc.installation.pod}))
}

// annotatableObjects is what may be annotated, and with what.
var annotatableObjects = []annotatableObject{
	{clusterStoresResource, "", "home", "force-sync"},
	{esoResource("v1", "secretstores"), "app", "own", "force-sync"},
	{externalSecretsResource, "app", "one", "force-sync"},
	{esoResource("v1alpha1", "pushsecrets"), "app", "one", "force-sync"},
}

// annotatableObject is one of them.
type annotatableObject struct {
	resource        schema.GroupVersionResource
	namespace, name string
	annotation      string
}

// forceSyncPatch is the patch that has it synced.
func (o annotatableObject) forceSyncPatch(value string) string {
	body, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{o.annotation: value}}})
	return string(body)
}

// timestamp is one as the sidecar writes it.
func timestamp(n int) string { return time.Unix(1e9, int64(n)).UTC().Format(time.RFC3339Nano) }

func esoResource(version, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "external-secrets.io", Version: version, Resource: resource}
}

func (pc podClient) assertExternalSecretsRestricted() {
	for _, o := range annotatableObjects {
		what := " " + o.resource.Resource
		setReady(o.resource, o.namespace, o.name, "False", "Failed", "it is not")(pc.scenario)
		for n := range 2 {
			pc.assertAllowed("resync"+what, pc.patch(o.resource, o.namespace, o.name, merge, o.forceSyncPatch(timestamp(n))))
		}
		for deed, body := range map[string]string{
			"write more than a time to":     o.forceSyncPatch("1"),
			"hide a letter in":              o.forceSyncPatch(timestamp(3) + "\n" + strings.Repeat("x", 1000)),
			"withdraw the request of":       `{"metadata":{"annotations":{"` + o.annotation + `":null}}}`,
			"annotate otherwise":            `{"metadata":{"annotations":{"other":"1"}}}`,
			"remove an annotation of":       `{"metadata":{"annotations":{"theirs":null}}}`,
			"change an annotation of":       `{"metadata":{"annotations":{"theirs":"2"}}}`,
			"remove all annotations of":     `{"metadata":{"annotations":null}}`,
			"label":                         `{"metadata":{"labels":{"app":"other"}}}`,
			"put a finalizer on":            `{"metadata":{"finalizers":["example.com/x"]}}`,
			"give away":                     `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Secret","name":"x","uid":"y"}]}}`,
			"change the spec of":            specPatches[o.resource.Resource],
			"resync and change the spec of": `{"metadata":{"annotations":{"` + o.annotation + `":"3"}},` + specPatches[o.resource.Resource][1:],
		} {
			pc.assertForbidden(deed+what, pc.patch(o.resource, o.namespace, o.name, merge, body))
		}
		pc.assertForbidden("write the status of"+what, pc.patch(o.resource, o.namespace, o.name, merge, `{"status":{"conditions":[]}}`, "status"))
		pc.assertForbidden("delete"+what, pc.delete(o.resource, o.namespace, o.name))
		pc.assertForbidden("apply a new one of"+what, pc.apply(o.resource, o.namespace))
	}
}

// specPatches is a change that each kind's schema lets pass.
var specPatches = map[string]string{
	"clustersecretstores": `{"spec":{"provider":{"vault":{"server":"http://thief"}}}}`,
	"secretstores":        `{"spec":{"provider":{"vault":{"server":"http://thief"}}}}`,
	"externalsecrets":     `{"spec":{"target":{"name":"stolen"}}}`,
	"pushsecrets":         `{"spec":{"refreshInterval":"77h"}}`,
}

// apply tries to make an object by a patch, which for a server-side apply may
// be one that is not there.
func (pc podClient) apply(r schema.GroupVersionResource, namespace string) error {
	there, err := pc.cluster.Client.Resource(r).Namespace(namespace).List(pc.ctx, metav1.ListOptions{})
	require.NoError(pc, err)
	o := &unstructured.Unstructured{Object: map[string]any{"spec": there.Items[0].Object["spec"]}}
	o.SetGroupVersionKind(there.Items[0].GroupVersionKind())
	o.SetName("new")
	_, err = pc.client.Resource(r).Namespace(namespace).Apply(pc.ctx, "new", o, metav1.ApplyOptions{FieldManager: "x"})
	return err
}

const controllerPod = "external-secrets-6d5f7c8b9c-x2x4z"

func (pc podClient) eviction(pod string) map[string]any {
	return map[string]any{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": pod, "namespace": pc.installation.esoNamespace}}
}

func (pc podClient) evict(pod string) error {
	_, err := pc.client.Resource(podsResource).Namespace(pc.installation.esoNamespace).
		Create(pc.ctx, &unstructured.Unstructured{Object: pc.eviction(pod)}, metav1.CreateOptions{}, "eviction")
	return err
}

func (pc podClient) assertEvictionsRestricted() {
	pc.assertAllowed("list the pods of ESO", pc.list(podsResource, pc.installation.esoNamespace, metav1.ListOptions{}))
	for _, pod := range []string{"external-secrets-webhook-6d5f7c8b9c-x2x4z", "external-secrets-cert-controller-6d5f7c8b9c-x2x4z"} {
		pc.assertForbidden("evict "+pod, pc.evict(pod))
	}
	if pc.installation.esoNamespace == pc.installation.namespace {
		pc.assertForbidden("evict itself", pc.evict(pc.installation.pod))
		pc.assertForbidden("evict another", pc.evict("other-0"))
	}
	for what, options := range map[string]map[string]any{
		"at once":            {"gracePeriodSeconds": int64(0)},
		"after an hour":      {"gracePeriodSeconds": int64(3600)},
		"before its objects": {"propagationPolicy": "Orphan"},
		"if it is that one":  {"preconditions": map[string]any{"resourceVersion": "1"}},
		"at once, in a try":  {"gracePeriodSeconds": int64(0), "dryRun": []any{"All"}},
	} {
		o := pc.eviction(controllerPod)
		o["deleteOptions"] = options
		pc.assertForbidden("evict the controller "+what, pc.create(podsResource, pc.installation.esoNamespace, o, "eviction"))
	}
	o := pc.eviction(controllerPod)
	o["deleteOptions"] = map[string]any{"dryRun": []any{"All"}}
	pc.assertAllowed("try the eviction", pc.create(podsResource, pc.installation.esoNamespace, o, "eviction"))
	pc.assertForbidden("delete the controller", pc.delete(podsResource, pc.installation.esoNamespace, controllerPod))
	pc.assertAllowed("evict the controller", pc.evict(controllerPod))
}

func (pc podClient) assertNothingElseAllowed() {
	for _, namespace := range []string{"", pc.installation.namespace, pc.installation.esoNamespace, "app"} {
		pc.assertForbidden("list Secrets in "+namespace, pc.list(coreResource("secrets"), namespace, metav1.ListOptions{}))
	}
	pc.assertForbidden("read a Secret", pc.get(coreResource("secrets"), pc.installation.namespace, "vault-unseal"))
	pc.assertForbidden("list all pods", pc.list(podsResource, "", metav1.ListOptions{}))
	pc.assertForbidden("read ConfigMaps", pc.list(coreResource("configmaps"), pc.installation.namespace, metav1.ListOptions{}))
	pc.assertForbidden("make a token", pc.create(coreResource("serviceaccounts"), pc.installation.namespace, map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": "other"}}, "token"))
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	pc.assertForbidden("restart ESO by its Deployment", pc.patch(deployments, pc.installation.esoNamespace, "external-secrets", merge, `{}`))
	pc.assertForbidden("widen its rights", pc.patch(schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		pc.installation.namespace, "vault-unseal-sidecar", merge, `{"rules":[]}`))
	pc.assertForbidden("remove a policy", pc.delete(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"}, "", "vault-unseal-sidecar-gate.security"))
}

const podManifest = `
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
