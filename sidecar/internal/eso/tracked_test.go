package eso

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// Who may write stores in a namespace takes no room from others: neither from
// another namespace, nor from a ClusterSecretStore.
func TestController_BoundsTheTrackedStores(t *testing.T) {
	var log bytes.Buffer
	n := newController(t, Config{Recovery: RecoveryNudge, Log: hclog.New(&hclog.LoggerOptions{Output: &log})}, &fakeCluster{t: t}, nil)
	n.tracked[StoreName{"", "home"}] = &storeState{}
	made := func(namespace string, i int) Store {
		return Store{StoreName: StoreName{namespace, fmt.Sprint("s", i)}, uid: "u", Vault: true, Server: "http://vault"}
	}
	var objects []unstructured.Unstructured
	for i := range 5 * maxStoresIn {
		objects = append(objects, *storeObject(t, "tenant", fmt.Sprint("s", i), "vault"))
	}
	objects = append(objects, *storeObject(t, "other", "no", "aws"), *storeObject(t, "other", "s1", "vault"))
	api := &kubetest.API{OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
		return objects, "", nil
	}}
	_, err := n.reflector(t.Context(), kindStore, api.Resource(NamespaceStores)).List(t.Context())
	require.NoError(t, err)
	assert.Contains(t, n.tracked, StoreName{"other", "s1"})
	assert.NotContains(t, n.tracked, StoreName{"other", "no"}, "it does not use Vault")
	assert.Len(t, n.tracked, maxStoresIn+2, "and home")
	assert.Equal(t, 1, strings.Count(log.String(), msgTooMany), log.String())

	for i := range 5 * maxStoresIn { // and the same by a watch
		n.updateStore(made("second", i), false)
	}
	assert.Len(t, n.tracked, 2*maxStoresIn+2)
	n.updateStore(made("other", 2), false)
	n.updateStore(made("", 1), false)
	assert.Len(t, n.tracked, 2*maxStoresIn+4)
	for space := range 100 {
		for i := range maxStoresIn {
			n.updateStore(made(fmt.Sprint("space-", space), i), false)
		}
	}
	n.updateStore(made("", 2), false)
	assert.Len(t, n.tracked, maxStores+3, "of SecretStores, and three for all namespaces")
	assert.Equal(t, 1, strings.Count(log.String(), msgTooMany), "said once: %s", log.String())
}

// A namespace with many stores of another Vault keeps no other's from being logged.
func TestController_BoundsTheIgnoredStoresOfANamespace(t *testing.T) {
	var log bytes.Buffer
	n := newController(t, Config{Namespace: "security", Log: hclog.New(&hclog.LoggerOptions{Output: &log})}, &fakeCluster{t: t}, nil)
	ignore := func(namespace, name string) {
		n.updateStore(Store{StoreName: StoreName{namespace, name}, Vault: true, Server: "http://vault.test.svc"}, false)
	}
	for i := range 2 * maxStores {
		ignore("tenant", fmt.Sprint("s", i))
	}
	ignore("other", "s")
	assert.Equal(t, maxStoresIn+1, strings.Count(log.String(), msgElsewhere))
	assert.Contains(t, log.String(), "SecretStore/other/s")
}

// storeObject is a store as the API lists it.
func storeObject(t *testing.T, namespace, name, provider string) *unstructured.Unstructured {
	return kubetest.Object(t, fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q,"uid":"u"},"spec":{"provider":{%q:{"server":"http://vault"}}}}`,
		namespace, name, provider))
}

// What is remembered of a list is bounded, whatever the server has listed.
func TestController_BoundsARepeatedStore(t *testing.T) {
	home := StoreName{"app", "home"}
	n := newController(t, Config{Stores: []StoreName{home}, Log: hclog.NewNullLogger()}, &fakeCluster{t: t}, nil)
	pages := 0
	api := &kubetest.API{OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
		if pages++; pages == 5000 {
			return nil, "", nil
		}
		return []unstructured.Unstructured{*storeObject(t, "app", "home", "vault")}, "more", nil
	}}
	_, err := n.listStores(t.Context(), kindStore, api.Resource(NamespaceStores))
	require.NoError(t, err)
	assert.Len(t, n.tracked, 1)
}

func TestResync_BoundsTheObjectsItRemembers(t *testing.T) {
	var log bytes.Buffer
	s := newResyncer(Config{Log: hclog.New(&hclog.LoggerOptions{Output: &log})}, &fakeCluster{t: t})
	s.limiter.SetLimit(1e9)
	w := &resync{resyncs: map[string]int{}, namespaces: map[string]int{}}
	turn := &quota{began: time.Now(), perNamespace: maxResyncedIn, tried: map[string]int{}}
	for i := range maxResynced + 10 {
		o := kubetest.Object(t, fmt.Sprintf(`{"kind":"ExternalSecret","metadata":{"name":"a","namespace":"app-%d","uid":"%d"}}`, i%100, i))
		assert.NoError(t, s.resyncObject(t.Context(), w, turn, syncedKinds[0], o))
	}
	assert.Len(t, w.resyncs, maxResynced)
	assert.Len(t, s.resyncedAt, maxResynced)
	assert.Equal(t, 1, strings.Count(log.String(), msgTooManyLeft))
}
