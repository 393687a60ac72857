package eso

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext/safetexttest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	fuzzedStore = `{"kind":"ClusterSecretStore","metadata":{"name":"home"},"spec":{"provider":{"vault":` +
		`{"server":"http://vault.security.svc:8200","namespace":"a","auth":{"namespace":"b"}}}},` +
		`"status":{"conditions":[{"type":"Ready","status":"False","reason":"a\u009b","message":"Code: 403 namespace is sealed"}]}}`
	fuzzedSecret = `{"kind":"ExternalSecret","metadata":{"name":"a","namespace":"app"},"spec":{"refreshPolicy":"Periodic","syncWindows":{},` +
		`"secretStoreRef":{"name":"home","kind":"ClusterSecretStore"},"data":[{"sourceRef":{"storeRef":{"name":"*"},` +
		`"generatorRef":{"kind":"Password"}}}],"dataFrom":[1,{"sourceRef":{"generatorRef":{"kind":"VaultDynamicSecret"}}}]},` +
		`"status":{"refreshTime":"2026-01-01T00:00:00Z","conditions":[{"type":"Ready","status":"False","reason":"SecretSyncedError"}]}}`
	fuzzedPush = `{"kind":"PushSecret","metadata":{"name":"a"},"spec":{"secretStoreRefs":[{"labelSelector":{}},{"name":"home"}],` +
		`"selector":{"generatorRef":{"kind":"UUID"}}},"status":{"conditions":[{"type":"Ready","status":"False","reason":"Errored"}]}}`
	fuzzedService = `{"metadata":{"name":"vault","namespace":"security"},"spec":{"selector":{"app":"vault"},"clusterIP":"10.0.0.1",` +
		`"clusterIPs":["::1",7],"externalIPs":["a"],"publishNotReadyAddresses":true},` +
		`"status":{"loadBalancer":{"ingress":[{"ip":"1.2.3.4","hostname":"A."}]}}}`
)

// FuzzObject reads anything as each of the kinds that tenants write.
func FuzzObject(f *testing.F) {
	for _, text := range []string{fuzzedStore, fuzzedSecret, fuzzedPush, fuzzedService, "{}", `{"spec":[],"status":{"conditions":{}}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]any
		if json.Unmarshal([]byte(text), &object) != nil || object == nil {
			return
		}
		o := &unstructured.Unstructured{Object: object}
		requireSoundStore(t, o)
		requireSoundReferences(t, o)
		pod := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "vault-0"}}}
		require.Empty(t, ServiceHosts(o, pod, "app"), "it has no labels that a Service could select")
		labels, _, _ := unstructured.NestedStringMap(object, "spec", "selector")
		pod.SetLabels(labels)
		o.SetName("a")
		o.SetNamespace("app")
		for _, host := range ServiceHosts(o, pod, "app") {
			require.NotEmpty(t, host)
			require.Equal(t, strings.ToLower(host), host)
		}
	})
}

// requireSoundStore takes the object for a store, from a watch, while Vault is active.
func requireSoundStore(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	s := StoreOf(o)
	safetexttest.RequireHarmless(t, s.Server+s.Status+s.Reason+s.Message, 4*1003)
	require.False(t, s.Ready() && s.Down())
	require.NotEmpty(t, adviceFor(s))
	var seen status.ExternalSecrets
	config := Config{Recovery: RecoveryBoth, Namespace: "security", Log: hclog.NewNullLogger(), Report: func(e status.ExternalSecrets) { seen = e }}
	require.False(t, config.Manages(s) && config.Ignores(s))
	n := newController(t, config, nil, nil)
	n.phase, n.outageID = unseal.Active, 0
	n.publishedPhase.Store(uint32(unseal.Active))
	for _, gone := range []bool{false, false, true} {
		n.handle(func() { n.updateStore(s, gone) })
		require.Equal(t, config.Manages(s) && !gone, len(n.tracked) == 1)
		c := n.condition()
		safetexttest.RequireHarmless(t, c.Reason, kube.MaxReason+3)
		safetexttest.RequireHarmless(t, c.Message, kube.MaxOwnText+3)
		latest := status.NewLatest("v1")
		latest.PublishSecrets(seen)
		for _, store := range latest.Known().Secrets.Stores {
			safetexttest.RequireHarmless(t, store.Name+store.Reason+store.Message, 3*403)
		}
	}
}

// requireSoundReferences takes the object for what is synced from a store.
func requireSoundReferences(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	for _, uses := range []func(*unstructured.Unstructured, func(StoreName) bool) bool{Uses, pushesTo} {
		var asked []StoreName
		require.False(t, uses(o, func(n StoreName) bool { asked = append(asked, n); return false }), "it uses none of no stores")
		for _, name := range asked {
			require.True(t, uses(o, func(n StoreName) bool { return n == name }), "it asked for %v", name)
		}
	}
	if generates(o) {
		require.NotEmpty(t, leftAlone(o), "it would make a new value")
	}
	require.False(t, FailedSync(o) && ReadyOf(o).Status == kube.True)
	_ = refreshedAt(o).After(time.Now())
	found := scanResult{unsyncedCount: 1, unsynced: []string{describeUnsynced(o, leftAlone(o))}, final: true}
	safetexttest.RequireHarmless(t, found.condition(kube.Rights{}).Message, kube.MaxOwnText+3)
}

// FuzzRefusal has a scan refused by an API server with anything.
func FuzzRefusal(f *testing.F) {
	f.Add(403, "Forbidden", `externalsecrets is forbidden: User "system:serviceaccount:security:vault" cannot list`)
	f.Add(403, "Forbidden", "x is forbidden: ValidatingAdmissionPolicy 'vault-unseal-sidecar-stores' denied request: not Ready may be annotated")
	f.Add(500, "InternalError", "failed calling webhook \x1b[2J")
	f.Fuzz(func(t *testing.T, code int, reason, message string) {
		refusal := statusError(code, reason, message)
		c := (&scanResult{err: refusal}).condition(kube.Rights{Namespace: "security", Pod: "vault-0"})
		require.Equal(t, kube.Unknown, c.Status)
		safetexttest.RequireHarmless(t, c.Reason, kube.MaxReason+3)
		safetexttest.RequireHarmless(t, c.Message, kube.MaxOwnText+3)
		if isObjectError(refusal) {
			require.False(t, kube.LacksRight(refusal) && !kube.DeniedByWebhook(refusal), "a missing right is so for all")
		}
	})
}

// FuzzStores reads a list of stores, as it is written in an option.
func FuzzStores(f *testing.F) {
	f.Add("home, app/home,,")
	f.Add("/a")
	f.Fuzz(func(t *testing.T, list string) {
		stores, err := ParseStores(list)
		if err != nil {
			safetexttest.RequireHarmless(t, err.Error(), 6*len(list)+100)
			return
		}
		var written []string
		for _, s := range stores {
			require.NotEmpty(t, s.Name)
			written = append(written, strings.TrimPrefix(s.Namespace+"/"+s.Name, "/"))
		}
		again, err := ParseStores(strings.Join(written, ","))
		require.NoError(t, err)
		require.Equal(t, stores, again)
	})
}

func statusError(code int, reason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Code: int32(code), Reason: metav1.StatusReason(reason), Message: message}}
}
