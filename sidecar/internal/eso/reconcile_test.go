package eso

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// fakeCluster is a cluster with Vault's pod and Service and two controllers of ESO. It
// counts what is done: a real one makes every row of the table take minutes.
type fakeCluster struct {
	t          *testing.T
	mu         sync.Mutex
	annotated  int
	evicted    []string
	refuseWith map[string]error // by the name of the pod
	synced     []string         // ExternalSecrets
	asked      func()           // is called when our own pod is; may be nil
	patched    func()           // is called before an object is annotated; may be nil
}

func (w *fakeCluster) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return fakeKind{fakeCluster: w, kind: r}
}

func (w *fakeCluster) annotations() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.annotated
}

func (w *fakeCluster) evictions() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.evicted)
}

type fakeKind struct {
	dynamic.NamespaceableResourceInterface
	*fakeCluster
	kind schema.GroupVersionResource
}

func (w fakeKind) Namespace(string) dynamic.ResourceInterface { return w }

func (w fakeKind) Get(context.Context, string, metav1.GetOptions, ...string) (*unstructured.Unstructured, error) {
	if w.asked != nil {
		w.asked()
	}
	return kubetest.Object(w.t, `{"metadata":{"name":"vault-0","labels":{"app":"vault"}}}`), nil
}

func (w fakeKind) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	var objects []string
	switch w.kind {
	case kube.Services:
		objects = []string{`{"metadata":{"name":"vault","namespace":"security"},"spec":{"selector":{"app":"vault"}}}`}
	case ExternalSecrets:
		objects = w.synced
	case kube.Pods:
		objects = []string{`{"metadata":{"name":"eso-a"}}`, `{"metadata":{"name":"eso-b"}}`}
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	for _, text := range objects {
		list.Items = append(list.Items, *kubetest.Object(w.t, text))
	}
	return list, nil
}

func (w fakeKind) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*unstructured.Unstructured, error) {
	w.mu.Lock()
	patched := w.patched
	w.mu.Unlock()
	if patched != nil {
		patched()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.annotated++
	return nil, nil
}

func (w fakeKind) Create(_ context.Context, o *unstructured.Unstructured, _ metav1.CreateOptions, sub ...string) (*unstructured.Unstructured, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Equal(w.t, []string{"eviction"}, sub)
	if err := w.refuseWith[o.GetName()]; err != nil {
		return nil, err
	}
	w.evicted = append(w.evicted, o.GetName())
	return o, nil
}

func TestReconcileStore_AnnotatesThenEvicts(t *testing.T) {
	const here, elsewhere = "http://vault.security.svc:8200", "https://vault.example.com"
	both := []string{"eso-a", "eso-b"}
	budget := apierrors.NewTooManyRequests("disruption budget", 1)
	cut := io.ErrUnexpectedEOF
	said := func(message string) func(*Controller, *fakeCluster) {
		return func(n *Controller, _ *fakeCluster) { n.tracked[StoreName{"", "home"}].Message = message }
	}
	ofNamespace := func(message string) func(*Controller, *fakeCluster) {
		return func(n *Controller, _ *fakeCluster) {
			p := n.tracked[StoreName{"", "home"}]
			p.Namespaced, p.Message = true, message
		}
	}
	// beside adds a store that is Ready, and an ExternalSecret of it that was synced
	// so long after Vault became active.
	beside := func(server string, works int64, status string, after time.Duration) func(*Controller, *fakeCluster) {
		return func(n *Controller, w *fakeCluster) {
			name := StoreName{"app", "well"}
			n.tracked[name] = &storeState{Store: Store{StoreName: name, Server: server, Status: kube.True}, workedInOutage: works}
			w.synced = append(w.synced, `{"metadata":{"name":"a","namespace":"other"},"spec":{"secretStoreRef":{"name":"well"}}}`,
				`{"metadata":{"name":"a","namespace":"app"},"spec":{"secretStoreRef":{"name":"well"}},"status":{"refreshTime":"`+
					n.phaseSince.Add(after).UTC().Format(time.RFC3339)+`","conditions":[{"type":"Ready","status":"`+status+`"}]}}`)
		}
	}
	for _, row := range []struct {
		sentence  string
		recovery  Recovery
		down      time.Duration
		server    string
		prepare   func(n *Controller, w *fakeCluster)
		annotated int
		evicted   []string
	}{
		{"a store is annotated", RecoveryBoth, time.Minute, here, nil, 2, nil},
		{"after two minutes the controllers are evicted, once", RecoveryBoth, evictAfter, here, nil, 2, both},
		{"not when only waking is wanted", RecoveryNudge, evictAfter, here, nil, 2, nil},
		{"at once when only that is wanted", RecoveryRestart, 0, here, nil, 0, both},
		{"not for another Vault's store", RecoveryBoth, evictAfter, elsewhere, nil, 2, nil},
		{"but for one that was named", RecoveryBoth, evictAfter, elsewhere,
			func(n *Controller, _ *fakeCluster) { n.config.Stores = []StoreName{{"", "home"}} }, 2, both},
		{"not when Vault has answered ESO, which evicting does not mend", RecoveryBoth, evictAfter, here, said(`unable to validate store: Error making API request.

URL: PUT http://vault.security.svc:8200/v1/auth/kubernetes/login
Code: 500. Errors:

* 1 error occurred: read-only file system`), 2, nil},
		{"but when that was the outage itself", RecoveryBoth, evictAfter, here, said("Code: 503. Errors:\n\n* Vault is sealed"), 2, both},
		{"not for a namespace that is sealed below an open root", RecoveryBoth, evictAfter, here, said(`Error making API request.

URL: PUT http://vault.security.svc:8200/v1/team-a/auth/kubernetes/login
Code: 503. Errors:

* Namespace is sealed`), 2, nil},
		{"nor for a store of a namespace, which may be", RecoveryBoth, evictAfter, here, ofNamespace("unable to validate store"), 2, nil},
		{"whatever was answered", RecoveryBoth, evictAfter, here, ofNamespace(`Error making API request.

Namespace: team-a/
URL: PUT http://vault.security.svc:8200/v1/auth/kubernetes/login
Code: 503. Errors:

* Vault is sealed`), 2, nil},
		{"unless only that is wanted", RecoveryRestart, 0, here, ofNamespace("unable to validate store"), 0, both},
		{"but for the root's answer in the outage, with a namespace in the URL too", RecoveryBoth, evictAfter, here,
			said("URL: PUT http://vault.security.svc:8200/v1/team-a/auth/kubernetes/login\nCode: 503. Errors:\n\n* Vault is sealed"), 2, both},
		{"nor at once, where only that is wanted", RecoveryRestart, 0, here, said("Code: 403. Errors:\n\n* permission denied"), 0, nil},
		{"but when nobody has answered it", RecoveryBoth, evictAfter, here, said("dial tcp 10.0.0.1:8200: i/o timeout, error code: 500x"), 2, both},
		{"not when it was well after the outage", RecoveryBoth, evictAfter, here, func(n *Controller, _ *fakeCluster) {
			n.tracked[StoreName{"", "home"}].readyAfterOutage = true
		}, 2, nil},
		{"not when another store was the reason already", RecoveryBoth, evictAfter, here,
			func(n *Controller, _ *fakeCluster) { n.evicted = true }, 2, nil},
		{"not when an earlier run did it", RecoveryBoth, evictAfter, here, func(n *Controller, _ *fakeCluster) {
			n.config.Memory = &evictionMemory{kept: Eviction{At: time.Now()}}
			n.loadEviction()
		}, 2, nil},
		{"not while another is Ready that ESO has made so since the outage", RecoveryBoth, evictAfter, here, beside(here, 1, kube.False, -time.Hour), 2, nil},
		{"nor while it has synced from another since then", RecoveryBoth, evictAfter, here, beside(here, 0, kube.True, time.Minute), 2, nil},
		{"but when that was before the outage: it may be stuck", RecoveryBoth, evictAfter, here, beside(here, 0, kube.True, -time.Minute), 2, both},
		{"but when it failed to", RecoveryBoth, evictAfter, here, beside(here, 0, kube.False, time.Minute), 2, both},
		{"but when the other is of another Vault", RecoveryBoth, evictAfter, here, beside(elsewhere, 1, kube.True, time.Minute), 2, both},
		{"a refusal is no eviction: it is tried again", RecoveryBoth, evictAfter, here,
			func(_ *Controller, w *fakeCluster) { w.refuseWith = map[string]error{"eso-a": budget} }, 2, nil},
		{"one that was evicted before another was refused counts", RecoveryBoth, evictAfter, here,
			func(_ *Controller, w *fakeCluster) { w.refuseWith = map[string]error{"eso-b": budget} }, 2, []string{"eso-a"}},
		{"one that was not answered counts", RecoveryBoth, evictAfter, here,
			func(_ *Controller, w *fakeCluster) { w.refuseWith = map[string]error{"eso-a": cut} }, 2, []string{"eso-b"}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			w := &fakeCluster{t: t}
			c := Config{Pod: "vault-0", Namespace: "security", ControllerNamespace: "external-secrets", Recovery: row.recovery, Log: hclog.NewNullLogger()}
			n := newController(t, c, w, podstatus.New(podstatus.Config{Name: "vault-0", Namespace: "security"}, w))
			n.phase, n.outageID, n.phaseSince = unseal.Active, 1, time.Now().Add(-time.Hour)
			n.mu.Lock()
			defer n.mu.Unlock()
			now := time.Now()
			p := &storeState{Store: Store{StoreName: StoreName{"", "home"}, Server: row.server, Status: kube.False}, downSince: now.Add(-row.down)}
			n.tracked[p.StoreName] = p
			if row.prepare != nil {
				row.prepare(n, w)
			}
			for range 2 {
				n.reconcileStore(t.Context(), p, now)
			}
			assert.Equal(t, row.annotated, w.annotated, "annotations")
			assert.Equal(t, row.evicted, w.evicted, "evictions")
		})
	}
}

// A tenant's store that never gets ready evicted ESO in every outage.
func TestEviction_IsSkippedOnceAnotherStoreRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		mine, tenants := StoreName{"", "home"}, StoreName{"app", "broken"}
		n, w := controllerWithStore(t, unseal.Unreachable, func(n *Controller) {
			n.log.Logger = hclog.New(&hclog.LoggerOptions{Output: &log})
			n.config.Recovery, n.config.Stores = RecoveryBoth, []StoreName{mine, tenants}
		})
		setStatus := func(name StoreName, status string) {
			n.handle(func() { n.updateStore(Store{StoreName: name, uid: name.Name, Status: status}, false) })
		}
		outage := func() {
			n.Publish(unseal.Snapshot{Phase: unseal.Unreachable})
			during(time.Minute)
			n.Publish(unseal.Snapshot{Phase: unseal.Active})
			during(time.Second)
		}
		setStatus(mine, kube.False)
		setStatus(tenants, kube.False)
		outage()
		setStatus(mine, kube.True)
		during(time.Hour)
		assert.Empty(t, w.evictions(), "External Secrets has made mine Ready")
		assert.Equal(t, 1, strings.Count(log.String(), msgSpared), log.String())
		outage()
		during(time.Hour)
		assert.Equal(t, []string{"eso-a", "eso-b"}, w.evictions(), "mine is Ready from before, and nothing happens: it is stuck")
	})
}

func TestEviction_IsRetriedAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeCluster{t: t, refuseWith: map[string]error{"eso-a": apierrors.NewTooManyRequests("budget", 1)}}
		c := Config{Recovery: RecoveryBoth, Stores: []StoreName{{"", "home"}}, Log: hclog.NewNullLogger()}
		n := newController(t, c, w, nil)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.phase = unseal.Active
		now := time.Now()
		p := &storeState{Store: Store{StoreName: StoreName{"", "home"}, Status: kube.False}, downSince: now.Add(-evictAfter)}
		n.tracked[p.StoreName] = p
		n.reconcileStore(t.Context(), p, now)
		assert.Empty(t, w.evicted)
		w.refuseWith = nil
		time.Sleep(evictionRetry)
		n.reconcileStore(t.Context(), p, now)
		assert.Equal(t, []string{"eso-a", "eso-b"}, w.evicted)
	})
}

func TestAdviceFor_FollowsVaultsAnswer(t *testing.T) {
	const words = "could not create client: unable to log in with Kubernetes auth: Error making API request. URL: PUT http://vault:8200/v1/auth/kubernetes/login Code: "
	for message, want := range map[string]string{
		words + "403. Errors: * permission denied":                  "Vault answered 403: see the auth method, its token reviewer first,",
		words + "400. Errors: * invalid role name":                  "Vault answered 400: see the store's role",
		words + "404. Errors: * no handler for route":               "Vault answered 404: see the store's path",
		words + "500. Errors: * 1 error occurred: read-only file":   "Vault answered 500: see Vault's log and storage",
		words + "503. Errors: * Vault is sealed":                    "its Events hold the answer",
		words + "503. Errors: * namespace is sealed":                "its namespace of Vault is sealed: unseal that; ",
		words + "503. Errors: * Namespace is sealed":                "its namespace of Vault is sealed: unseal that; ",
		"could not get provider client: dial tcp: connection reset": "its Events hold the answer",
		"unable to validate store":                                  "its Events hold the answer",
	} {
		t.Run(message, func(t *testing.T) {
			assert.True(t, strings.HasPrefix(adviceFor(Store{Message: message}), want), adviceFor(Store{Message: message}))
			assert.Contains(t, adviceFor(Store{Message: message}), "its Events hold the answer that External Secrets received")
		})
	}
	const namespaced = "its namespace of Vault may be sealed, which Vault's own status does not show: unseal that; "
	assert.True(t, strings.HasPrefix(adviceFor(Store{Namespaced: true, Message: "unable to validate store"}), namespaced))
	assert.True(t, strings.HasPrefix(adviceFor(Store{Namespaced: true, Message: words + "403. Errors: * permission denied"}), "Vault answered 403"))
}
