package eso

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// controllerWithStore is a controller with one store that is down, and a Vault in a phase.
func controllerWithStore(t *testing.T, phase unseal.Phase) (*Controller, *fakeCluster) {
	w := &fakeCluster{t: t}
	c := Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}
	n := New(c, w, nil)
	name := StoreName{"", "home"}
	n.tracked[name] = &storeState{Store: Store{StoreName: name, Status: kube.False}}
	n.Publish(unseal.State{Phase: phase})
	return n, w
}

// during lets a controller work for a while, each time when it is due or Vault
// enters another phase.
func during(t *testing.T, n *Controller, d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		n.syncPhase(time.Now())
		next := n.reconcile(t.Context(), time.Now())
		time.Sleep(max(time.Millisecond, min(time.Until(next), time.Until(until))))
	}
}

func TestAStandbyWakesNobodyUntilItIsActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := controllerWithStore(t, unseal.Standby)
		during(t, n, time.Hour)
		assert.Zero(t, w.annotated)
		n.Publish(unseal.State{Phase: unseal.Active})
		during(t, n, time.Second)
		assert.Equal(t, 1, w.annotated, "at once, however long it was a standby")
		n.Publish(unseal.State{Phase: unseal.Standby})
		during(t, n, time.Hour)
		assert.Equal(t, 1, w.annotated, "another is active again")
	})
}

// ESO's only worker can sit in a request to a Vault that hung for a minute, so
// that a store is given up no sooner than after that.
func TestAStoreIsWatchedForMoreThanAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := controllerWithStore(t, unseal.Active)
		during(t, n, 70*time.Second)
		assert.GreaterOrEqual(t, w.annotated, 4, "about every 15 seconds")
		assert.LessOrEqual(t, w.annotated, 6)
		before := w.annotated
		during(t, n, 20*time.Second)
		assert.Greater(t, w.annotated, before, "it goes on after 70 seconds")

		during(t, n, 2*time.Hour)
		before = w.annotated
		during(t, n, time.Hour)
		assert.InDelta(t, 6, w.annotated-before, 2, "ever more rarely, every ten minutes in the end")
	})
}

// What fails a store that had recovered is no outage of Vault's, and nothing that
// a restart of ESO mends. After the next outage it may be that again.
func TestEvictionIsForOutages(t *testing.T) {
	for _, recovery := range []Recovery{RecoveryBoth, RecoveryRestart} {
		t.Run(string(recovery), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, w := controllerWithStore(t, unseal.Active)
				n.config.Recovery, n.config.Stores = recovery, []StoreName{{"", "home"}}
				n.evictor.config = n.config
				turns := func(status string) {
					n.updateStore(Store{StoreName: StoreName{"", "home"}, Status: status}, false)
					during(t, n, time.Second)
				}
				turns(kube.True)
				if recovery == RecoveryBoth {
					n.handleScan(scanResult{outageID: n.outageID, final: true, at: time.Now()})
					during(t, n, time.Second)
				} else { // until External Secrets has looked, Ready is from before
					during(t, n, evictAfter)
					turns(kube.True)
				}
				turns(kube.False)
				during(t, n, time.Hour)
				assert.Empty(t, w.evicted, "Vault was there throughout")

				n.Publish(unseal.State{Phase: unseal.Unreachable})
				during(t, n, time.Second)
				turns(kube.True)
				n.Publish(unseal.State{Phase: unseal.Active})
				during(t, n, time.Second)
				turns(kube.False)
				during(t, n, time.Hour)
				assert.Equal(t, []string{"eso-a", "eso-b"}, w.evicted)
			})
		})
	}
}

// forgetful forgets where a list was to go on, so many times.
type forgetful struct {
	dynamic.ResourceInterface
	forgets int
	asked   []string
}

func (f *forgetful) List(_ context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	f.asked = append(f.asked, o.Continue)
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	if o.Continue == "" {
		list.SetContinue("second")
		return list, nil
	}
	if f.forgets > 0 {
		f.forgets--
		return nil, apierrors.NewResourceExpired("the continue token is too old")
	}
	list.SetResourceVersion("7")
	return list, nil
}

func TestAListWhosePlaceIsForgottenBeginsAgain(t *testing.T) {
	all := func([]unstructured.Unstructured) error { return nil }
	api := &forgetful{forgets: 1}
	version, err := kube.EachPage(t.Context(), api, metav1.ListOptions{}, all)
	require.NoError(t, err)
	assert.Equal(t, "7", version)
	assert.Equal(t, []string{"", "second", "", "second"}, api.asked)

	_, err = kube.EachPage(t.Context(), &forgetful{forgets: 100}, metav1.ListOptions{}, all)
	assert.True(t, apierrors.IsResourceExpired(err), "not for ever: %v", err)
}
