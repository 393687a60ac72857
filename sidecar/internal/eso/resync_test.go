package eso

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// slowESO keeps ExternalSecrets that failed, and syncs those that are annotated,
// one after another. A real one has no virtual time.
type slowESO struct {
	sync.Mutex
	dynamic.NamespaceableResourceInterface
	resource   schema.GroupVersionResource
	annotated  map[string]int
	ready      map[string]time.Time
	busy       time.Time // until then
	each       time.Duration
	lists      int
	repaired   bool // what is broken
	syncsFirst bool // it syncs each object before it is annotated, and a policy refuses that
	policy     error
	tried      int
	refuses    map[schema.GroupVersionResource]error
	uses       map[string]string // another store than home
}

func (e *slowESO) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	e.Lock()
	defer e.Unlock()
	e.resource = r
	return e
}

func (e *slowESO) Namespace(string) dynamic.ResourceInterface { return e }

func (e *slowESO) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	e.Lock()
	defer e.Unlock()
	e.lists++
	if err := e.refuses[e.resource]; err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	if e.resource != ExternalSecrets {
		return list, nil
	}
	for _, name := range slices.Sorted(maps.Keys(e.annotated)) {
		status := kube.False
		if at, planned := e.ready[name]; planned && !time.Now().Before(at) || name == "broken" && e.repaired {
			status = kube.True
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: map[string]any{
			"kind":     "ExternalSecret",
			"metadata": map[string]any{"name": name, "namespace": "app", "uid": name},
			"spec":     map[string]any{"secretStoreRef": map[string]any{"name": cmp.Or(e.uses[name], "home")}},
			"status":   map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": status, "reason": "SecretSyncedError"}}},
		}})
	}
	return list, nil
}

func (e *slowESO) Patch(_ context.Context, name string, _ types.PatchType, _ []byte, _ metav1.PatchOptions, _ ...string) (*unstructured.Unstructured, error) {
	e.Lock()
	defer e.Unlock()
	e.tried++
	if e.policy != nil {
		if e.syncsFirst {
			e.ready[name] = time.Now()
		}
		return nil, e.policy
	}
	e.annotated[name]++
	if now := time.Now(); name != "broken" && e.annotated[name] == 1 {
		if e.busy.Before(now) {
			e.busy = now
		}
		e.busy = e.busy.Add(e.each)
		e.ready[name] = e.busy
	}
	return nil, nil
}

// drive scans as the controller does, until nothing is left or ctx is done.
func drive(ctx context.Context, s *resyncer, w *resync, report func(scanResult)) {
	for {
		f := s.scan(ctx, w)
		if ctx.Err() != nil {
			return
		}
		wait, reports := s.next(w, &f)
		if reports {
			report(f)
		}
		if wait == never || !kube.Sleep(ctx, wait) {
			return
		}
	}
}

// resyncAll runs a whole resync over so many, of which one is broken for a reason of
// its own if wanted.
func resyncAll(t *testing.T, count int, broken bool) (eso *slowESO, last scanResult, took time.Duration) {
	eso = &slowESO{annotated: map[string]int{}, ready: map[string]time.Time{}, each: 100 * time.Millisecond}
	for i := range count {
		eso.annotated[fmt.Sprint("secret-", i)] = 0
	}
	if broken {
		eso.annotated["broken"] = 0
	}
	synctest.Test(t, func(t *testing.T) {
		s := newResyncer(Config{Log: hclog.NewNullLogger()}, eso)
		done := make(chan scanResult)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		go drive(ctx, s, newResync(map[StoreName]bool{{"app", "home"}: true}), func(f scanResult) {
			if f.final {
				done <- f
			}
		})
		last, took = <-done, time.Since(began)
	})
	return eso, last, took
}

func TestResync_AnnotatesEachObjectOnce(t *testing.T) {
	eso, last, took := resyncAll(t, 600, false)
	for name, n := range eso.annotated {
		assert.Equal(t, 1, n, name)
	}
	assert.Equal(t, 600, last.resynced)
	assert.Zero(t, last.unsyncedCount)
	assert.Less(t, took, 600*eso.each+2*recheckInterval, "it is seen soon")
}

func TestResync_RechecksFewObjectsSoon(t *testing.T) {
	_, last, took := resyncAll(t, 10, false)
	assert.Zero(t, last.unsyncedCount)
	assert.Equal(t, firstRecheck, took)
}

func TestResync_StragglerIsRetriedOnce(t *testing.T) {
	eso, last, took := resyncAll(t, 600, true)
	for name, n := range eso.annotated {
		want := 1
		if name == "broken" {
			want = 2
		}
		assert.Equal(t, want, n, name)
	}
	assert.Equal(t, 1, last.unsyncedCount)
	assert.Contains(t, last.unsynced[0], "app/broken")
	assert.Less(t, took, 600*eso.each+2*recheckInterval+finalRecheck+time.Second)
}

// wait lets time pass, in which alone e may be used by others.
func (e *slowESO) wait(d time.Duration) {
	e.Unlock()
	time.Sleep(d)
	synctest.Wait()
	e.Lock()
}

// resyncBroken lets a resync come to the end that it has with an ExternalSecret that
// is broken, and so much time pass. It returns what was found from then on, and
// keeps e to itself.
func resyncBroken(t *testing.T, e *slowESO, log hclog.Logger, d time.Duration) (found *[]scanResult) {
	e.Lock()
	e.annotated, e.ready = map[string]int{"broken": 0}, map[string]time.Time{}
	s := newResyncer(Config{Log: log}, e)
	found = &[]scanResult{}
	go drive(t.Context(), s, newResync(map[StoreName]bool{{"app", "home"}: true}), func(f scanResult) {
		e.Lock()
		defer e.Unlock()
		*found = append(*found, f)
	})
	for len(*found) == 0 || !(*found)[len(*found)-1].final {
		e.wait(time.Second)
	}
	*found = nil
	e.wait(d)
	return found
}

func TestResync_RechecksUnsyncedObjectsUntilTheySync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eso := &slowESO{}
		found := resyncBroken(t, eso, hclog.NewNullLogger(), time.Minute)
		defer eso.Unlock()
		require.Len(t, *found, 2, "soon at first: somebody may be at it")
		eso.annotated["broken later"] = 0
		eso.wait(time.Hour)
		before := len(*found)
		eso.wait(time.Hour)
		assert.InDelta(t, 12, len(*found)-before, 1, "about every five minutes")
		assert.Equal(t, map[string]int{"broken": 2, "broken later": 0}, eso.annotated, "and not annotated")
		last := (*found)[len(*found)-1]
		assert.Equal(t, 2, last.unsyncedCount)
		assert.True(t, last.final)

		eso.repaired, eso.ready["broken later"] = true, time.Now()
		eso.wait(unsyncedInterval)
		last = (*found)[len(*found)-1]
		assert.Zero(t, last.unsyncedCount)
		assert.True(t, last.final)
		before = eso.lists
		eso.wait(time.Hour)
		assert.Equal(t, before, eso.lists, "then it is not looked any more")
	})
}

func TestResync_FailedRecheckReportsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eso := &slowESO{}
		found := resyncBroken(t, eso, hclog.NewNullLogger(), time.Hour)
		defer eso.Unlock()
		for _, err := range []error{apierrors.NewInternalError(errors.New("no etcd")), apierrors.NewForbidden(ExternalSecrets.GroupResource(), "", nil)} {
			eso.refuses = map[schema.GroupVersionResource]error{ExternalSecrets: err}
			before, lists := len(*found), eso.lists
			eso.wait(time.Hour)
			assert.Len(t, *found, before, "what is known stands")
			assert.InDelta(t, 12, eso.lists-lists, 1, "it is tried at the next one, and not sooner")
		}
		eso.refuses, eso.repaired = nil, true
		eso.wait(unsyncedInterval)
		assert.Zero(t, (*found)[len(*found)-1].unsyncedCount)
	})
}

func TestResync_LogsAMissingRightOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		eso := &slowESO{refuses: map[schema.GroupVersionResource]error{PushSecrets: apierrors.NewForbidden(PushSecrets.GroupResource(), "", nil)}}
		found := resyncBroken(t, eso, hclog.New(&hclog.LoggerOptions{Output: &out}), 5*time.Hour)
		defer eso.Unlock()
		assert.Greater(t, len(*found), 50)
		assert.Equal(t, 1, strings.Count(out.String(), "[WARN]"), out.String())
	})
}

// withReadyStores is a controller that works beside an active Vault and sees these
// stores of a namespace, which are Ready.
func withReadyStores(t *testing.T, api dynamic.Interface, names ...string) *Controller {
	n := newController(t, Config{Recovery: RecoveryNudge, Log: hclog.NewNullLogger()}, api, nil)
	working(t, n)
	n.handle(func() {
		n.handleWatchResult(kindClusterStore, nil, false)
		n.handleWatchResult(kindStore, nil, false)
		for _, name := range names {
			n.updateStore(Store{StoreName: StoreName{"app", name}, Vault: true, Status: kube.True}, false)
		}
	})
	n.Publish(unseal.Snapshot{Phase: unseal.Active})
	return n
}

func TestResync_EndsWithTheNextOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eso := &slowESO{annotated: map[string]int{"broken": 0}, ready: map[string]time.Time{}}
		eso.Lock()
		defer eso.Unlock()
		n := withReadyStores(t, eso, "home")
		eso.wait(time.Hour)
		assert.Equal(t, 2, eso.annotated["broken"])
		n.Publish(unseal.Snapshot{Phase: unseal.Unreachable})
		eso.wait(time.Second)
		before := eso.lists
		eso.wait(time.Hour)
		assert.Equal(t, before, eso.lists)
		n.Publish(unseal.Snapshot{Phase: unseal.Active})
		eso.wait(10 * time.Minute)
		assert.Equal(t, 4, eso.annotated["broken"], "and it begins anew")
	})
}

// A second store gets Ready while what uses the first is annotated.
func TestResync_IncludesAStoreThatBecomesReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eso := &slowESO{annotated: map[string]int{}, ready: map[string]time.Time{}, uses: map[string]string{}, each: 10 * time.Millisecond}
		for i := range 1000 { // 24 seconds
			eso.annotated[fmt.Sprint("secret-", i)] = 0
		}
		eso.annotated["of-the-second"], eso.uses["of-the-second"] = 0, "second"
		eso.Lock()
		defer eso.Unlock()
		n := withReadyStores(t, eso, "home")
		eso.wait(10 * time.Second)
		eso.Unlock()
		n.handle(func() {
			n.updateStore(Store{StoreName: StoreName{"app", "second"}, Vault: true, Status: kube.False}, false)
		})
		n.handle(func() {
			n.updateStore(Store{StoreName: StoreName{"app", "second"}, Vault: true, Status: kube.True}, false)
		})
		n.mu.Lock()
		due := n.resyncDue
		n.mu.Unlock()
		eso.Lock()
		assert.True(t, due)
		eso.wait(2 * time.Second)
		assert.Equal(t, 1, eso.annotated["of-the-second"])
		eso.wait(5 * time.Minute)
		for name, times := range eso.annotated {
			assert.Equal(t, 1, times, "what was annotated before is not again: %s", name)
		}
		n.handle(func() { assert.Equal(t, 1001, n.scan.resynced, "of both") })
	})
}

func TestResync_LimitsItsRate(t *testing.T) {
	eso, _, _ := resyncAll(t, 10, false)
	eso.each = 0
	synctest.Test(t, func(t *testing.T) {
		s := newResyncer(Config{Log: hclog.NewNullLogger()}, eso)
		for i := range 1050 {
			eso.annotated[fmt.Sprint("more-", i)] = 0
		}
		began := time.Now()
		f := s.scan(t.Context(), newResync(map[StoreName]bool{{"app", "home"}: true}))
		assert.InDelta(t, 25, time.Since(began).Seconds(), 1, "50 at once, then 40 a second, for %d", f.resynced)
	})
}

// ESO is at work too: what it has synced since the list was read need not be
// annotated, and a policy refuses that.
func TestResync_ObjectThatSyncedMeanwhileIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		eso := &slowESO{annotated: map[string]int{"a": 0, "b": 0}, ready: map[string]time.Time{}, syncsFirst: true,
			policy: kubetest.DeniedBy("externalsecrets", "externalsecrets", "only what is not Ready may be annotated")}
		s := newResyncer(Config{Log: hclog.New(&hclog.LoggerOptions{Output: &out})}, eso)
		f := s.scan(t.Context(), newResync(map[StoreName]bool{{"app", "home"}: true}))
		assert.NoError(t, f.err)
		assert.Equal(t, 2, f.unsyncedCount)
		assert.Len(t, eso.ready, 2, "each was tried")
		f = s.scan(t.Context(), newResync(map[StoreName]bool{{"app", "home"}: true}))
		assert.Zero(t, f.unsyncedCount)
		assert.NotContains(t, out.String(), "[WARN]")
	})
}

func TestResync_LogsAPolicyDenialOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		eso := &slowESO{policy: kubetest.DeniedBy("externalsecrets", "externalsecrets", "force-sync takes a time")}
		found := resyncBroken(t, eso, hclog.New(&hclog.LoggerOptions{Output: &out}), 5*time.Hour)
		defer eso.Unlock()
		assert.NoError(t, (*found)[0].err)
		assert.Equal(t, 1, strings.Count(out.String(), "takes a time"), out.String())
	})
}

func TestResync_RejectedObjectBlocksNoOther(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "ExternalSecret"}, "bad", nil)
	for sentence, row := range map[string]struct {
		err  error
		goes bool
	}{
		"its annotations are full":    {invalid, true},
		"a policy of others":          {kubetest.DeniedBy("others", "externalsecrets", "no"), true},
		"a webhook refuses it":        {apierrors.NewForbidden(ExternalSecrets.GroupResource(), "bad", errors.New("admission webhook denied the request")), true},
		"etcd takes no more of it":    {apierrors.NewInternalError(errors.New("etcdserver: request is too large")), true},
		"a webhook is away":           {apierrors.NewInternalError(errors.New("failed calling webhook")), false},
		"the right is missing":        {apierrors.NewForbidden(ExternalSecrets.GroupResource(), "bad", errors.New(`User "x" cannot patch`)), false},
		"the API server is away":      {errors.New("connection refused"), false},
		"the API server has a lot on": {apierrors.NewTooManyRequests("", 1), false},
	} {
		t.Run(sentence, func(t *testing.T) {
			eso := &slowESO{annotated: map[string]int{"a": 0, "b": 0, "c": 0}, ready: map[string]time.Time{}, policy: row.err}
			s := newResyncer(Config{Log: hclog.NewNullLogger()}, eso)
			f := s.scan(t.Context(), newResync(map[StoreName]bool{{"app", "home"}: true}))
			if row.goes {
				assert.NoError(t, f.err)
				assert.Equal(t, 3, eso.tried)
			} else {
				assert.Error(t, f.err)
				assert.Equal(t, 1, eso.tried)
			}
		})
	}
}

// Each store fails again before the resync that it was to begin.
func TestResync_ThatIsStoppedWaitsForNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &slowESO{annotated: map[string]int{"broken": 0}, ready: map[string]time.Time{}}
		api.Lock()
		defer api.Unlock()
		n := withReadyStores(t, api, "home")
		api.wait(time.Hour)
		api.Unlock()
		home := Store{StoreName: StoreName{"app", "home"}, Vault: true, Status: kube.False}
		n.handle(func() { n.updateStore(home, false) })
		home.Status = kube.True
		n.mu.Lock() // no worker comes between
		n.updateStore(home, false)
		home.Status = kube.False
		n.updateStore(home, false)
		n.mu.Unlock()
		api.Lock()
		before := api.lists
		api.wait(time.Hour)
		assert.Equal(t, before, api.lists, "no store is Ready")
		api.Unlock()
		home.Status = kube.True
		n.handle(func() { n.updateStore(home, false) })
		api.Lock()
		api.wait(time.Minute)
		assert.Greater(t, api.lists, before)
	})
}

// A tenant's store turns Ready each second.
func TestResync_AFlappingStoreStopsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pages = 100
		var mu sync.Mutex
		annotated := map[string]bool{}
		api := &kubetest.API{
			OnList: func(ctx context.Context, at kubetest.At, o metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
				if at.Resource != ExternalSecrets {
					return nil, "", nil
				}
				kube.Sleep(ctx, 50*time.Millisecond)
				page, next := 0, ""
				_, _ = fmt.Sscan(o.Continue, &page)
				if page+1 < pages {
					next = fmt.Sprint(page + 1)
				}
				return []unstructured.Unstructured{failedSecret("app", fmt.Sprint("secret-", page), "app")}, next, nil
			},
			OnPatch: func(_ context.Context, _ kubetest.At, name string, _ metav1.PatchOptions) error {
				mu.Lock()
				defer mu.Unlock()
				annotated[name] = true
				return nil
			},
		}
		n := withReadyStores(t, api, "home")
		tenants := Store{StoreName: StoreName{"tenant", "s"}, Vault: true}
		for range 600 {
			tenants.Status = kube.False
			n.handle(func() { n.updateStore(tenants, false) })
			during(500 * time.Millisecond)
			tenants.Status = kube.True
			n.handle(func() { n.updateStore(tenants, false) })
			during(500 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		for i := range pages {
			assert.True(t, annotated[fmt.Sprint("secret-", i)], i)
		}
	})
}
