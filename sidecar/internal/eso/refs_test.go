package eso

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

func TestFailedSync_ReadsTheReadyCondition(t *testing.T) {
	for _, row := range []struct {
		sentence, conditions string
		want                 bool
	}{
		{"a sync that failed", `[{"type":"Ready","status":"False","reason":"SecretSyncedError"}]`, true},
		{"one with a generic target", `[{"type":"Ready","status":"False","reason":"ResourceSyncedError"}]`, true},
		{"a push that failed", `[{"type":"Ready","status":"False","reason":"Errored"}]`, true},
		{"what is Ready", `[{"type":"Ready","status":"True","reason":"SecretSynced"}]`, false},
		{"what was deleted on purpose", `[{"type":"Ready","status":"False","reason":"SecretDeleted"}]`, false},
		{"what was not tried yet", `[]`, false},
		{"another condition", `[{"type":"Deleted","status":"False","reason":"SecretSyncedError"}]`, false},
		{"what makes no sense", `["x", 1]`, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, FailedSync(kubetest.Object(t, `{"status":{"conditions":`+row.conditions+`}}`)))
		})
	}
}

func TestUses_FindsStoresAndGenerators(t *testing.T) {
	ours := func(n StoreName) bool {
		return n == NoStore || n == StoreName{"", "home"} || n == StoreName{"app", "home"}
	}
	for _, row := range []struct {
		sentence, spec string
		want           bool
	}{
		{"a ClusterSecretStore of ours", `{"secretStoreRef":{"kind":"ClusterSecretStore","name":"home"}}`, true},
		{"a SecretStore of ours", `{"secretStoreRef":{"kind":"SecretStore","name":"home"}}`, true},
		{"a SecretStore is the default", `{"secretStoreRef":{"name":"home"}}`, true},
		{"another store", `{"secretStoreRef":{"kind":"ClusterSecretStore","name":"other"}}`, false},
		{"one datum from ours", `{"secretStoreRef":{"name":"other"},"data":[{"sourceRef":{"storeRef":{"kind":"ClusterSecretStore","name":"home"}}}]}`, true},
		{"all from ours", `{"dataFrom":[{"sourceRef":{"storeRef":{"name":"home"}}}]}`, true},
		{"a generator of Vault's", `{"dataFrom":[{"sourceRef":{"generatorRef":{"kind":"VaultDynamicSecret","name":"x"}}}]}`, true},
		{"one that could be", `{"dataFrom":[{"sourceRef":{"generatorRef":{"kind":"ClusterGenerator","name":"x"}}}]}`, true},
		{"another generator", `{"dataFrom":[{"sourceRef":{"generatorRef":{"kind":"Password","name":"x"}}}]}`, false},
		{"nothing", `{}`, false},
		{"a store without a name", `{"secretStoreRef":{"kind":"ClusterSecretStore"}}`, false},
		{"what makes no sense", `{"secretStoreRef":"home","data":"x","dataFrom":[1]}`, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, Uses(kubetest.Object(t, `{"metadata":{"namespace":"app"},"spec":`+row.spec+`}`), ours))
		})
	}
	elsewhere := kubetest.Object(t, `{"metadata":{"namespace":"other"},"spec":{"secretStoreRef":{"name":"home"}}}`)
	assert.False(t, Uses(elsewhere, ours), "a SecretStore serves its own namespace alone")
}

func TestGenerates_FollowsTheGenerator(t *testing.T) {
	from := func(kind string) string {
		return `{"dataFrom":[{"extract":{"key":"x"}},{"sourceRef":{"generatorRef":{"kind":"` + kind + `","name":"x"}}}]}`
	}
	for _, row := range []struct {
		sentence, spec string
		want           bool
	}{
		{"what is read", `{"data":[{"remoteRef":{"key":"x"}}]}`, false},
		{"a password", from("Password"), true},
		{"what the cluster tells", from("ClusterGenerator"), true},
		{"what Vault generates", from("VaultDynamicSecret"), false},
		{"a Secret that is pushed", `{"selector":{"secret":{"name":"x"}}}`, false},
		{"a password that is pushed", `{"selector":{"generatorRef":{"kind":"Password","name":"x"}}}`, true},
		{"what makes no sense", `{"selector":"x","data":1,"dataFrom":["x"]}`, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			o := kubetest.Object(t, `{"spec":`+row.spec+`}`)
			assert.Equal(t, row.want, generates(o))
		})
	}
}

func TestPushesTo_FollowsTheStoreReferences(t *testing.T) {
	ours := func(n StoreName) bool { return n == StoreName{"", "home"} || n == StoreName{"", anyStore} }
	for spec, want := range map[string]bool{
		`{"secretStoreRefs":[{"name":"x"},{"kind":"ClusterSecretStore","name":"home"}]}`: true,
		`{"secretStoreRefs":[{"kind":"ClusterSecretStore","labelSelector":{}}]}`:         true,
		`{"secretStoreRefs":[{"kind":"ClusterSecretStore","name":"*"}]}`:                 false,
		`{"secretStoreRefs":[{"labelSelector":{}}]}`:                                     false,
		`{"secretStoreRefs":[{"name":"home"}]}`:                                          false,
		`{}`:                                                                             false,
	} {
		t.Run(spec, func(t *testing.T) {
			assert.Equal(t, want, pushesTo(kubetest.Object(t, `{"metadata":{"namespace":"app"},"spec":`+spec+`}`), ours))
		})
	}
}

func TestStoreOf_ReadsEveryField(t *testing.T) {
	s := StoreOf(kubetest.Object(t, `{"metadata":{"name":"home","namespace":"app","uid":"u"},
		"spec":{"provider":{"vault":{"server":"http://vault:8200"}}},
		"status":{"conditions":[{"type":"Ready","status":"False","reason":"InvalidProviderConfig","message":"m"}]}}`))
	assert.Equal(t, Store{StoreName{"app", "home"}, "u", true, "http://vault:8200", false, kube.False, "InvalidProviderConfig", "m"}, s)
	assert.False(t, s.Ready())
	assert.Equal(t, "SecretStore/app/home", s.String())
	other := StoreOf(kubetest.Object(t, `{"metadata":{"name":"home"},"spec":{"provider":{"aws":{}}}}`))
	assert.False(t, other.Vault)
	assert.Equal(t, "ClusterSecretStore/home", other.String())
}

func TestManages_FollowsServerAndOptions(t *testing.T) {
	for _, row := range []struct {
		sentence, store, server, namespace string
		named                              []StoreName
		want                               bool
	}{
		{"our Service", "home", "http://vault.security.svc:8200", "security", nil, true},
		{"our Service by its whole name", "home", "https://Vault.Security.svc.cluster.local.:8200", "security", nil, true},
		{"one of its pods", "home", "http://vault-0.vault-internal.security.svc.cluster.local:8200", "security", nil, true},
		{"another namespace's Service", "home", "http://vault.test.svc:8200", "security", nil, false},
		{"another's by its whole name", "home", "http://vault.test.svc.cluster.local", "security", nil, false},
		{"one of the pods there", "home", "http://vault-0.security.test.svc", "security", nil, false},
		{"an ingress, which may lead to ours", "home", "https://vault.example.com", "security", nil, true},
		{"a short name, which may be a domain of the home", "home", "http://vault.test:8200", "security", nil, true},
		{"an address", "home", "http://10.96.0.7:8200", "security", nil, true},
		{"what makes no sense", "home", "://", "security", nil, true},
		{"a Service of a namespace called svc", "home", "http://vault.svc", "security", nil, true},
		{"our namespace is not known", "home", "http://vault.test.svc", "", nil, true},
		{"it was named, and others lead there", "home", "http://vault.test.svc", "security", []StoreName{{"", "home"}}, true},
		{"another was named", "home", "http://vault.security.svc", "security", []StoreName{{"", "own"}}, false},
		{"one that does not use Vault", "home", "", "security", nil, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			c := Config{Stores: row.named, Namespace: row.namespace}
			s := Store{StoreName: StoreName{"", row.store}, Vault: row.server != "", Server: row.server}
			assert.Equal(t, row.want, c.Manages(s))
		})
	}
}

func TestController_LogsAnotherVaultsStoreOnce(t *testing.T) {
	var out bytes.Buffer
	n := newController(t, Config{Namespace: "security", Log: hclog.New(&hclog.LoggerOptions{Output: &out})}, &fakeCluster{t: t}, nil)
	api := &kubetest.API{OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
		return []unstructured.Unstructured{
			*kubetest.Object(t, `{"metadata":{"name":"home"},"spec":{"provider":{"vault":{"server":"http://vault.security.svc:8200"}}},
				"status":{"conditions":[{"type":"Ready","status":"True"}]}}`),
			*kubetest.Object(t, `{"metadata":{"name":"test"},"spec":{"provider":{"vault":{"server":"http://vault.test.svc:8200"}}}}`),
			*kubetest.Object(t, `{"metadata":{"name":"cloud"},"spec":{"provider":{"aws":{}}}}`),
		}, "", nil
	}}
	for range 2 {
		_, err := n.listStores(t.Context(), kindClusterStore, api.Resource(ClusterStores))
		require.NoError(t, err)
	}
	assert.Equal(t, 1, strings.Count(out.String(), msgElsewhere), out.String())
	assert.Contains(t, out.String(), "store=ClusterSecretStore/test")
	r := n.snapshot(kube.Condition{})
	assert.Equal(t, []status.Store{{Name: "ClusterSecretStore/home", Ready: true}}, r.Stores)
}

func TestParseStores_AcceptsNamesWithANamespace(t *testing.T) {
	got, err := ParseStores(" home, app/home ,")
	require.NoError(t, err)
	assert.Equal(t, []StoreName{{"", "home"}, {"app", "home"}}, got)
	got, err = ParseStores("")
	require.NoError(t, err)
	assert.Empty(t, got)
	for _, bad := range []string{"Home", "a/b/c", "/home", "app/", "a b", "-x"} {
		t.Run(bad, func(t *testing.T) {
			_, err := ParseStores(bad)
			assert.ErrorContains(t, err, "NAMESPACE/NAME")
		})
	}
}

func TestStoreOf_ReadsEachProviderOfVault(t *testing.T) {
	for provider, want := range map[string]bool{"vault": true, "openBao": true, "aws": false} {
		t.Run(provider, func(t *testing.T) {
			s := StoreOf(kubetest.Object(t, `{"metadata":{"name":"home"},"spec":{"provider":{"`+provider+`":{"server":"http://vault.security.svc:8200"}}}}`))
			assert.Equal(t, want, s.Vault)
			assert.Equal(t, want, s.Server != "")
			for spec, namespaced := range map[string]bool{`{}`: false, `{"namespace":""}`: false, `{"namespace":"team-a"}`: want, `{"auth":{"namespace":"team-a"}}`: want} {
				s := StoreOf(kubetest.Object(t, `{"metadata":{"name":"home"},"spec":{"provider":{"`+provider+`":`+spec+`}}}`))
				assert.Equal(t, namespaced, s.Namespaced, spec)
			}
		})
	}
}

func TestResyncAfter_GrowsToItsMaximum(t *testing.T) {
	last := resyncInterval
	for down := evictAfter - resyncInterval; down < 24*evictAfter*10; down += last {
		next := resyncAfter(down, never)
		assert.GreaterOrEqual(t, next, last, "after %v", down)
		assert.LessOrEqual(t, next, maxResyncInterval)
		last = next
	}
	assert.Equal(t, maxResyncInterval, last)
	for since, want := range map[time.Duration]time.Duration{0: firstResync, time.Second: time.Second, 8 * time.Second: 8 * time.Second, time.Minute: resyncInterval} {
		assert.Equal(t, want, resyncAfter(since, never), "a store that is down for %v", since)
		assert.Equal(t, want, resyncAfter(time.Minute, since), "a pod that is Ready for %v", since)
	}
}
