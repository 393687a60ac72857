package eso

import (
	"context"
	"maps"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

const (
	// firstRecheck is the wait before a look that is worth it when little was woken.
	firstRecheck = 1500 * time.Millisecond
	fewObjects   = 200
	// recheckInterval is how often it is looked how far ESO has come.
	recheckInterval = 10 * time.Second
	// finalRecheck is the wait for what was woken twice.
	finalRecheck = 60 * time.Second
	// unsyncedInterval is how often it is looked, in the end, whether somebody has
	// mended what is left.
	unsyncedInterval = 5 * time.Minute
)

// resyncer wakes the objects that ESO failed to sync. Its goroutine is run's;
// a request replaces the one before.
type resyncer struct {
	api        dynamic.Interface
	log        kube.Telemetry
	limiter    *rate.Limiter
	wake       chan struct{}
	report     func(scanResult) // set before run
	errors     map[schema.GroupVersionResource]*kube.ErrorLog
	resyncedAt map[string]time.Time // when an object was woken, by its UID; run's
	refused    kube.ErrorLog        // by a policy; run's

	mu     sync.Mutex
	wanted *resync
	cancel context.CancelFunc // of the one that goes on
}

// resync is one recovery of ESO, in several looks. One that takes the place of
// another goes on counting where that was.
type resync struct {
	stores      map[StoreName]bool
	outageID    int64
	resyncs     map[string]int // by what was woken
	namespaces  map[string]int // how much was, by namespace
	limitLogged bool           // said that it was too many
	done        bool
}

func newResyncer(c Config, api dynamic.Interface) *resyncer {
	return &resyncer{
		api: api, log: kube.NewTelemetry(c.Log, c.Meter), wake: make(chan struct{}, 1),
		// ESO syncs about 26 a second; what waits there does not wait here.
		limiter:    rate.NewLimiter(40, 50),
		errors:     map[schema.GroupVersionResource]*kube.ErrorLog{ExternalSecrets: {}, ClusterSecrets: {}, PushSecrets: {}},
		resyncedAt: map[string]time.Time{},
	}
}

// request asks for a sweep over what uses these stores.
func (s *resyncer) request(stores map[StoreName]bool, epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = &resync{stores: stores, outageID: epoch, resyncs: map[string]int{}, namespaces: map[string]int{}}
	kube.Notify(s.wake)
}

// stop ends the sweep that goes on and forgets the one that was asked for.
func (s *resyncer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = nil
	if s.cancel != nil {
		s.cancel()
	}
}

func (s *resyncer) take(ctx context.Context) (*resync, context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.wanted
	s.wanted = nil
	select { // it may have been asked for again since run was woken, and is taken now
	case <-s.wake:
	default:
	}
	if s.cancel != nil {
		s.cancel()
	}
	ctx, s.cancel = context.WithCancel(ctx)
	return next, ctx
}

func (s *resyncer) run(ctx context.Context) {
	var before *resync
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		next, within := s.take(ctx)
		if next == nil {
			continue
		}
		maps.DeleteFunc(s.resyncedAt, func(_ string, at time.Time) bool { return time.Since(at) > recheckInterval })
		if before != nil && before.outageID == next.outageID && !before.done {
			next.resyncs, next.namespaces = before.resyncs, before.namespaces
		}
		before = next
		s.resync(within, next)
	}
}

// resync wakes, and looks how far ESO has come. While it gets on it is left
// alone: to annotate what it is about to sync costs it a conflict and a try.
// When it does not, what is left is woken once more. What is left after that is
// not the outage's. Another sweep that is asked for ends this one.
func (s *resyncer) resync(ctx context.Context, w *resync) {
	wakes, woken, least := true, 0, math.MaxInt
	for look := 0; ; look++ {
		f, ok := s.scanUntilDone(ctx, w, wakes)
		if !ok {
			return
		}
		getsOn := f.unsyncedCount < least
		least = min(least, f.unsyncedCount)
		f.final = f.unsyncedCount == 0 || woken == 2 && !getsOn
		s.report(f)
		if f.final {
			w.done = true
			debug.FreeOSMemory() // most of it will not be needed again for months
			s.watchUnsynced(ctx, w, f.unsyncedCount)
			return
		}
		wait := recheckInterval
		switch {
		case wakes && woken == 0:
			s.log.Info(msgWoken, keyCount, f.resynced)
			wakes, woken = false, 1
			if f.resynced <= fewObjects {
				wait = firstRecheck
			}
		case wakes:
			wakes, woken, wait = false, 2, finalRecheck
		case !getsOn && look > 1:
			wakes, wait = true, 0
		}
		if !s.pause(ctx, wait) {
			return
		}
	}
}

// watchUnsynced looks, at first soon, and wakes nothing, until nothing is left. A
// look that fails tells nothing: what is known stands until the next one.
func (s *resyncer) watchUnsynced(ctx context.Context, w *resync, left int) {
	for wait := recheckInterval; left > 0; wait = min(2*wait, unsyncedInterval) {
		if !s.pause(ctx, wait) {
			return
		}
		f := s.scan(ctx, w, false)
		if ctx.Err() != nil {
			return
		}
		if f.err == nil {
			f.final, f.afterResync, left = true, true, f.unsyncedCount
			s.report(f)
		}
		debug.FreeOSMemory()
	}
}

func (s *resyncer) scanUntilDone(ctx context.Context, w *resync, wakes bool) (f scanResult, ok bool) {
	for failures := 1; ; failures++ {
		f := s.scan(ctx, w, wakes)
		if ctx.Err() != nil {
			return f, false
		}
		if f.err == nil {
			return f, true
		}
		limit := recheckInterval
		if kube.IsForbiddenOrNotFound(f.err) {
			s.report(f)
			limit = kube.MissingKindRetry
		}
		if !s.pause(ctx, kube.RetryAfter(failures, limit, f.err)) {
			return f, false
		}
	}
}

// pause waits, unless another sweep is asked for.
func (s *resyncer) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-s.wake:
		kube.Notify(s.wake) // run takes it
		return false
	case <-timer.C:
		return true
	}
}
