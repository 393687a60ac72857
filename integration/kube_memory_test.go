package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

var (
	secretStoresResource = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "secretstores"}
	pushSecretsResource  = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1alpha1", Resource: "pushsecrets"}
)

// maxPeakRSS is what the sidecar may take at its peak, in KiB. Two of its
// processes have 64 MiB.
const maxPeakRSS = 40 << 10

// peakRSS returns the most that the sidecar's process ever had resident, in
// KiB.
func (sc *scenario) peakRSS() (kib int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", sc.sidecar.Pid()))
	require.NoError(sc, err, sc.sidecar.Tail(10))
	_, line, found := strings.Cut(string(text), "VmHWM:")
	require.True(sc, found)
	_, err = fmt.Sscan(line, &kib)
	require.NoError(sc, err)
	return kib
}

// tenant may write objects of External Secrets in namespaces of its own.
type tenant struct{ *scenario }

func (t tenant) create(r schema.GroupVersionResource, kind, namespace, name string, spec map[string]any) error {
	_, err := t.cluster.Client.Resource(r).Namespace(namespace).Create(t.ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": r.GroupVersion().String(), "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": namespace}, "spec": spec,
	}}, metav1.CreateOptions{FieldValidation: "Ignore"})
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return nil
}

// createStore makes a SecretStore of this Vault that is so large, by a text or by many
// small objects, which take more memory.
func (t tenant) createStore(namespace, name string, size int, many bool) error {
	vault := map[string]any{"server": "http://vault", "path": "secret", "version": "v2",
		"auth": map[string]any{"tokenSecretRef": map[string]any{"name": "t", "key": "t"}}}
	spec := map[string]any{"provider": map[string]any{"vault": vault}}
	if many {
		spec["conditions"] = repeatEntry(map[string]any{"namespaces": []any{"a"}}, size/20)
	} else {
		vault["path"] = strings.Repeat("p", size)
	}
	return t.create(secretStoresResource, "SecretStore", namespace, name, spec)
}

// createExternalSecret makes an ExternalSecret of the store home that is so large.
func (t tenant) createExternalSecret(namespace, name string, size int) error {
	entry := map[string]any{"secretKey": "a", "remoteRef": map[string]any{"key": "b"},
		"sourceRef": map[string]any{"storeRef": map[string]any{"name": "a"}}}
	return t.create(externalSecretsResource, "ExternalSecret", namespace, name, map[string]any{
		"refreshInterval": "1h", "secretStoreRef": map[string]any{"kind": "ClusterSecretStore", "name": "home"},
		"data": repeatEntry(entry, size/260),
	})
}

// createPushSecret makes a PushSecret with so much of what the API server lets pass unseen:
// JSON that takes fifty times its size when it is decoded.
func (t tenant) createPushSecret(namespace, name string, size int) error {
	return t.create(pushSecretsResource, "PushSecret", namespace, name, map[string]any{
		"secretStoreRefs": []any{map[string]any{"kind": "ClusterSecretStore", "name": "home"}},
		"selector":        map[string]any{"secret": map[string]any{"name": "a"}},
		"data": []any{map[string]any{
			"match":    map[string]any{"secretKey": "a", "remoteRef": map[string]any{"remoteKey": "a"}},
			"metadata": map[string]any{"a": repeatEntry(map[string]any{"a": int64(0)}, size/8)},
		}},
	})
}

func repeatEntry(entry map[string]any, count int) []any {
	list := make([]any, count)
	for i := range list {
		list[i] = entry
	}
	return list
}

// createMany makes what fills the sidecar's memory, with names that begin alike, and
// has all of it fail. It returns how many stores there are.
func (t tenant) createMany(prefix string, few bool) (stores int) {
	counts := []struct{ giants, large, medium, secrets, pushes int }{{3, 14, 40, 6, 4}, {2, 3, 5, 2, 2}}
	n := counts[map[bool]int{false: 0, true: 1}[few]]
	var work errgroup.Group
	work.SetLimit(4)
	name := func(what string, i int) string { return fmt.Sprintf("%s-%s-%03d", prefix, what, i) }
	for i := range n.medium {
		work.Go(func() error { return t.createStore("app-1", name("medium", i), 250<<10, i%10 == 0) })
	}
	for i := range n.large {
		work.Go(func() error { return t.createStore("app-2", name("large", i), 1<<20, i%10 == 0) })
	}
	for i := range n.giants {
		work.Go(func() error { return t.createStore("app-2", name("giant", i), 1400<<10, false) })
	}
	for i := range n.secrets {
		work.Go(func() error { return t.createExternalSecret("app-3", name("secret", i), 1300<<10) })
	}
	for i := range n.pushes {
		work.Go(func() error { return t.createPushSecret("app-3", name("push", i), 1400<<10) })
	}
	require.NoError(t, work.Wait())
	const failed = `{"type":"Ready","status":"False","reason":"SecretSyncedError","message":"m"}`
	for i := range n.secrets {
		t.setCondition(externalSecretsResource, "app-3", name("secret", i), failed)
	}
	for i := range n.pushes {
		t.setCondition(pushSecretsResource, "app-3", name("push", i), strings.Replace(failed, "SecretSyncedError", "Errored", 1))
	}
	for namespace, stores := range map[string]map[string]int{"app-1": {"medium": n.medium}, "app-2": {"large": n.large, "giant": n.giants}} {
		for what, count := range stores {
			for i := range count {
				t.setCondition(secretStoresResource, namespace, name(what, i), storeFailed)
			}
		}
	}
	return n.medium + n.large + n.giants
}

// allAnnotated waits until all objects of a kind in a namespace, which are large, are
// annotated.
func allAnnotated(r schema.GroupVersionResource, namespace string) condition {
	return condition{"all " + r.Resource + " in " + namespace + " to be resynced", func(sc *scenario) string {
		client, err := metadata.NewForConfig(sc.cluster.AdminConfig())
		require.NoError(sc, err)
		list, err := client.Resource(r).Namespace(namespace).List(sc.ctx, metav1.ListOptions{})
		require.NoError(sc, err)
		for _, o := range list.Items {
			if o.GetAnnotations()["force-sync"] == "" {
				return o.GetName() + " is not"
			}
		}
		return ""
	}}
}

// A tenant who may write a SecretStore or an ExternalSecret can fill 1.5 MiB with it,
// any number of times, before the sidecar starts and while it runs. The sidecar takes
// little memory all the same, and resyncs them like others.
func TestMemory_TenantsCannotExhaustIt(t *testing.T) {
	t.Parallel()
	const home1 = `
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, namespace: app-1, key: t}}}}}
`
	small := func(sc *scenario) {
		assert.Less(sc, sc.peakRSS(), maxPeakRSS, "KiB")
		sc.Logf("peak: %.1f MiB", float64(sc.peakRSS())/1024)
		require.False(sc, sc.sidecar.Exited())
	}
	followed := func(sc *scenario, n int) condition {
		return withTimeout(4*time.Minute, condition{fmt.Sprintf("%d stores to be resynced", n), func(sc *scenario) string {
			if got := strings.Count(sc.sidecar.Output(), "store is not ready"); got < n {
				return fmt.Sprint(got)
			}
			return ""
		}})
	}
	stores := 0
	run(t, setup{cluster: true, crds: true, env: []string{"GOMEMLIMIT=20MiB"}},
		phase{"tenants fill what they can", func(sc *scenario) {
			sc.cluster.Retire()
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			for _, app := range appNamespaces {
				require.NoError(sc, sc.cluster.Apply(sc.ctx, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+app+"}\n"))
			}
			require.NoError(sc, sc.cluster.Apply(sc.ctx, home1))
			sc.setCondition(clusterStoresResource, "", "home", `{"type":"Ready","status":"True","reason":"Valid","message":"m"}`)
			stores = tenant{sc}.createMany("before", false)
		}, nil},
		phase{"the sidecar starts", startSidecar, []condition{serving()}},
		phase{"it resyncs them all", func(sc *scenario) { await(sc, followed(sc, stores)) }, []condition{
			withTimeout(2*time.Minute, allAnnotated(externalSecretsResource, "app-3")), withTimeout(2*time.Minute, allAnnotated(pushSecretsResource, "app-3")),
		}},
		phase{"it has taken little memory", small, nil},
		phase{"they make and change more while it watches", func(sc *scenario) {
			more := tenant{sc}.createMany("later", true)
			await(sc, followed(sc, stores+more))
			for i := range 20 {
				_, err := sc.cluster.Client.Resource(secretStoresResource).Namespace("app-2").Patch(sc.ctx, fmt.Sprintf("before-giant-%03d", i%3),
					types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"i":"%d"}}}`, i), metav1.PatchOptions{})
				require.NoError(sc, err)
			}
			sc.setCondition(secretStoresResource, "app-2", "before-giant-002", `{"type":"Ready","status":"True","reason":"Valid","message":"m"}`)
		}, []condition{logContains("store is ready"), serving()}},
		phase{"it has taken little memory", small, nil},
	)
}

// An API server that takes every request and answers none delays nothing: neither
// the start, nor an unseal, nor the end.
func TestAPIServer_HangingRequestsDelayNothing(t *testing.T) {
	t.Parallel()
	const soon = 5 * time.Second
	run(t, setup{cluster: true},
		phase{"the API server hangs, and the node reboots", sequence(killVault, delayAPIServer(time.Hour), startSidecar),
			[]condition{phaseIs("unreachable")}},
		phase{"vault is back", finishesWithin(soon, startVault, serving()), []condition{sharesSent(1)}},
		phase{"the API server answers again", delayAPIServer(0), []condition{withTimeout(time.Minute, gateConditionIs("True", "Unsealed"))}},
		phase{"it hangs as vault does not", sequence(delayAPIServer(time.Hour), killVault), []condition{phaseIs("unreachable")}},
		phase{"vault is back once more", finishesWithin(soon, startVault, serving()), []condition{sharesSent(1)}},
		phase{"the process of the API server stands still", func(sc *scenario) {
			sc.cluster.APIServer.Signal(syscall.SIGSTOP)
			sc.Cleanup(func() { sc.cluster.APIServer.Signal(syscall.SIGCONT) })
			killVault(sc)
		}, []condition{phaseIs("unreachable")}},
		phase{"vault is back", finishesWithin(soon, startVault, serving()), []condition{sharesSent(1)}},
		phase{"the pod ends", stopSidecar, []condition{exitCodeIs(0)}},
	)
}
