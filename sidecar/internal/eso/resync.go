package eso

import (
	"context"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

const (
	// firstRecheck is the wait before a scan that is worth it when little was annotated.
	firstRecheck = 1500 * time.Millisecond
	fewObjects   = 200
	// recheckInterval is how often a scan finds out how far ESO has come.
	recheckInterval = 10 * time.Second
	// finalRecheck is the wait for what was annotated twice.
	finalRecheck = 60 * time.Second
	// unsyncedInterval is how often, in the end, a scan finds out whether what is left
	// was mended.
	unsyncedInterval = 5 * time.Minute
	// countsKept is how long a resync that takes the place of another counts on: those that
	// never end would else leave nothing for a store that fails once more.
	countsKept = 10 * time.Minute
)

// resyncer annotates the objects that ESO failed to sync.
type resyncer struct {
	api         dynamic.Interface
	log         kube.Telemetry
	limiter     *rate.Limiter
	errors      map[string]*kube.ErrorLog   // by resource
	pushSecrets schema.GroupVersionResource // as they were served last
	resyncedAt  map[string]time.Time        // when an object was annotated, by its UID
	refused     kube.ErrorLog               // by a policy
}

// resync is one recovery of ESO, in several scans. One that takes the place of another
// goes on counting where that was.
type resync struct {
	stores      map[StoreName]bool // that are Ready, and whether what uses them is annotated
	resyncs     map[string]int     // by what was annotated;
	namespaces  map[string]int     // how much was, by namespace
	limitLogged bool               // that it was too many
	counted     time.Time          // since then
	began       time.Time
	stopAfter   atomic.Int64 // in nanoseconds since then; 0: it goes on

	scans     int
	failures  int           // of scans, in a row
	least     int           // objects that were ever left unsynced
	annotates bool          // the next scan does
	rounds    int           // in which scans did
	wait      time.Duration // before the newest scan, once it is done
	done      bool
	due       time.Time // of the next scan
}

func newResyncer(c Config, api dynamic.Interface) *resyncer {
	return &resyncer{
		api: api, log: kube.NewTelemetry(c.Log, c.Meter, c.Rights()),
		// ESO syncs about 26 a second; what waits there does not wait here.
		limiter:     rate.NewLimiter(40, 50),
		errors:      map[string]*kube.ErrorLog{ExternalSecrets.Resource: {}, PushSecrets.Resource: {}},
		pushSecrets: PushSecrets,
		resyncedAt:  map[string]time.Time{},
	}
}

func newResync(stores map[StoreName]bool) *resync {
	return &resync{
		stores: stores, resyncs: map[string]int{}, namespaces: map[string]int{},
		counted: time.Now(), began: time.Now(), least: math.MaxInt, annotates: true, due: time.Now(),
	}
}

// stop has the resync end after so long: for another, or for Vault that is away.
func (w *resync) stop(in time.Duration) { w.stopAfter.Store(int64(time.Since(w.began)+in) + 1) }

func (w *resync) stopped() bool {
	after := w.stopAfter.Load()
	return after > 0 && int64(time.Since(w.began)) >= after-1
}

// continueResync scans what uses the stores that are Ready, when that is due.
func (n *Controller) continueResync(ctx context.Context, _ StoreName) (after time.Duration, more bool) {
	if n.resyncIn() <= 0 {
		n.startResync()
	}
	after = min(n.scanNext(ctx), n.resyncIn())
	return after, after < never
}

// never is when nothing is due.
const never = time.Duration(math.MaxInt64)

// scanNext scans if it is time, and returns after how long the next scan is due.
func (n *Controller) scanNext(ctx context.Context) time.Duration {
	w := n.resync
	if w == nil || w.stopped() {
		return never
	}
	if wait := time.Until(w.due); wait > 0 {
		return wait
	}
	var f scanResult
	n.unlocked(func() { f = n.resyncer.scan(ctx, w) })
	if w.stopped() || ctx.Err() != nil {
		return never
	}
	wait, reports := n.resyncer.next(w, &f)
	if reports {
		n.handleScan(f)
	}
	w.due = time.Now().Add(wait)
	if wait == never {
		n.resync = nil
	}
	return wait
}

// next decides after how long the next scan is due, and whether the newest is reported.
// While ESO makes progress it is left alone: to annotate what it is about to sync costs
// it a conflict and a retry. When it does not, what is left is annotated once more. What
// is left after that is not caused by the outage; it is watched until it is synced.
func (s *resyncer) next(w *resync, f *scanResult) (wait time.Duration, reports bool) {
	if w.done {
		debug.FreeOSMemory() // most of it will not be needed again for months
		w.wait = min(2*w.wait, unsyncedInterval)
		if f.err != nil { // what is known stands until the next one
			return w.wait, false
		}
		f.final, f.afterResync = true, true
		if f.unsyncedCount == 0 {
			return never, true
		}
		return w.wait, true
	}
	if f.err != nil {
		w.failures++
		if kube.IsForbiddenOrNotFound(f.err) {
			return kube.RetryAfter(w.failures, kube.MissingKindRetry, f.err), true
		}
		return kube.RetryAfter(w.failures, recheckInterval, f.err), false
	}
	w.failures = 0
	w.scans++
	progress := f.unsyncedCount < w.least
	w.least = min(w.least, f.unsyncedCount)
	f.final = f.unsyncedCount == 0 || w.rounds == 2 && !progress
	switch {
	case f.final:
		w.done, w.annotates, w.wait = true, false, recheckInterval
		debug.FreeOSMemory()
		if f.unsyncedCount == 0 {
			return never, true
		}
		return w.wait, true
	case w.annotates && w.rounds == 0:
		s.log.Info(msgWoken, keyCount, f.resynced)
		w.annotates, w.rounds = false, 1
		if f.resynced <= fewObjects {
			return firstRecheck, true
		}
	case w.annotates:
		w.annotates, w.rounds = false, 2
		return finalRecheck, true
	case !progress && w.scans > 2:
		w.annotates = true
		return 0, true
	}
	return recheckInterval, true
}
