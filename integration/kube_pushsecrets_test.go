package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// failedPushSecret is one that ESO could not push, through a store that is Ready.
const failedPushSecret = `
apiVersion: v1
kind: Namespace
metadata: {name: app}
---
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
metadata: {name: one, namespace: app}
spec:
  secretStoreRefs: [{kind: ClusterSecretStore, name: home}]
  selector: {secret: {name: x}}
  data: [{match: {secretKey: v, remoteRef: {remoteKey: app}}}]
`

// servePushSecretsAsV1 has the API server serve them as v1 alone. What is in etcd is still
// v1alpha1, as after an upgrade.
func servePushSecretsAsV1(sc *scenario) {
	const name = "pushsecrets.external-secrets.io"
	crds := sc.cluster.Client.Resource(crdsResource)
	crd, err := crds.Get(sc.ctx, name, metav1.GetOptions{})
	require.NoError(sc, err)
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	require.NoError(sc, err)
	require.Len(sc, versions, 1)
	old := versions[0].(map[string]any)
	stable := (&unstructured.Unstructured{Object: old}).DeepCopy().Object
	stable["name"], stable["storage"], old["served"] = "v1", false, false
	require.NoError(sc, unstructured.SetNestedSlice(crd.Object, []any{old, stable}, "spec", "versions"))
	_, err = crds.Update(sc.ctx, crd, metav1.UpdateOptions{})
	require.NoError(sc, err)
	await(sc, condition{"PushSecrets to be served as v1 alone", func(sc *scenario) string {
		for version, served := range map[string]bool{"v1alpha1": false, "v1": true} {
			_, err := sc.cluster.Client.Resource(esoResource(version, "pushsecrets")).List(sc.ctx, metav1.ListOptions{})
			if (err == nil) != served {
				return fmt.Sprintf("%s: %v", version, err)
			}
		}
		return ""
	}})
}

// pushSecretResynced waits for a resync request that is not that from before.
func pushSecretResynced(version string, before *string) condition {
	return condition{"the PushSecret to be resynced as " + version, func(sc *scenario) string {
		o, err := sc.cluster.Client.Resource(esoResource(version, "pushsecrets")).Namespace("app").Get(sc.ctx, "one", metav1.GetOptions{})
		require.NoError(sc, err)
		now := o.GetAnnotations()["force-sync"]
		if now == *before {
			return fmt.Sprintf("it is %q", now)
		}
		*before = now
		return ""
	}}
}

func TestResync_FollowsPushSecretsToV1(t *testing.T) {
	t.Parallel()
	var before string
	storeIs := func(status, reason string) func(sc *scenario) {
		return setReady(clusterStoresResource, "", "home", status, reason, "message")
	}
	run(t, setup{cluster: true},
		phase{"one failed in an outage", func(sc *scenario) {
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			require.NoError(sc, sc.cluster.Apply(sc.ctx, sc.vault.ClusterStore("home"), failedPushSecret))
			setReady(esoResource("v1alpha1", "pushsecrets"), "app", "one", "False", "Errored", "message")(sc)
			sequence(storeIs("True", "Valid"), startSidecar)(sc)
		}, []condition{serving(), pushSecretResynced("v1alpha1", &before)}},
		phase{"ESO is upgraded while the sidecar runs", servePushSecretsAsV1, nil},
		phase{"another outage ends", sequence(storeIs("False", "InvalidProviderConfig"),
			waitUntil(podConditionIs(secretsType, "False", "Recovering")), storeIs("True", "Valid")),
			[]condition{withTimeout(90*time.Second, pushSecretResynced("v1", &before))}},
	)
}

func TestForceSync_IsLimitedForPushSecretsOfV1(t *testing.T) {
	t.Parallel()
	pc := newPodClient(t)
	servePushSecretsAsV1(pc.scenario)
	o := annotatableByResource("pushsecrets")
	o.resource.Version = "v1"
	o.setReady(pc, "False")
	pc.assertAllowed("resync one that is not Ready", pc.forceSync(o))
	pc.assertForbidden("change its spec", pc.patch(o.resource, o.namespace, o.name, merge, `{"spec":{"refreshInterval":"77h"}}`))
	pc.assertForbidden("label it", pc.patch(o.resource, o.namespace, o.name, merge, `{"metadata":{"labels":{"x":"y"}}}`))
	o.setReady(pc, "True")
	pc.assertForbidden("resync one that is Ready", pc.forceSync(o))
}
