package eso

import (
	"context"
	"sync"
	"sync/atomic"
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
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// newController is a controller whose queue ends with the test.
func newController(t *testing.T, c Config, api dynamic.Interface, p *podstatus.Pod) *Controller {
	n := New(c, api, p)
	t.Cleanup(n.queue.ShutDown)
	return n
}

// working lets the controller's workers work.
func working(t *testing.T, n *Controller) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { n.work(t.Context()) })
	}
	t.Cleanup(func() {
		n.queue.ShutDown()
		group.Wait()
	})
}

// controllerWithStore is a controller that works, with one store that is down, and a
// Vault in a phase. It is changed before it works.
func controllerWithStore(t *testing.T, phase unseal.Phase, change ...func(*Controller)) (*Controller, *fakeCluster) {
	w := &fakeCluster{t: t}
	n := newController(t, Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}, w, nil)
	name := StoreName{"", "home"}
	n.tracked[name] = &storeState{Store: Store{StoreName: name, Status: kube.False}}
	for _, f := range change {
		f(n)
	}
	n.Publish(unseal.Snapshot{Phase: phase})
	working(t, n)
	return n, w
}

// during lets it work for a while.
func during(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestController_AnnotatesNothingWhileStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := controllerWithStore(t, unseal.Standby)
		during(time.Hour)
		assert.Zero(t, w.annotations())
		n.Publish(unseal.Snapshot{Phase: unseal.Active})
		during(firstResync / 2)
		assert.Equal(t, 1, w.annotations(), "at once, however long it was a standby")
		n.Publish(unseal.Snapshot{Phase: unseal.Standby})
		during(time.Hour)
		assert.Equal(t, 1, w.annotations(), "another is active again")
	})
}

// A store that no controller looks after has no Ready condition, and never gets one.
func TestController_LeavesAloneAStoreThatNobodyValidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &fakeCluster{t: t}
		n := newController(t, Config{Recovery: RecoveryBoth, Log: hclog.NewNullLogger()}, w, nil)
		name := StoreName{"", "home"}
		n.tracked[name] = &storeState{Store: Store{StoreName: name}}
		n.Publish(unseal.Snapshot{Phase: unseal.Active})
		working(t, n)
		during(time.Hour)
		assert.Zero(t, w.annotations())
		n.handle(func() {
			assert.Empty(t, n.worstStore().Type)
			assert.Empty(t, n.snapshot(kube.Condition{}).Stores)
			n.updateStore(Store{StoreName: name, Vault: true, Status: kube.False}, false)
		})
		during(firstResync / 2)
		assert.Equal(t, 1, w.annotations(), "it is down once it was validated")
	})
}

// ESO's only worker can sit in a request to a Vault that hung for a minute, so
// that a store is given up no sooner than after that.
func TestController_AnnotatesABrokenStoreLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := controllerWithStore(t, unseal.Active)
		during(70 * time.Second)
		assert.GreaterOrEqual(t, w.annotations(), 8, "six times in 15 seconds, and then about every 15")
		assert.LessOrEqual(t, w.annotations(), 11)
		before := w.annotations()
		during(20 * time.Second)
		assert.Greater(t, w.annotations(), before, "it goes on after 70 seconds")

		during(2 * time.Hour)
		before = w.annotations()
		during(time.Hour)
		assert.InDelta(t, 6, w.annotations()-before, 2, "ever more rarely, every ten minutes in the end")
	})
}

// What fails a store that had recovered is no outage of Vault's, and nothing that
// a restart of ESO mends. After the next outage it may be that again.
func TestEviction_IsLimitedToOutages(t *testing.T) {
	for _, recovery := range []Recovery{RecoveryBoth, RecoveryRestart} {
		t.Run(string(recovery), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, w := controllerWithStore(t, unseal.Active, func(n *Controller) {
					n.config.Recovery, n.config.Stores = recovery, []StoreName{{"", "home"}}
					if recovery == RecoveryRestart { // or it might be evicted before the first change
						n.tracked[StoreName{"", "home"}].Status = kube.True
					}
				})
				setStatus := func(status string) {
					n.handle(func() { n.updateStore(Store{StoreName: StoreName{"", "home"}, Status: status}, false) })
					during(time.Second)
				}
				setStatus(kube.True)
				if recovery == RecoveryBoth {
					n.handle(func() { n.handleScan(scanResult{final: true, at: time.Now()}) })
					during(time.Second)
				} else { // until External Secrets has looked, Ready is from before
					during(evictAfter)
					setStatus(kube.True)
				}
				setStatus(kube.False)
				during(time.Hour)
				assert.Empty(t, w.evictions(), "Vault was there throughout")

				n.Publish(unseal.Snapshot{Phase: unseal.Unreachable})
				during(time.Second)
				setStatus(kube.True)
				n.Publish(unseal.Snapshot{Phase: unseal.Active})
				during(time.Second)
				setStatus(kube.False)
				during(time.Hour)
				assert.Equal(t, []string{"eso-a", "eso-b"}, w.evictions())
			})
		})
	}
}

// expiringList rejects its continue token, so many times.
type expiringList struct {
	dynamic.ResourceInterface
	expirations int
	asked       []string
}

func (f *expiringList) List(_ context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	f.asked = append(f.asked, o.Continue)
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	if o.Continue == "" {
		list.SetContinue("second")
		return list, nil
	}
	if f.expirations > 0 {
		f.expirations--
		return nil, apierrors.NewResourceExpired("the continue token is too old")
	}
	list.SetResourceVersion("7")
	return list, nil
}

func TestEachObject_RestartsAfterAnExpiredContinueToken(t *testing.T) {
	all := func(*unstructured.Unstructured) bool { return true }
	api := &expiringList{expirations: 1}
	version, err := kube.EachObject(t.Context(), api, metav1.ListOptions{}, all)
	require.NoError(t, err)
	assert.Equal(t, "7", version)
	assert.Equal(t, []string{"", "second", "", "second"}, api.asked)

	_, err = kube.EachObject(t.Context(), &expiringList{expirations: 100}, metav1.ListOptions{}, all)
	assert.True(t, apierrors.IsResourceExpired(err), "not for ever: %v", err)
}

// Vault goes and comes back while a store is annotated, which has been down for long:
// the wait that follows is not the new outage's.
func TestController_AnOutageDuringARequestBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := controllerWithStore(t, unseal.Active)
		during(3 * time.Hour)
		var once sync.Once
		var interrupted atomic.Bool
		w.mu.Lock()
		w.patched = func() {
			once.Do(func() {
				n.Publish(unseal.Snapshot{Phase: unseal.Unreachable})
				time.Sleep(time.Second)
				n.Publish(unseal.Snapshot{Phase: unseal.Active})
				time.Sleep(time.Second)
				interrupted.Store(true)
			})
		}
		w.mu.Unlock()
		for !interrupted.Load() {
			during(time.Second)
		}
		before := w.annotations()
		during(90 * time.Second)
		assert.GreaterOrEqual(t, w.annotations()-before, 4, "about every 15 seconds, as in any outage")
	})
}

// With patches/services, a Service leads to a pod that is Ready alone: its probe comes
// seconds after Vault is active.
func TestController_AnnotatesABrokenStoreOnceThePodIsReady(t *testing.T) {
	for _, down := range []time.Duration{10 * time.Second, 50 * time.Second, time.Hour} {
		t.Run(down.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, w := controllerWithStore(t, unseal.Active)
				during(down)
				before := w.annotations()
				n.PodIsReady()
				synctest.Wait()
				assert.Equal(t, before+1, w.annotations())
				during(5 * time.Second)
				assert.GreaterOrEqual(t, w.annotations(), before+4, "again soon: the Service takes a moment, too")
			})
		})
	}
}
