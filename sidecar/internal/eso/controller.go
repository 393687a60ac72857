// Package eso brings External Secrets Operator (ESO) back once Vault serves again: it
// annotates what ESO failed to sync, which ESO would else try again in minutes, and
// evicts its controller when that does not help. It must not know Vault's API, nor
// anything of a key.
package eso

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/workqueue"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Controller brings ESO back. Watches and workers share its state under a lock, which
// is not held while anybody waits for the API.
type Controller struct {
	config Config
	api    dynamic.Interface
	pod    *podstatus.Pod // nil: its name is not known
	log    kube.Telemetry

	publishedPhase atomic.Uint32 // of Vault
	activations    atomic.Int64  // how often it became active
	turnedReady    atomic.Int64  // how often our pod turned Ready

	// queue holds the stores that are due, and resyncKey.
	queue    workqueue.TypedDelayingInterface[StoreName]
	resyncer *resyncer // used for resyncKey alone, which one worker has at a time

	mu            sync.Mutex // guards what follows
	reportedAt    time.Time
	tracked       map[StoreName]*storeState
	ignoredLogged map[StoreName]bool
	ignoredCount  StoreLimit                    // of both kinds
	limitLogged   bool                          // that there are too many
	changes       map[string]*unseal.LogLimiter // of stores, by requester
	evicting      bool
	isOurs        func(Store) bool // as isOurVault last answered; nil: it failed
	isOursAt      time.Time
	readySeen     int64     // of turnedReady
	readySince    time.Time // our pod, as far as that was seen
	evicted       bool      // in this outage
	saved         Eviction  // the newest; the zero one: there was none
	resync        *resync   // the newest; nil: none is under way
	phaseState

	watching map[string]*watchState // by the kind of stores
	noESO    string                 // why, as it was logged
}

// phaseState is what is forgotten when Vault enters another phase.
type phaseState struct {
	phase            unseal.Phase
	phaseSince       time.Time // when Vault entered it
	outageID         int64
	since            time.Time // when Vault became active, or a store got down after the resync was done
	nextEviction     time.Time // not before then
	evictionFailures int
	evictionErrors   kube.ErrorLog
	sparedFor        StoreName     // with which ESO works since this outage, as was logged
	slowestStore     time.Duration // that a store took to get Ready since then
	resyncDone       bool
	outageOver       bool // it was done once: a store that got down since is no part of it
	resyncRequests
	scan       *scanResult // by the newest scan
	leftLogged int         // objects, as was last logged of what is left after a resync
}

// resyncKey stands for the objects that use the stores. No store has that name.
var resyncKey = StoreName{}

// workers is how many requests are made at a time: one may be a resync, which takes
// minutes.
const workers = 2

// watchState is how far the watch of a kind of stores has come.
type watchState struct {
	kube.ErrorLog
	answered bool  // with a list or with a refusal
	refusal  error // the newest; nil: the stores are seen
}

// storeState is a store and what was done for it.
type storeState struct {
	Store
	nextResync       time.Time
	downSince        time.Time // not Ready while Vault was active, since then
	resyncErrors     kube.ErrorLog
	failures         int    // to annotate it, in a row
	evictedPods      string // for its sake, since it was last Ready
	readyAfterOutage bool   // it was Ready after the outage was over: what fails it now is something else
	otherVaultLogged bool   // it was logged
	failureReported  string // the message
	due              bool   // it got Ready, or Vault active, since the resync of what uses it began
	workedInOutage   int64  // the newest outage in which ESO has made it Ready or synced from it
}

// New returns a Controller that has not connected yet.
func New(c Config, api dynamic.Interface, p *podstatus.Pod) *Controller {
	return &Controller{
		config: c, api: api, pod: p, log: kube.NewTelemetry(c.Log, c.Meter, c.Rights()),
		queue:         newQueue(),
		resyncer:      newResyncer(c, api),
		tracked:       map[StoreName]*storeState{},
		ignoredLogged: map[StoreName]bool{},
		ignoredCount:  StoreLimit{},
		changes:       map[string]*unseal.LogLimiter{},
		phaseState:    phaseState{resyncRequests: newResyncRequests()},
		watching:      map[string]*watchState{kindClusterStore: {}, kindStore: {}},
	}
}

// Run works until ctx is done. It starts what it takes with start.
func (n *Controller) Run(ctx context.Context, start func(func())) {
	n.loadEviction()
	start(func() { n.reflector(ctx, kindClusterStore, n.api.Resource(ClusterStores)).Run(ctx) })
	start(func() { n.reflector(ctx, kindStore, n.api.Resource(NamespaceStores)).Run(ctx) })
	for range workers {
		start(func() { n.work(ctx) })
	}
	<-ctx.Done()
	n.queue.ShutDown()
}

// work takes one key after another.
func (n *Controller) work(ctx context.Context) {
	for {
		key, ended := n.queue.Get()
		if ended || ctx.Err() != nil { // what is left is handed out still
			return
		}
		n.process(ctx, key)
	}
}

func (n *Controller) process(ctx context.Context, key StoreName) {
	defer n.queue.Done(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.syncPhase()
	next := n.reconcile
	if key == resyncKey {
		next = n.continueResync
	}
	if after, more := next(ctx, key); more && ctx.Err() == nil {
		n.queue.AddAfter(key, after)
	}
	n.publish()
}

// unlocked calls f, which waits for the API, without the lock.
func (n *Controller) unlocked(f func()) {
	n.mu.Unlock()
	defer n.mu.Lock()
	f()
}

// handle takes news of a watch.
func (n *Controller) handle(news func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.syncPhase()
	news()
	n.queue.Add(resyncKey) // one may be possible now
	n.publish()
}

// publish reports how External Secrets is now, and once a second while there is more
// to do: of a thousand stores one by one it would take longer than all else.
func (n *Controller) publish() {
	if n.queue.Len() > 0 && time.Since(n.reportedAt) < time.Second {
		return
	}
	n.reportedAt = time.Now()
	if n.phase == unseal.Active && n.storesKnown() && n.worstStore().Type == "" {
		n.saveOutageOver()
	}
	c := n.condition()
	n.pod.SetCondition(c)
	if n.config.Report != nil {
		n.config.Report(n.snapshot(c))
	}
}

// Publish takes the core's newest state. It does not block.
func (n *Controller) Publish(s unseal.Snapshot) {
	if unseal.Phase(n.publishedPhase.Load()) == s.Phase {
		return
	}
	if s.Phase == unseal.Active { // counted first: whoever sees the phase sees the count
		n.activations.Add(1)
	}
	n.publishedPhase.Store(uint32(s.Phase))
	n.queue.Add(resyncKey)
}

// PodIsReady takes that our pod turned Ready: its Services lead there from now on. It does
// not block.
func (n *Controller) PodIsReady() {
	n.turnedReady.Add(1)
	n.queue.Add(resyncKey)
}

// syncPhase takes over what phase Vault is in, and that our pod turned Ready. An outage
// begins when Vault is active no more.
func (n *Controller) syncPhase() {
	if turns := n.turnedReady.Load(); turns != n.readySeen {
		n.readySeen, n.readySince = turns, time.Now()
		for name, p := range n.tracked { // what was tried before may have led nowhere
			p.nextResync = time.Time{}
			n.queue.Add(name)
		}
	}
	phase, activations := unseal.Phase(n.publishedPhase.Load()), n.activations.Load()
	if phase == n.phase && activations == n.outageID {
		return
	}
	if n.phase == unseal.Active {
		n.evicted = false
		n.saveOutageOver()
	}
	for name, p := range n.tracked {
		p.nextResync, p.downSince, p.failureReported, p.readyAfterOutage = time.Time{}, time.Time{}, "", false
		p.due = true
		n.queue.Add(name)
	}
	n.stopResync()
	now := time.Now()
	n.phaseState = phaseState{
		phase: phase, phaseSince: now, outageID: activations, since: now, resyncRequests: newResyncRequests(),
	}
	if phase == unseal.Active {
		n.requestResync("")
	}
}

// reconcile does for one store what is due, and returns after how long there is more
// to do.
func (n *Controller) reconcile(ctx context.Context, name StoreName) (after time.Duration, more bool) {
	now := time.Now()
	p := n.tracked[name]
	if p == nil || !p.Down() || n.phase != unseal.Active {
		return 0, false
	}
	if p.downSince.IsZero() {
		p.downSince, p.nextResync = now, now
		if n.resyncDone {
			n.since, n.slowestStore, n.resyncDone = now, 0, false
		}
		n.log.Log(n.changeLevel(name), msgStoreDown, keyStore, p.String(), keyReason, p.Reason)
	}
	if !now.Before(p.nextResync) {
		wait := n.reconcileStore(ctx, p, now)
		p.nextResync = time.Now().Add(wait)
	}
	return time.Until(p.nextResync), true
}

// isDown reports whether a store is down since then without a break, in the outage that
// goes on.
func (n *Controller) isDown(p *storeState, since time.Time) bool {
	return n.tracked[p.StoreName] == p && p.Down() && p.downSince.Equal(since) && n.phase == unseal.Active
}

// outageIsOver reports whether what gets down now was well after the outage. That a
// store is Ready as Vault opens may be from before: ESO may not have validated it since.
func (n *Controller) outageIsOver() bool {
	return n.outageOver || n.config.Recovery == RecoveryRestart && n.phase == unseal.Active && time.Since(n.since) >= evictAfter
}
