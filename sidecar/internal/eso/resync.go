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
	// soon is the wait before a look that is worth it when little was woken.
	soon       = 1500 * time.Millisecond
	fewObjects = 200
	// lookEvery is how often it is looked how far ESO has come.
	lookEvery = 10 * time.Second
	// lastLook is the wait for what was woken twice.
	lastLook = 60 * time.Second
	// mendedEvery is how often it is looked, in the end, whether somebody has
	// mended what is left.
	mendedEvery = 5 * time.Minute
)

// resyncer wakes the objects that ESO failed to sync. Its goroutine is run's;
// a request replaces the one before.
type resyncer struct {
	api     dynamic.Interface
	log     kube.Telemetry
	limiter *rate.Limiter
	wake    chan struct{}
	report  func(findings) // set before run
	seeing  map[schema.GroupVersionResource]*kube.ErrorLog
	last    map[string]time.Time // when an object was woken, by its UID; run's
	refused kube.ErrorLog        // by a policy; run's

	mu     sync.Mutex
	wanted *sweep
	cancel context.CancelFunc // of the one that goes on
}

// sweep is one recovery of ESO, in several looks. One that takes the place of
// another goes on counting where that was.
type sweep struct {
	stores  map[StoreName]bool
	epoch   int64
	touches map[string]int // by what was woken
	spaces  map[string]int // how much was, by namespace
	crowded bool           // said that it was too many
	ended   bool
}

func newResyncer(c Config, api dynamic.Interface) *resyncer {
	return &resyncer{
		api: api, log: kube.NewTelemetry(c.Log, c.Meter), wake: make(chan struct{}, 1),
		// ESO syncs about 26 a second; what waits there does not wait here.
		limiter: rate.NewLimiter(40, 50),
		seeing:  map[schema.GroupVersionResource]*kube.ErrorLog{ExternalSecrets: {}, ClusterSecrets: {}, PushSecrets: {}},
		last:    map[string]time.Time{},
	}
}

// request asks for a sweep over what uses these stores.
func (s *resyncer) request(stores map[StoreName]bool, epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = &sweep{stores: stores, epoch: epoch, touches: map[string]int{}, spaces: map[string]int{}}
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

func (s *resyncer) take(ctx context.Context) (*sweep, context.Context) {
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
	var before *sweep
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
		maps.DeleteFunc(s.last, func(_ string, at time.Time) bool { return time.Since(at) > lookEvery })
		if before != nil && before.epoch == next.epoch && !before.ended {
			next.touches, next.spaces = before.touches, before.spaces
		}
		before = next
		s.sweep(within, next)
	}
}

// sweep wakes, and looks how far ESO has come. While it gets on it is left
// alone: to annotate what it is about to sync costs it a conflict and a try.
// When it does not, what is left is woken once more. What is left after that is
// not the outage's. Another sweep that is asked for ends this one.
func (s *resyncer) sweep(ctx context.Context, w *sweep) {
	wakes, woken, least := true, 0, math.MaxInt
	for look := 0; ; look++ {
		f, ok := s.lookUntilItWorks(ctx, w, wakes)
		if !ok {
			return
		}
		getsOn := f.leftCount < least
		least = min(least, f.leftCount)
		f.final = f.leftCount == 0 || woken == 2 && !getsOn
		s.report(f)
		if f.final {
			w.ended = true
			debug.FreeOSMemory() // most of it will not be needed again for months
			s.untilMended(ctx, w, f.leftCount)
			return
		}
		wait := lookEvery
		switch {
		case wakes && woken == 0:
			s.log.Info(msgWoken, keyCount, f.touched)
			wakes, woken = false, 1
			if f.touched <= fewObjects {
				wait = soon
			}
		case wakes:
			wakes, woken, wait = false, 2, lastLook
		case !getsOn && look > 1:
			wakes, wait = true, 0
		}
		if !s.pause(ctx, wait) {
			return
		}
	}
}

// untilMended looks, at first soon, and wakes nothing, until nothing is left. A
// look that fails tells nothing: what is known stands until the next one.
func (s *resyncer) untilMended(ctx context.Context, w *sweep, left int) {
	for wait := lookEvery; left > 0; wait = min(2*wait, mendedEvery) {
		if !s.pause(ctx, wait) {
			return
		}
		f := s.look(ctx, w, false)
		if ctx.Err() != nil {
			return
		}
		if f.err == nil {
			f.final, f.mending, left = true, true, f.leftCount
			s.report(f)
		}
		debug.FreeOSMemory()
	}
}

func (s *resyncer) lookUntilItWorks(ctx context.Context, w *sweep, wakes bool) (f findings, ok bool) {
	for failures := 1; ; failures++ {
		f := s.look(ctx, w, wakes)
		if ctx.Err() != nil {
			return f, false
		}
		if f.err == nil {
			return f, true
		}
		limit := lookEvery
		if kube.Missing(f.err) {
			s.report(f)
			limit = kube.RetryMissing
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
