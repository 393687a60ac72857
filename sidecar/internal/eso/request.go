package eso

import (
	"maps"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// resyncRequests is who asks for another resync, and what limits that.
type resyncRequests struct {
	requested     map[string]bool        // by whoever asked, see requester; "" is Vault
	limits        map[string]resyncLimit // likewise
	resyncStarted time.Time              // the newest; zero: none was in this phase
	interrupted   int                    // resyncs before that, in a row, that got to the end of no scan
	vaultDue      bool                   // what reads from Vault without a store is to be annotated
}

func newResyncRequests() resyncRequests {
	return resyncRequests{requested: map[string]bool{}, limits: map[string]resyncLimit{}, vaultDue: true}
}

func (n *Controller) someStoreIsReady() bool {
	for _, p := range n.tracked {
		if p.Ready() {
			return true
		}
	}
	return false
}

// storesSeen reports whether both kinds of stores are: before, a resync would be done twice.
func (n *Controller) storesSeen() bool {
	clusters, spaces := n.watching[kindClusterStore], n.watching[kindStore]
	return clusters.answered && spaces.answered && (clusters.refusal == nil || spaces.refusal == nil)
}

// storesKnown reports whether a resync is of use: while no store is Ready, it is for
// nothing but what a generator of Vault's makes.
func (n *Controller) storesKnown() bool {
	return n.storesSeen() && (len(n.tracked) == 0 || n.someStoreIsReady())
}

// resyncIn returns after how long another resync is to begin: never, unless one is due
// and possible. The first waits for a Ready store no longer than evictAfter: a home may
// have none, and a tenant one that never gets Ready.
func (n *Controller) resyncIn() time.Duration {
	switch {
	case n.phase != unseal.Active || len(n.requested) == 0 || !n.storesSeen():
		return never
	case n.storesKnown():
		return max(0, time.Until(n.nextResync()))
	case !n.resyncStarted.IsZero():
		return never
	}
	return max(0, evictAfter-time.Since(n.phaseSince))
}

// requester is whom the limits of a store's requests are for: its namespace, or a
// ClusterSecretStore itself. No namespace is called so.
func (n StoreName) requester() string {
	if n.Namespace != "" {
		return n.Namespace
	}
	return "/" + n.Name
}

// resyncLimit is how often one requester has asked for a resync.
type resyncLimit struct {
	resyncs int
	next    time.Time // not before then
}

// resyncGap is how long after the nth resync that somebody has asked for, from 0, he may
// ask for another: a store that turns Ready again and again would have none come to its end.
func resyncGap(n int) time.Duration {
	if n < 3 { // as many kinds and replicas as there are
		return 0
	}
	return min(recheckInterval<<min(n-3, 10), unsyncedInterval)
}

// nextResync is when the first of those that ask for another resync may have it. One that has
// got to the end of no scan has time for it, twice as much each time: however long a scan takes,
// one comes to its end.
func (n *Controller) nextResync() time.Time {
	next := time.Now().Add(unsyncedInterval)
	for requester := range n.requested {
		if at := n.limits[requester].next; at.Before(next) {
			next = at
		}
	}
	gap := firstRecheck
	if n.resync != nil && n.resync.scans == 0 {
		gap <<= min(n.interrupted, 10)
	}
	if spaced := n.resyncStarted.Add(gap); spaced.After(next) {
		return spaced
	}
	return next
}

// requestResync has the next resync take the place of the one that goes on.
func (n *Controller) requestResync(requester string) {
	n.requested[requester] = true
	if in := n.resyncIn(); n.resync != nil && in < never {
		n.resync.stop(in)
	}
}

func (n *Controller) startResync() {
	if n.config.Recovery == RecoveryRestart {
		clear(n.requested)
		return
	}
	now := time.Now()
	n.resyncStarted = now
	if n.storesKnown() { // else, that of the stores is still due
		n.limitRequests(now)
	}
	before := n.resync
	if before != nil && before.scans == 0 {
		n.interrupted++
	} else {
		n.interrupted = 0
	}
	n.stopResync()
	stores := n.takeDue(before)
	maps.DeleteFunc(n.resyncer.resyncedAt, func(_ string, at time.Time) bool { return time.Since(at) > recheckInterval })
	n.resync = newResync(stores)
	if before != nil && !before.done && now.Sub(before.counted) < countsKept {
		n.resync.resyncs, n.resync.namespaces, n.resync.counted = before.resyncs, before.namespaces, before.counted
	}
}

// takeDue returns the stores that are Ready, and of which what uses them is to be annotated:
// they were not when the resyncs before were done. Else, whoever has a store that turns
// Ready again and again would have all that fails annotated each time.
func (n *Controller) takeDue(before *resync) map[StoreName]bool {
	unfinished := map[StoreName]bool{}
	if before != nil && !before.done {
		unfinished = before.stores
	}
	stores := map[StoreName]bool{NoStore: n.vaultDue || unfinished[NoStore]}
	n.vaultDue = false
	for name, p := range n.tracked {
		if p.Ready() {
			stores[name] = p.due || unfinished[name]
			selected := StoreName{name.Namespace, anyStore}
			stores[selected] = stores[selected] || stores[name]
			p.due = false
		}
	}
	return stores
}

func (n *Controller) stopResync() {
	if n.resync != nil {
		n.resync.stop(0)
		n.resync = nil
	}
}

// limitRequests counts what was asked for, which one resync does for all. Namespaces come
// and go: those that have been calm are forgotten.
func (n *Controller) limitRequests(now time.Time) {
	maps.DeleteFunc(n.limits, func(_ string, l resyncLimit) bool { return now.Sub(l.next) > 2*unsyncedInterval })
	for requester := range n.requested {
		l := n.limits[requester]
		n.limits[requester] = resyncLimit{l.resyncs + 1, now.Add(resyncGap(l.resyncs))}
	}
	clear(n.requested)
}

// changeLevel is the level at which a store's turning Ready, or not, is logged. Whoever has stores
// that flap fills no log, and hides no change of others' stores.
func (n *Controller) changeLevel(name StoreName) hclog.Level {
	now, requester := time.Now(), name.requester()
	l := n.changes[requester]
	if l == nil {
		maps.DeleteFunc(n.changes, func(_ string, l *unseal.LogLimiter) bool { return l.Calm(now) })
		l = &unseal.LogLimiter{}
		n.changes[requester] = l
	}
	before := l.Limited
	if l.Allow(now) {
		return hclog.Info
	}
	if !before {
		n.log.Warn(msgFlapping, keyStore, name.String(), keyAdvice, "its Events say why")
	}
	return hclog.Debug
}
