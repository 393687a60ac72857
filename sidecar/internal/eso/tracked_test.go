package eso

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"

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
	f := n.reflector(t.Context(), kindStore, nil)
	wanted := f.Filter()
	var listed []Store
	for i := range 5 * maxStoresIn {
		if s := made("tenant", i); wanted(s) {
			listed = append(listed, s)
		}
	}
	assert.True(t, wanted(made("other", 1)))
	assert.False(t, wanted(Store{StoreName: StoreName{"other", "no"}}), "it does not use Vault")
	listed = append(listed, made("other", 1))
	f.Replace(listed)
	assert.Len(t, n.tracked, maxStoresIn+2, "and home")

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

func TestResync_BoundsTheObjectsItRemembers(t *testing.T) {
	var log bytes.Buffer
	s := newResyncer(Config{Log: hclog.New(&hclog.LoggerOptions{Output: &log})}, &fakeCluster{t: t})
	s.limiter.SetLimit(1e9)
	w := &resync{resyncs: map[string]int{}, namespaces: map[string]int{}}
	turn := &quota{began: time.Now(), perNamespace: maxResyncedIn, tried: map[string]int{}}
	for i := range maxResynced + 10 {
		o := kubetest.Object(t, fmt.Sprintf(`{"kind":"ExternalSecret","metadata":{"name":"a","namespace":"app-%d","uid":"%d"}}`, i%100, i))
		assert.NoError(t, s.resyncObject(t.Context(), w, turn, ExternalSecrets, o))
	}
	assert.Len(t, w.resyncs, maxResynced)
	assert.Len(t, s.resyncedAt, maxResynced)
	assert.Equal(t, 1, strings.Count(log.String(), msgTooManyLeft))
}
