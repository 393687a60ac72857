package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

var clusterStoresResource = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "clustersecretstores"}

// appNamespaces are the namespaces that have secrets in Vault.
var appNamespaces = []string{"app-1", "app-2", "app-3", "app-4"}

// installESO opens Vault and installs the real operator, a store of each kind
// and 20 ExternalSecrets in four namespaces, and waits until all are synced.
func installESO(sc *scenario) {
	unsealByHand(sc)
	require.NoError(sc, sc.vault.MountKV(sc.ctx))
	require.NoError(sc, sc.vault.WriteSecret(sc.ctx, "app", "one"))
	var err error
	sc.eso, err = sc.env.StartESO(sc.ctx, sc.cluster, "--store-requeue-interval=1s")
	require.NoError(sc, err)
	require.NoError(sc, sc.cluster.Apply(sc.ctx, sc.storeManifests(), secretManifests()))
	await(sc, syncedCount(20))
}

func (sc *scenario) storeManifests() string {
	var b strings.Builder
	for _, app := range appNamespaces {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {app: \"yes\"}}\n", app)
	}
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: vault-token, namespace: app-1}\nstringData: {token: %q}\n", sc.vault.Token)
	fmt.Fprintf(&b, "---\napiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {name: home}\nspec: {provider: %s}\n", sc.vault.StoreProvider("app-1"))
	fmt.Fprintf(&b, "---\napiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: own, namespace: app-1}\nspec: {provider: %s}\n", sc.vault.StoreProvider(""))
	fmt.Fprint(&b, `---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: other}
spec: {provider: {fake: {data: [{key: app, value: two}]}}}
`)
	return b.String()
}

// secretManifests are 20 that use Vault, in all the ways there are, and one that
// does not.
func secretManifests() string {
	var b strings.Builder
	secret := func(app, name, spec string) {
		fmt.Fprintf(&b, "---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: %s, namespace: %s}\nspec: {refreshInterval: 1s, %s}\n", name, app, spec)
	}
	const data = `data: [{secretKey: value, remoteRef: {key: app, property: value}}]`
	for i := range 12 {
		secret(appNamespaces[i%4], fmt.Sprintf("by-cluster-store-%d", i), `secretStoreRef: {kind: ClusterSecretStore, name: home}, `+data)
	}
	secret("app-1", "by-store", `secretStoreRef: {name: own}, `+data)
	secret("app-2", "by-data", `data: [{secretKey: value, sourceRef: {storeRef: {kind: ClusterSecretStore, name: home}}, remoteRef: {key: app, property: value}}]`)
	secret("app-3", "by-data-from", `dataFrom: [{extract: {key: app}, sourceRef: {storeRef: {kind: ClusterSecretStore, name: home}}}]`)
	secret("app-4", "by-find", `secretStoreRef: {kind: ClusterSecretStore, name: home}, dataFrom: [{find: {name: {regexp: "^app$"}}}]`)
	secret("app-4", "elsewhere", `secretStoreRef: {kind: ClusterSecretStore, name: other}, data: [{secretKey: value, remoteRef: {key: app}}]`)
	fmt.Fprint(&b, `---
apiVersion: external-secrets.io/v1
kind: ClusterExternalSecret
metadata: {name: everywhere}
spec:
  refreshTime: 1h
  namespaceSelectors: [{matchLabels: {app: "yes"}}]
  externalSecretSpec:
    refreshInterval: 1s
    secretStoreRef: {kind: ClusterSecretStore, name: home}
    data: [{secretKey: value, remoteRef: {key: app, property: value}}]
---
apiVersion: v1
kind: Secret
metadata: {name: to-push, namespace: app-1}
stringData: {value: pushed}
---
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
metadata: {name: push, namespace: app-1}
spec:
  refreshInterval: 1s
  secretStoreRefs: [{kind: ClusterSecretStore, name: home}]
  selector: {secret: {name: to-push}}
  data: [{match: {secretKey: value, remoteRef: {remoteKey: pushed, property: value}}}]
`)
	return b.String()
}

// pushSecretIs waits for what ESO says of the PushSecret.
func pushSecretIs(status string) condition {
	return condition{"the PushSecret's Ready to be " + status, func(sc *scenario) string {
		o, err := sc.cluster.Get(sc.ctx, "external-secrets.io/v1alpha1", "PushSecret", "app-1", "push")
		if err != nil {
			return err.Error()
		}
		c := testenv.Condition(o, "Ready")
		if c["status"] != status {
			return fmt.Sprint(c)
		}
		return ""
	}}
}

// brokenSecretManifest fails for a reason of its own.
const brokenSecretManifest = `
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: broken, namespace: app-4}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: ClusterSecretStore, name: home}
  data: [{secretKey: value, remoteRef: {key: nowhere, property: value}}]
`

func (sc *scenario) listExternalSecrets() []unstructured.Unstructured {
	list, err := sc.cluster.Client.Resource(externalSecretsResource).List(sc.ctx, metav1.ListOptions{})
	require.NoError(sc, err)
	return list.Items
}

// usesVault reports whether an object is one of the 20 that are synced from Vault.
func usesVault(o *unstructured.Unstructured) bool {
	return o.GetName() != "broken" && o.GetName() != "elsewhere"
}

// syncedCount waits until n ExternalSecrets that use Vault are Ready.
func syncedCount(n int) condition {
	return condition{fmt.Sprintf("%d ExternalSecrets to be synced", n), func(sc *scenario) string {
		ready := 0
		var last string
		for _, o := range sc.listExternalSecrets() {
			c := testenv.Condition(&o, "Ready")
			switch {
			case !usesVault(&o):
			case c["status"] == "True":
				ready++
			default:
				last = fmt.Sprintf("%s/%s: %s %s", o.GetNamespace(), o.GetName(), c["reason"], c["message"])
			}
		}
		if ready != n {
			return fmt.Sprintf("%d, but %s", ready, last)
		}
		return ""
	}}
}

// esoInBackoff waits until nothing that uses Vault is synced any more, and ESO
// retries rarely: every store's and object's next try is seconds away.
func esoInBackoff() condition {
	return condition{"ESO to be deep in its backoff", func(sc *scenario) string {
		if seen := syncedCount(0).check(sc); seen != "" {
			return seen
		}
		for _, name := range []string{"home"} {
			o, err := sc.cluster.Get(sc.ctx, esoAPI, "ClusterSecretStore", "", name)
			if err != nil {
				return err.Error()
			}
			if c := testenv.Condition(o, "Ready"); c["status"] != "False" {
				return name + " is " + c["status"]
			}
		}
		return ""
	}}
}

// beginOutage lasts long enough for ESO to fail everything and to come to its
// try after 63 seconds.
func beginOutage(sc *scenario) {
	killVault(sc)
	await(sc, esoInBackoff())
	began := time.Now()
	require.NoError(sc, testenv.Await(sc.ctx, 2*time.Minute, "ESO to have failed for 40 seconds", func() string {
		if left := 40*time.Second - time.Since(began); left > 0 {
			return left.String() + " left"
		}
		return ""
	}))
}

// forceSyncAnnotation returns the annotation of the last resync request, "" without one.
func (sc *scenario) forceSyncAnnotation(namespace, name string) string {
	o, err := sc.cluster.Get(sc.ctx, esoAPI, "ExternalSecret", namespace, name)
	require.NoError(sc, err)
	return o.GetAnnotations()["force-sync"]
}

func TestResync_ExternalSecretsRecoverAfterOutage(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, crds: true},
		phase{"all is well", sequence(installESO, startSidecar), []condition{serving(), podConditionIs(secretsType, "True", "Ready")}},
		phase{"one is broken for a reason of its own", func(sc *scenario) { require.NoError(sc, sc.cluster.Apply(sc.ctx, brokenSecretManifest)) }, nil},
		phase{"an outage begins", beginOutage, []condition{podConditionIs(secretsType, "Unknown", "WaitingForVault"), pushSecretIs("False")}},
		phase{"it ends", func(sc *scenario) {
			startVault(sc)
			await(sc, serving())
			began := time.Now()
			await(sc, syncedCount(20))
			took := time.Since(began)
			sc.Logf("from vault serving until all was synced: %v", took.Round(time.Millisecond))
			assert.Less(sc, took, 10*time.Second, "ESO alone would take up to 16 s and more")
		}, []condition{eventContains("Unsealed", "unsealing"), gateConditionIs("True", "Unsealed"), pushSecretIs("True")}},
		phase{"what is broken for its own reason is reported in the end", nil, []condition{
			withTimeout(120*time.Second, podConditionIs(secretsType, "False", "NotSynced")),
			eventContains("ExternalSecretsNotRecovering", "app-4/broken"), metricIs("eso_unsynced_objects", "1"),
		}},
		phase{"what was Ready, or not Vault's, was never touched", func(sc *scenario) {
			assert.Empty(sc, sc.forceSyncAnnotation("app-4", "elsewhere"))
			assert.NotEmpty(sc, sc.forceSyncAnnotation("app-1", "by-store"))
			o, err := sc.cluster.Get(sc.ctx, esoAPI, "ClusterSecretStore", "", "other")
			require.NoError(sc, err)
			assert.Empty(sc, o.GetAnnotations()["force-sync"])
			o, err = sc.cluster.Get(sc.ctx, "external-secrets.io/v1alpha1", "PushSecret", "app-1", "push")
			require.NoError(sc, err)
			assert.NotEmpty(sc, o.GetAnnotations()["force-sync"])
		}, nil},
		phase{"it is repaired", func(sc *scenario) {
			require.NoError(sc, sc.cluster.Apply(sc.ctx, strings.Replace(brokenSecretManifest, "nowhere", "app", 1)))
		}, []condition{withTimeout(90*time.Second, podConditionIs(secretsType, "True", "Recovered")),
			eventContains("ExternalSecretsRecovered", "were resynced"), metricIs("eso_unsynced_objects", "0")}},
		phase{"all is well from then on: nothing is asked of the API server", func(sc *scenario) {
			before := len(sc.apiProxy.Requests())
			await(sc, podNotWritten())
			assert.Equal(sc, before, len(sc.apiProxy.Requests()), "%v", sc.apiProxy.Requests()[before:])
		}, nil},
	)
}

// metricIs waits for a value on /metrics.
func metricIs(name, value string) condition {
	line := "vault_unseal_sidecar_" + name + " "
	return condition{line + value, func(sc *scenario) string {
		_, text, err := sc.sidecar.Get(sc.ctx, "/metrics")
		require.NoError(sc, err)
		_, rest, _ := strings.Cut(text, "\n"+line)
		if now, _, _ := strings.Cut(rest, "\n"); now != value {
			return fmt.Sprintf("it is %q", now)
		}
		return ""
	}}
}

// withTimeout gives a condition another timeout.
func withTimeout(limit time.Duration, cond condition) condition {
	return condition{cond.what, func(sc *scenario) string {
		require.NoError(sc, testenv.Await(sc.ctx, limit, cond.what, func() string { return cond.check(sc) }), sc.sidecarLog())
		return ""
	}}
}

func TestResync_DegradedStoreIsReported(t *testing.T) {
	t.Parallel()
	token := func(value string) func(sc *scenario) {
		return func(sc *scenario) {
			require.NoError(sc, sc.cluster.Apply(sc.ctx, fmt.Sprintf(
				"apiVersion: v1\nkind: Secret\nmetadata: {name: vault-token, namespace: app-1}\nstringData: {token: %q}\n", value)))
		}
	}
	run(t, setup{cluster: true, crds: true},
		phase{"all is well", sequence(installESO, startSidecar), []condition{serving(), podConditionIs(secretsType, "True", "Ready")}},
		phase{"the store's token is of no use", func(sc *scenario) { token("hvs.nonsense")(sc); await(sc, esoInBackoff()) },
			[]condition{logContains("store is not ready"), podConditionIs(secretsType, "False", "Recovering")}},
		phase{"it is repaired", func(sc *scenario) { token(sc.vault.Token)(sc) }, []condition{syncedCount(20), logContains("store is ready")}},
	)
}

func TestResync_LateSidecarResyncsFailedObjects(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, crds: true},
		phase{"all is well, without a sidecar", installESO, nil},
		phase{"an outage, which a person ends", sequence(beginOutage, startVaultAndWait, unsealByHand), nil},
		phase{"the sidecar comes back", startSidecar, []condition{serving(), syncedCount(20), logContains("requested a resync"),
			podConditionIs(secretsType, "True", "Recovered"), eventContains("ExternalSecretsRecovered", "were resynced"),
			metricIs(`eso_recovery_duration_seconds_count{until="objects"}`, "1")}},
	)
}

func TestExternalSecrets_NotInstalledIsReportedOnce(t *testing.T) {
	t.Parallel()
	const said = "external-secrets not found"
	run(t, setup{cluster: true},
		phase{"ESO is not installed", startSidecar,
			[]condition{serving(), gateConditionIs("True", "Unsealed"), podConditionIs(secretsType, "Unknown", "NotFound"), logContainsTimes(said, 1)}},
		phase{"nothing more is said of it", nil, []condition{podNotWritten(), logContainsTimes(said, 1), gateConditionIs("True", "Unsealed")}},
		phase{"it is installed", func(sc *scenario) { require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx)) },
			[]condition{podConditionIs(secretsType, "True", "Ready"), logContainsTimes(said, 1)}},
	)
}

func TestExternalSecrets_OldVersionIsReported(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true},
		phase{"it serves v1beta1 only", func(sc *scenario) {
			require.NoError(sc, sc.cluster.Apply(sc.ctx, oldStores))
			await(sc, condition{"v1beta1 to be served", func(sc *scenario) string {
				_, err := sc.cluster.Client.Resource(clusterStoresResource.GroupResource().WithVersion("v1beta1")).List(sc.ctx, metav1.ListOptions{})
				if err != nil {
					return err.Error()
				}
				return ""
			}})
			startSidecar(sc)
		}, []condition{serving(), podConditionIs(secretsType, "Unknown", "NotFound"), logContains("ESO is older than 0.16")}},
	)
}

// Each right that is missing is named with the manifest that grants it, and
// used from when it is there.
func TestRBAC_MissingRightNamesItsManifest(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, crds: true, withoutRBAC: true},
		phase{"all is well, without a sidecar", installESO, nil},
		phase{"an outage", sequence(killVault, waitUntil(esoInBackoff())), nil},
		phase{"it ends, and the sidecar may do nothing", sequence(startVault, startSidecar),
			[]condition{serving(), logContains("run kubectl apply -k manifests with the component gate"), logContains("with the component stores")}},
		phase{"the gate and the stores are granted", applyComponents("gate", "stores"),
			[]condition{gateConditionIs("True", "Unsealed"), logContains("with the component externalsecrets"), podConditionIs(secretsType, "Unknown", "Forbidden")}},
		phase{"all is granted", applyComponents("externalsecrets", "more"), []condition{syncedCount(20)}},
	)
}

// Objects alone, as an ESO would have left them: more than a page of failed
// ones, of which only those of the named store are resynced, and none that is Ready.
func TestResync_AllFailedObjectsAndNoOthers(t *testing.T) {
	t.Parallel()
	const failed, count = `{"type":"Ready","status":"False","reason":"SecretSyncedError","message":"m"}`, 230
	const ready = `{"type":"Ready","status":"True","reason":"SecretSynced","message":"m"}`
	var objects strings.Builder
	fmt.Fprint(&objects, "apiVersion: v1\nkind: Namespace\nmetadata: {name: app}\n")
	for _, name := range []string{"named", "other"} {
		fmt.Fprintf(&objects, "---\napiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {name: %s}\n"+
			"spec: {provider: {vault: {server: \"http://vault\", path: secret, version: v2, auth: {tokenSecretRef: {name: t, namespace: app, key: t}}}}}\n", name)
	}
	for i := range count {
		objects.WriteString(testenv.ExternalSecret("app", fmt.Sprintf("failed-%03d", i), "named", "app", "1h"))
	}
	objects.WriteString(testenv.ExternalSecret("app", "well", "named", "app", "1h"))
	objects.WriteString(testenv.ExternalSecret("app", "elsewhere", "other", "app", "1h"))
	woken := condition{fmt.Sprintf("%d to be resynced by us, and no other", count), func(sc *scenario) string {
		n := 0
		for _, o := range sc.listExternalSecrets() {
			if o.GetAnnotations()["force-sync"] == "" {
				continue
			}
			n++
			require.Contains(sc, o.GetName(), "failed-")
			managers := o.GetManagedFields()
			require.Equal(sc, "vault-unseal-sidecar", managers[len(managers)-1].Manager)
		}
		if n != count {
			return fmt.Sprint(n)
		}
		return ""
	}}
	run(t, setup{cluster: true, crds: true, args: []string{"--eso-stores", "named"}},
		phase{"all but one of two stores' ExternalSecrets have failed", func(sc *scenario) {
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			require.NoError(sc, sc.cluster.Apply(sc.ctx, objects.String()))
			for _, name := range []string{"named", "other"} {
				sc.setCondition(clusterStoresResource, "", name, ready)
			}
			for _, o := range sc.listExternalSecrets() {
				condition := failed
				if o.GetName() == "well" {
					condition = ready
				}
				sc.setCondition(externalSecretsResource, "app", o.GetName(), condition)
			}
		}, nil},
		phase{"the sidecar starts", startSidecar, []condition{serving(), woken}},
	)
}

// storeFailed is the condition of a store that ESO could not use.
const storeFailed = `{"type":"Ready","status":"False","reason":"InvalidProviderConfig","message":"m"}`

// setCondition gives an object a condition, as its controller does.
func (sc *scenario) setCondition(r schema.GroupVersionResource, namespace, name, condition string) {
	require.NoError(sc, sc.cluster.SetCondition(sc.ctx, r, namespace, name, condition))
}

// Of three replicas only the sidecar of the active one requests resyncs.
func TestResync_StandbyRequestsNone(t *testing.T) {
	t.Parallel()
	const more = `
apiVersion: v1
kind: Pod
metadata: {name: vault-1, namespace: security}
spec: {serviceAccountName: vault, containers: [{name: vault, image: "vault:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: vault-2, namespace: security}
spec: {serviceAccountName: vault, containers: [{name: vault, image: "vault:1"}]}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, namespace: app, key: t}}}}}
`
	var c raftCluster
	run(t, setup{cluster: true, crds: true, uninitialized: true, raft: true},
		phase{"three replicas are initialized, and a store is down", func(sc *scenario) {
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			require.NoError(sc, sc.cluster.Apply(sc.ctx, more))
			sc.setCondition(clusterStoresResource, "", "home", storeFailed)
			applyComponents("replicas")(sc)
			c.addReplicas(sc)
			sc.initialize()
		}, []condition{serving(), c.phasesAre("active", "standby", "standby")}},
		phase{"each reports what it does", nil, []condition{
			{"one to manage ESO, and two to be standby", func(sc *scenario) string {
				reasons := map[string]int{}
				for i := range c.replicas {
					o, err := sc.cluster.Get(sc.ctx, "v1", "Pod", "security", fmt.Sprintf("vault-%d", i))
					require.NoError(sc, err)
					reasons[testenv.Condition(o, secretsType)["reason"]]++
				}
				if reasons["Recovering"] != 1 || reasons["Standby"] != 2 {
					return fmt.Sprint(reasons)
				}
				return ""
			}},
			{"one to resync the store", func(*scenario) string {
				woke := 0
				for _, r := range c.replicas {
					woke += strings.Count(r.sidecar.Output(), "store is not ready")
				}
				if woke != 1 {
					return fmt.Sprint(woke)
				}
				return ""
			}},
		}},
	)
}

// An answer of each kind, at each call: all is well in the end.
func TestAPIServer_FailedRequestsAreRetried(t *testing.T) {
	t.Parallel()
	calls := []string{
		"LIST pods", "WATCH pods", "PATCH pods/status", "POST events",
		"LIST clustersecretstores", "WATCH clustersecretstores", "PATCH clustersecretstores",
		"LIST externalsecrets", "PATCH externalsecrets",
	}
	for name, code := range map[string]int{
		"unauthorized": 401, "forbidden": 403, "conflict": 409, "too many requests": 429, "internal error": 500, "cut": testenv.Disconnect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, setup{cluster: true, crds: true},
				phase{"all is well, without a sidecar", installESO, nil},
				phase{"an outage begins, long enough for ESO not to try by itself", beginOutage, nil},
				phase{"it ends, and each call fails twice", func(sc *scenario) {
					for _, call := range calls {
						sc.apiProxy.Fail(call, code, code)
					}
					// Or ESO could come to the store before us.
					sc.eso.Process.Signal(syscall.SIGSTOP)
					defer sc.eso.Process.Signal(syscall.SIGCONT)
					startVault(sc)
					startSidecar(sc)
					await(sc, condition{"the store to be resynced", func(sc *scenario) string {
						if strings.Contains(sc.apiProxy.PendingFailures(), "PATCH clustersecretstores") {
							return sc.apiProxy.PendingFailures()
						}
						return ""
					}})
				}, []condition{serving(), gateConditionIs("True", "Unsealed"), syncedCount(20), eventContains("Unsealed", "unsealing"),
					{"each call to have failed", func(sc *scenario) string { return sc.apiProxy.PendingFailures() }}}},
			)
		})
	}
}

// ESO's only worker can sit in a request to a Vault that hangs.
func TestResync_ESOStuckInARequestRecovers(t *testing.T) {
	t.Parallel()
	run(t, setup{cluster: true, crds: true},
		phase{"all is well", sequence(installESO, startSidecar), []condition{serving()}},
		phase{"vault hangs, and ESO with it", func(sc *scenario) {
			pauseVault(sc)
			await(sc, phaseIs("unresponsive"))
			annotateStore(sc)
		}, []condition{gateConditionIs("False", "WaitingForVault")}},
		phase{"vault dies", killVault, []condition{esoInBackoff()}},
		phase{"vault starts again", startVault, []condition{serving(), withTimeout(90*time.Second, syncedCount(20))}},
	)
}

func annotateStore(sc *scenario) {
	require.NoError(sc, sc.cluster.Annotate(sc.ctx, clusterStoresResource, "", "home", "somebody", "else"))
}

// vaultServiceManifest leads to Vault's pod.
const vaultServiceManifest = `
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: security}
spec: {selector: {app.kubernetes.io/name: vault}, ports: [{port: 8200}]}
`

// esoPodCount expects so many pods where ESO's are.
func esoPodCount(want int) condition {
	return condition{fmt.Sprintf("%d pods of external-secrets", want), func(sc *scenario) string {
		list, err := sc.cluster.Client.Resource(podsResource).Namespace("external-secrets").List(sc.ctx, metav1.ListOptions{})
		require.NoError(sc, err)
		if len(list.Items) != want {
			return fmt.Sprint(len(list.Items))
		}
		return ""
	}}
}

// A store of this Vault that does not get ready: ESO's controller is evicted,
// once, and neither its webhook nor its cert-controller.
func TestEviction_IsAskedOnceForEachOutage(t *testing.T) {
	t.Parallel()
	const objects = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: external-secrets}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home}
spec: {provider: {vault: {server: "http://vault.security.svc:8200", path: secret, version: v2, auth: {tokenSecretRef: {name: t, namespace: external-secrets, key: t}}}}}
`
	podOf := func(name, label string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: external-secrets, labels: {app.kubernetes.io/name: %s}}\n"+
			"spec: {serviceAccountName: external-secrets, containers: [{name: c, image: \"c:1\"}]}\n", name, label)
	}
	pods := podOf("external-secrets-6d5f7c8b9c-x2x4z", "external-secrets") +
		podOf("external-secrets-webhook-6d5f7c8b9c-x2x4z", "external-secrets-webhook") +
		podOf("external-secrets-cert-controller-6d5f7c8b9c-x2x4z", "external-secrets-cert-controller")
	run(t, setup{cluster: true, crds: true},
		phase{"a store of this vault is down, and nothing helps", func(sc *scenario) {
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			require.NoError(sc, sc.cluster.Apply(sc.ctx, objects, vaultServiceManifest, pods))
			sc.setCondition(clusterStoresResource, "", "home", storeFailed)
			startSidecar(sc)
		}, []condition{serving(), podConditionIs(secretsType, "False", "Recovering"), esoPodCount(3)}},
		phase{"after two minutes the controller is evicted", nil, []condition{
			withTimeout(170*time.Second, esoPodCount(2)), podConditionIs(secretsType, "False", "ControllerEvicted"), logContainsTimes("evicted the external-secrets controller", 1)}},
		phase{"its Deployment makes another, which is let be", func(sc *scenario) {
			require.NoError(sc, sc.cluster.Apply(sc.ctx, podOf("external-secrets-6d5f7c8b9c-z4z2x", "external-secrets")))
		}, []condition{withTimeout(150*time.Second, podConditionIs(secretsType, "False", "StoreNotReady")), esoPodCount(3),
			eventContains("ExternalSecretsNotRecovering", "home"), logContainsTimes("evicted the external-secrets controller", 1)}},
	)
}
