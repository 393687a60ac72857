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
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

var storesResource = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "clustersecretstores"}

// apps are the namespaces that have secrets in Vault.
var apps = []string{"app-1", "app-2", "app-3", "app-4"}

// installESO opens Vault and installs the real operator, a store of each kind
// and 20 ExternalSecrets in four namespaces, and waits until all are synced.
func installESO(w *world) {
	unsealByHand(w)
	require.NoError(w, w.vault.MountKV(w.ctx))
	require.NoError(w, w.vault.WriteSecret(w.ctx, "app", "one"))
	var err error
	w.eso, err = w.lab.ESO(w.ctx, w.cluster, "--store-requeue-interval=1s")
	require.NoError(w, err)
	require.NoError(w, w.cluster.Apply(w.ctx, w.stores(), secretsOfApps()))
	await(w, synced(20))
}

func (w *world) stores() string {
	var b strings.Builder
	for _, app := range apps {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {app: \"yes\"}}\n", app)
	}
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: vault-token, namespace: app-1}\nstringData: {token: %q}\n", w.vault.Token)
	fmt.Fprintf(&b, "---\napiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {name: home}\nspec: {provider: %s}\n", w.vault.StoreProvider("app-1"))
	fmt.Fprintf(&b, "---\napiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: own, namespace: app-1}\nspec: {provider: %s}\n", w.vault.StoreProvider(""))
	fmt.Fprint(&b, `---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: other}
spec: {provider: {fake: {data: [{key: app, value: two}]}}}
`)
	return b.String()
}

// secretsOfApps are 20 that use Vault, in all the ways there are, and one that
// does not.
func secretsOfApps() string {
	var b strings.Builder
	secret := func(app, name, spec string) {
		fmt.Fprintf(&b, "---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: %s, namespace: %s}\nspec: {refreshInterval: 1s, %s}\n", name, app, spec)
	}
	const data = `data: [{secretKey: value, remoteRef: {key: app, property: value}}]`
	for i := range 12 {
		secret(apps[i%4], fmt.Sprintf("by-cluster-store-%d", i), `secretStoreRef: {kind: ClusterSecretStore, name: home}, `+data)
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

// pushIs waits for what ESO says of the PushSecret.
func pushIs(status string) expectation {
	return expectation{"the PushSecret's Ready to be " + status, func(w *world) string {
		o, err := w.cluster.Get(w.ctx, "external-secrets.io/v1alpha1", "PushSecret", "app-1", "push")
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

// brokenSecret fails for a reason of its own.
const brokenSecret = `
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: broken, namespace: app-4}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: ClusterSecretStore, name: home}
  data: [{secretKey: value, remoteRef: {key: nowhere, property: value}}]
`

func (w *world) externalSecrets() []unstructured.Unstructured {
	list, err := w.cluster.Client.Resource(secretsResource).List(w.ctx, metav1.ListOptions{})
	require.NoError(w, err)
	return list.Items
}

// usesVault tells those of the 20 that are meant to be synced from Vault.
func usesVault(o *unstructured.Unstructured) bool {
	return o.GetName() != "broken" && o.GetName() != "elsewhere"
}

// synced waits until n ExternalSecrets that use Vault are Ready.
func synced(n int) expectation {
	return expectation{fmt.Sprintf("%d ExternalSecrets to be synced", n), func(w *world) string {
		ready := 0
		var last string
		for _, o := range w.externalSecrets() {
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

// failedToSync waits until nothing that uses Vault is synced any more, and ESO
// tries rarely: every store's and object's next try is seconds away.
func failedToSync() expectation {
	return expectation{"ESO to be deep in its backoff", func(w *world) string {
		if seen := synced(0).see(w); seen != "" {
			return seen
		}
		for _, name := range []string{"home"} {
			o, err := w.cluster.Get(w.ctx, esoAPI, "ClusterSecretStore", "", name)
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

// outage lasts long enough for ESO to fail everything and to come to its
// try after 63 seconds.
func outage(w *world) {
	killVault(w)
	await(w, failedToSync())
	began := time.Now()
	require.NoError(w, testenv.Await(w.ctx, 2*time.Minute, "ESO to have failed for 40 seconds", func() string {
		if left := 40*time.Second - time.Since(began); left > 0 {
			return left.String() + " left"
		}
		return ""
	}))
}

// wokenAt returns when an ExternalSecret was woken, in its own words; "" when it
// was not.
func (w *world) wokenAt(namespace, name string) string {
	o, err := w.cluster.Get(w.ctx, esoAPI, "ExternalSecret", namespace, name)
	require.NoError(w, err)
	return o.GetAnnotations()["force-sync"]
}

func TestExternalSecretsRecover(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true},
		phase{"all is well", all(installESO, startSidecar), []expectation{serving(), podSays(secretsType, "True", "Ready")}},
		phase{"one is broken for a reason of its own", func(w *world) { require.NoError(w, w.cluster.Apply(w.ctx, brokenSecret)) }, nil},
		phase{"an outage begins", outage, []expectation{podSays(secretsType, "Unknown", "WaitingForVault"), pushIs("False")}},
		phase{"it ends", func(w *world) {
			startVault(w)
			await(w, serving())
			began := time.Now()
			await(w, synced(20))
			took := time.Since(began)
			w.Logf("from vault serving until all was synced: %v", took.Round(time.Millisecond))
			assert.Less(w, took, 10*time.Second, "ESO alone would take up to 16 s and more")
		}, []expectation{tells("Unsealed", "unsealing"), gateIs("True", "Unsealed"), pushIs("True")}},
		phase{"what is broken for its own reason is told, in the end", nil, []expectation{
			within(120*time.Second, podSays(secretsType, "False", "NotSynced")),
			tells("ExternalSecretsNotRecovering", "app-4/broken"), exports("eso_unsynced_objects", "1"),
		}},
		phase{"what was Ready, or not Vault's, was never touched", func(w *world) {
			assert.Empty(w, w.wokenAt("app-4", "elsewhere"))
			assert.NotEmpty(w, w.wokenAt("app-1", "by-store"))
			o, err := w.cluster.Get(w.ctx, esoAPI, "ClusterSecretStore", "", "other")
			require.NoError(w, err)
			assert.Empty(w, o.GetAnnotations()["force-sync"])
			o, err = w.cluster.Get(w.ctx, "external-secrets.io/v1alpha1", "PushSecret", "app-1", "push")
			require.NoError(w, err)
			assert.NotEmpty(w, o.GetAnnotations()["force-sync"])
		}, nil},
		phase{"somebody mends it", func(w *world) {
			require.NoError(w, w.cluster.Apply(w.ctx, strings.Replace(brokenSecret, "nowhere", "app", 1)))
		}, []expectation{within(90*time.Second, podSays(secretsType, "True", "Recovered")),
			tells("ExternalSecretsRecovered", "were woken"), exports("eso_unsynced_objects", "0")}},
		phase{"all is well from then on: nothing is asked of the API server", func(w *world) {
			before := len(w.faults.Requests())
			await(w, podIsNotWritten())
			assert.Equal(w, before, len(w.faults.Requests()), "%v", w.faults.Requests()[before:])
		}, nil},
	)
}

// exports waits for a value on /metrics.
func exports(name, value string) expectation {
	line := "vault_unseal_sidecar_" + name + " "
	return expectation{line + value, func(w *world) string {
		_, text, err := w.sidecar.Get(w.ctx, "/metrics")
		require.NoError(w, err)
		_, rest, _ := strings.Cut(text, "\n"+line)
		if now, _, _ := strings.Cut(rest, "\n"); now != value {
			return fmt.Sprintf("it is %q", now)
		}
		return ""
	}}
}

// within gives a condition another patience.
func within(limit time.Duration, e expectation) expectation {
	return expectation{e.what, func(w *world) string {
		require.NoError(w, testenv.Await(w.ctx, limit, e.what, func() string { return e.see(w) }), w.log())
		return ""
	}}
}

func TestAStoreThatDegradesWhileVaultIsWell(t *testing.T) {
	t.Parallel()
	token := func(value string) func(w *world) {
		return func(w *world) {
			require.NoError(w, w.cluster.Apply(w.ctx, fmt.Sprintf(
				"apiVersion: v1\nkind: Secret\nmetadata: {name: vault-token, namespace: app-1}\nstringData: {token: %q}\n", value)))
		}
	}
	play(t, home{cluster: true},
		phase{"all is well", all(installESO, startSidecar), []expectation{serving(), podSays(secretsType, "True", "Ready")}},
		phase{"the store's token is of no use", func(w *world) { token("hvs.nonsense")(w); await(w, failedToSync()) },
			[]expectation{logs("store is not ready"), podSays(secretsType, "False", "Recovering")}},
		phase{"it is mended", func(w *world) { token(w.vault.Token)(w) }, []expectation{synced(20), logs("store is ready")}},
	)
}

func TestASidecarThatStartsLateWakesWhatFailed(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true},
		phase{"all is well, without a sidecar", installESO, nil},
		phase{"an outage, which a person ends", all(outage, startVaultAndWait, unsealByHand), nil},
		phase{"the sidecar comes back", startSidecar, []expectation{serving(), synced(20), logs("requested a resync"),
			podSays(secretsType, "True", "Recovered"), tells("ExternalSecretsRecovered", "were woken"),
			exports(`eso_recovery_duration_seconds_count{until="objects"}`, "1")}},
	)
}

func TestWithoutExternalSecrets(t *testing.T) {
	t.Parallel()
	const said = "external-secrets not found"
	play(t, home{cluster: true},
		phase{"ESO is not installed", startSidecar,
			[]expectation{serving(), gateIs("True", "Unsealed"), podSays(secretsType, "Unknown", "NotFound"), logsTimes(said, 1)}},
		phase{"nothing more is said of it", nil, []expectation{podIsNotWritten(), logsTimes(said, 1), gateIs("True", "Unsealed")}},
		phase{"it is installed", func(w *world) { require.NoError(w, w.cluster.InstallCRDs(w.ctx)) },
			[]expectation{podSays(secretsType, "True", "Ready"), logsTimes(said, 1)}},
	)
}

func TestAnExternalSecretsThatIsTooOld(t *testing.T) {
	t.Parallel()
	const old = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: clustersecretstores.external-secrets.io}
spec:
  group: external-secrets.io
  scope: Cluster
  names: {kind: ClusterSecretStore, listKind: ClusterSecretStoreList, plural: clustersecretstores, singular: clustersecretstore}
  versions: [{name: v1beta1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`
	play(t, home{cluster: true},
		phase{"it serves v1beta1 only", func(w *world) {
			require.NoError(w, w.cluster.Apply(w.ctx, old))
			await(w, expectation{"v1beta1 to be served", func(w *world) string {
				_, err := w.cluster.Client.Resource(storesResource.GroupResource().WithVersion("v1beta1")).List(w.ctx, metav1.ListOptions{})
				if err != nil {
					return err.Error()
				}
				return ""
			}})
			startSidecar(w)
		}, []expectation{serving(), podSays(secretsType, "Unknown", "NotFound"), logs("ESO is older than 0.16")}},
	)
}

// Each right that is missing is named with the manifest that grants it, and
// used from when it is there.
func TestRightsThatAreMissing(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true, rightless: true},
		phase{"all is well, without a sidecar", installESO, nil},
		phase{"an outage", all(killVault, waitFor(failedToSync())), nil},
		phase{"it ends, and the sidecar may do nothing", all(startVault, startSidecar),
			[]expectation{serving(), logs("apply manifests/gate"), logs("apply manifests/stores")}},
		phase{"the gate and the stores are granted", grant("gate", "stores"),
			[]expectation{gateIs("True", "Unsealed"), logs("apply manifests/externalsecrets"), podSays(secretsType, "Unknown", "Forbidden")}},
		phase{"all is granted", grant("externalsecrets", "more"), []expectation{synced(20)}},
	)
}

// Objects alone, as an ESO would have left them: more than a page of failed
// ones, of which only those of the named store are woken, and none that is Ready.
func TestOnlyWhatFailedIsWokenAndAllOfIt(t *testing.T) {
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
	woken := expectation{fmt.Sprintf("%d to be woken by us, and no other", count), func(w *world) string {
		n := 0
		for _, o := range w.externalSecrets() {
			if o.GetAnnotations()["force-sync"] == "" {
				continue
			}
			n++
			require.Contains(w, o.GetName(), "failed-")
			managers := o.GetManagedFields()
			require.Equal(w, "vault-unseal-sidecar", managers[len(managers)-1].Manager)
		}
		if n != count {
			return fmt.Sprint(n)
		}
		return ""
	}}
	play(t, home{cluster: true, args: []string{"--eso-stores", "named"}},
		phase{"all but one of two stores' ExternalSecrets have failed", func(w *world) {
			require.NoError(w, w.cluster.InstallCRDs(w.ctx))
			require.NoError(w, w.cluster.Apply(w.ctx, objects.String()))
			for _, name := range []string{"named", "other"} {
				w.says(storesResource, "", name, ready)
			}
			for _, o := range w.externalSecrets() {
				condition := failed
				if o.GetName() == "well" {
					condition = ready
				}
				w.says(secretsResource, "app", o.GetName(), condition)
			}
		}, nil},
		phase{"the sidecar starts", startSidecar, []expectation{serving(), woken}},
	)
}

// says gives an object a condition, as its controller does.
func (w *world) says(r schema.GroupVersionResource, namespace, name, condition string) {
	_, err := w.cluster.Client.Resource(r).Namespace(namespace).Patch(w.ctx, name, types.MergePatchType,
		[]byte(`{"status":{"conditions":[`+condition+`]}}`), metav1.PatchOptions{}, "status")
	require.NoError(w, err)
}

// Three replicas wake ESO once: the active one's sidecar does.
func TestAStandbyWakesNobody(t *testing.T) {
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
	var c cluster
	play(t, home{cluster: true, virgin: true, raft: true},
		phase{"three replicas are initialized, and a store is down", func(w *world) {
			require.NoError(w, w.cluster.InstallCRDs(w.ctx))
			require.NoError(w, w.cluster.Apply(w.ctx, more))
			grant("replicas")(w)
			c.furnish(w)
			w.initialize()
		}, []expectation{serving(), c.are("active", "standby", "standby")}},
		phase{"each tells what it does", nil, []expectation{
			{"one to look after ESO, and two to say that they do not", func(w *world) string {
				reasons := map[string]int{}
				for i := range c.replicas {
					o, err := w.cluster.Get(w.ctx, "v1", "Pod", "security", fmt.Sprintf("vault-%d", i))
					require.NoError(w, err)
					reasons[testenv.Condition(o, secretsType)["reason"]]++
				}
				if reasons["Recovering"] != 1 || reasons["Standby"] != 2 {
					return fmt.Sprint(reasons)
				}
				return ""
			}},
			{"one to wake the store", func(*world) string {
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
func TestTheAPIServerFails(t *testing.T) {
	t.Parallel()
	calls := []string{
		"LIST pods", "WATCH pods", "PATCH pods/status", "POST events",
		"LIST clustersecretstores", "WATCH clustersecretstores", "PATCH clustersecretstores",
		"LIST externalsecrets", "PATCH externalsecrets", "PATCH clusterexternalsecrets",
	}
	for name, code := range map[string]int{
		"unauthorized": 401, "forbidden": 403, "conflict": 409, "too many requests": 429, "internal error": 500, "cut": testenv.Cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, home{cluster: true},
				phase{"all is well, without a sidecar", installESO, nil},
				phase{"an outage begins, long enough for ESO not to try by itself", outage, nil},
				phase{"it ends, and each call fails twice", func(w *world) {
					for _, call := range calls {
						w.faults.Fail(call, code, code)
					}
					// Or ESO could come to the store before us.
					w.eso.Process.Signal(syscall.SIGSTOP)
					defer w.eso.Process.Signal(syscall.SIGCONT)
					startVault(w)
					startSidecar(w)
					await(w, expectation{"the store to be woken", func(w *world) string {
						if strings.Contains(w.faults.Left(), "PATCH clustersecretstores") {
							return w.faults.Left()
						}
						return ""
					}})
				}, []expectation{serving(), gateIs("True", "Unsealed"), synced(20), tells("Unsealed", "unsealing"),
					{"each call to have failed", func(w *world) string { return w.faults.Left() }}}},
			)
		})
	}
}

// ESO's only worker can sit in a request to a Vault that hangs.
func TestESOIsStuckInARequest(t *testing.T) {
	t.Parallel()
	play(t, home{cluster: true},
		phase{"all is well", all(installESO, startSidecar), []expectation{serving()}},
		phase{"vault hangs, and ESO with it", func(w *world) {
			pauseVault(w)
			await(w, phaseIs("unresponsive"))
			annotateStore(w)
		}, []expectation{gateIs("False", "WaitingForVault")}},
		phase{"vault dies", killVault, []expectation{failedToSync()}},
		phase{"vault starts again", startVault, []expectation{serving(), within(90*time.Second, synced(20))}},
	)
}

func annotateStore(w *world) {
	_, err := w.cluster.Client.Resource(storesResource).Patch(w.ctx, "home", types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"somebody":"else"}}}`), metav1.PatchOptions{})
	require.NoError(w, err)
}

// vaultService leads to Vault's pod.
const vaultService = `
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: security}
spec: {selector: {app.kubernetes.io/name: vault}, ports: [{port: 8200}]}
`

// podsOfESO expects so many pods where ESO's are.
func podsOfESO(want int) expectation {
	return expectation{fmt.Sprintf("%d pods of external-secrets", want), func(w *world) string {
		list, err := w.cluster.Client.Resource(podsResource).Namespace("external-secrets").List(w.ctx, metav1.ListOptions{})
		require.NoError(w, err)
		if len(list.Items) != want {
			return fmt.Sprint(len(list.Items))
		}
		return ""
	}}
}

// A store of this Vault that does not get ready: ESO's controller is evicted,
// once, and neither its webhook nor its cert-controller.
func TestTheControllerIsEvictedOnce(t *testing.T) {
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
	play(t, home{cluster: true},
		phase{"a store of this vault is down, and nothing helps", func(w *world) {
			require.NoError(w, w.cluster.InstallCRDs(w.ctx))
			require.NoError(w, w.cluster.Apply(w.ctx, objects, vaultService, pods))
			startSidecar(w)
		}, []expectation{serving(), podSays(secretsType, "False", "Recovering"), podsOfESO(3)}},
		phase{"after two minutes the controller is evicted", nil, []expectation{
			within(170*time.Second, podsOfESO(2)), podSays(secretsType, "False", "ControllerEvicted"), logsTimes("evicted the external-secrets controller", 1)}},
		phase{"its Deployment makes another, which is let be", func(w *world) {
			require.NoError(w, w.cluster.Apply(w.ctx, podOf("external-secrets-6d5f7c8b9c-z4z2x", "external-secrets")))
		}, []expectation{within(150*time.Second, podSays(secretsType, "False", "StoreNotReady")), podsOfESO(3),
			tells("ExternalSecretsNotRecovering", "home"), logsTimes("evicted the external-secrets controller", 1)}},
	)
}
