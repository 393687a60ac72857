// Package eso brings External Secrets Operator (ESO) back once Vault serves again: it
// annotates what ESO failed to sync, which ESO would else try again in minutes, and
// evicts its controller when that does not help. It must not know Vault's API, nor
// anything of a key.
package eso

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Controller brings ESO back. One goroutine, run's, owns the stores it tracks; the watches
// and the resyncer tell it of news through a channel.
type Controller struct {
	config Config
	api    dynamic.Interface
	pod    *podstatus.Pod // nil: there is nobody to tell
	log    kube.Telemetry

	phaseChanged   chan struct{} // Vault entered another phase
	publishedPhase atomic.Uint32 // which
	activations    atomic.Int64  // how often it became active
	news           chan func()
	tracked        map[StoreName]*storeState
	ignoredLogged  map[StoreName]bool // said so
	limitLogged    bool               // said that there are too many
	phase          unseal.Phase
	outageID       int64
	phaseSince     time.Time // when Vault entered this phase
	since          time.Time // when Vault became active, or a store got down after all was settled
	evicted        bool      // in this outage
	saved          Eviction
	sparedFor      StoreName     // with which ESO works since this outage, as was said
	slowestStore   time.Duration // that a store took to get Ready since then
	resyncDone     bool          // the sweep after that has come to its end
	resyncDue      bool
	reconciles     int            // counts those of stores in this phase
	lastReconcile  map[string]int // the newest of them in each namespace
	scan           *scanResult    // by the newest look since Vault became active
	resyncer       *resyncer
	evictor        *evictor

	watching map[string]*watchState // by the kind of stores
	noESO    string                 // what was said of that
}

// watchState is how far the watch of a kind of stores has come.
type watchState struct {
	kube.ErrorLog
	answered  bool // with a list or with a refusal
	absent    bool // there is no such kind
	forbidden bool
}

func (w *watchState) unavailable() bool { return w.absent || w.forbidden }

// storeState is a store and what was done for it.
type storeState struct {
	Store
	nextResync       time.Time
	downSince        time.Time // not Ready while Vault was active, since then
	resyncErrors     kube.ErrorLog
	failures         int    // to wake it, in a row
	evictedPods      string // for its sake, since it was last Ready
	readyAfterOutage bool   // it was Ready after the outage was over: what fails it now is something else
	otherVaultLogged bool   // said so
	failureReported  string // what was said
	workedInOutage   int64  // the newest epoch in which ESO has made it Ready or synced from it
}

func New(c Config, api dynamic.Interface, p *podstatus.Pod) *Controller {
	return &Controller{
		config: c, api: api, pod: p, log: kube.NewTelemetry(c.Log, c.Meter),
		phaseChanged: make(chan struct{}, 1), news: make(chan func()), tracked: map[StoreName]*storeState{}, ignoredLogged: map[StoreName]bool{}, lastReconcile: map[string]int{},
		watching: map[string]*watchState{kindClusterStore: {}, kindStore: {}},
		resyncer: newResyncer(c, api),
		evictor:  &evictor{api: api, config: c},
	}
}

// Run starts what else it takes with start.
func (n *Controller) Run(ctx context.Context, start func(func())) {
	send := func(f func()) {
		select {
		case n.news <- f:
		case <-ctx.Done():
		}
	}
	n.resyncer.report = func(f scanResult) { send(func() { n.handleScan(f) }) }
	start(func() { n.resyncer.run(ctx) })
	start(func() { n.reflector(ctx, kindClusterStore, n.api.Resource(ClusterStores), send).Run(ctx) })
	start(func() { n.reflector(ctx, kindStore, n.api.Resource(NamespaceStores), send).Run(ctx) })
	n.loadEviction()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var published time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-n.news:
			f()
		case <-n.phaseChanged:
		case <-timer.C:
		}
		n.syncPhase(time.Now())
		now := time.Now()
		next := n.reconcile(ctx, now)
		timer.Reset(max(0, time.Until(next)))
		// Between a thousand stores one by one it would take longer than all else.
		if next.After(now) || now.Sub(published) >= time.Second {
			published = now
			n.publish()
		}
	}
}

// publish says how External Secrets is now.
func (n *Controller) publish() {
	if n.phase == unseal.Active && n.storesKnown() && n.worstStore().Type == "" {
		n.saveEviction(time.Time{})
	}
	c := n.condition()
	n.pod.SetCondition(c)
	if n.config.Report != nil {
		n.config.Report(n.snapshot(c))
	}
}

// Publish takes the core's newest state. It does not block.
func (n *Controller) Publish(s unseal.State) {
	if before := unseal.Phase(n.publishedPhase.Swap(uint32(s.Phase))); before == s.Phase {
		return
	}
	if s.Phase == unseal.Active {
		n.activations.Add(1)
	}
	kube.Notify(n.phaseChanged)
}

// syncPhase takes over what phase Vault is in. An outage begins when it is active
// no more.
func (n *Controller) syncPhase(now time.Time) {
	phase, epoch := unseal.Phase(n.publishedPhase.Load()), n.activations.Load()
	if phase == n.phase && epoch == n.outageID {
		return
	}
	if n.phase == unseal.Active {
		n.evicted = false
		n.saveEviction(time.Time{})
	}
	for _, p := range n.tracked {
		p.nextResync, p.downSince, p.failureReported, p.readyAfterOutage = time.Time{}, time.Time{}, "", false
	}
	n.resyncer.stop()
	n.phase, n.outageID, n.phaseSince, n.since = phase, epoch, now, now
	n.slowestStore, n.resyncDone, n.sparedFor = 0, false, StoreName{}
	n.scan, n.resyncDue = nil, phase == unseal.Active
	n.reconciles, n.lastReconcile = 0, map[string]int{}
}

func (n *Controller) readyStores() map[StoreName]bool {
	ready := map[StoreName]bool{}
	for name, p := range n.tracked {
		if p.Ready() {
			ready[name] = true
		}
	}
	return ready
}

// storesKnown reports whether a sweep is of use. Before both kinds of stores are
// known it would be done twice, and while no store is Ready for nothing.
func (n *Controller) storesKnown() bool {
	clusters, spaces := n.watching[kindClusterStore], n.watching[kindStore]
	if !clusters.answered || !spaces.answered || clusters.unavailable() && spaces.unavailable() {
		return false
	}
	return len(n.tracked) == 0 || len(n.readyStores()) > 0
}

// reconcile does for one store what is due, and returns when to look again: at once when
// there is more to do. In between, the news of others are taken.
func (n *Controller) reconcile(ctx context.Context, now time.Time) time.Time {
	next := now.Add(time.Hour)
	if n.phase != unseal.Active {
		return next
	}
	if n.resyncDue && n.storesKnown() {
		n.resyncDue = false
		n.requestResync()
	}
	var first *storeState
	for _, p := range n.tracked {
		switch {
		case !n.checkDown(p, now):
		case now.Before(p.nextResync):
			if p.nextResync.Before(next) {
				next = p.nextResync
			}
		case first == nil || n.before(p, first):
			first = p
		}
	}
	if first == nil {
		return next
	}
	if len(n.lastReconcile) > maxStores { // namespaces come and go
		clear(n.lastReconcile)
	}
	n.reconciles++
	n.lastReconcile[first.Namespace] = n.reconciles
	first.nextResync = time.Now().Add(n.reconcileStore(ctx, first, now))
	return now
}

// before orders the stores that are due: those of the cluster, and then by how long
// ago one of their namespace was treated, so that nobody's many hold up another's.
func (n *Controller) before(a, b *storeState) bool {
	if (a.Namespace == "") != (b.Namespace == "") {
		return a.Namespace == ""
	}
	if x, y := n.lastReconcile[a.Namespace], n.lastReconcile[b.Namespace]; x != y {
		return x < y
	}
	return a.nextResync.Before(b.nextResync)
}

// checkDown reports whether a store is to be brought back, and notes since when.
func (n *Controller) checkDown(p *storeState, now time.Time) bool {
	if p.Ready() {
		// That it is Ready as Vault opens may be from before: ESO has not looked.
		p.readyAfterOutage = p.readyAfterOutage || n.resyncDone || n.config.Recovery == RecoveryRestart && now.Sub(n.since) >= evictAfter
		return false
	}
	if p.downSince.IsZero() {
		p.downSince, p.nextResync = now, now
		if n.resyncDone {
			n.since, n.slowestStore, n.resyncDone = now, 0, false
		}
		n.log.Info(msgStoreDown, keyStore, p.String(), keyReason, p.Reason)
	}
	return true
}
