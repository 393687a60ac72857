package eso

import (
	"maps"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

func (n *Controller) readyStores() map[StoreName]bool {
	ready := map[StoreName]bool{}
	for name, p := range n.tracked {
		if p.Ready() {
			ready[name] = true
		}
	}
	return ready
}

// storesSeen reports whether both kinds of stores are: before, a resync would be done twice.
func (n *Controller) storesSeen() bool {
	clusters, spaces := n.watching[kindClusterStore], n.watching[kindStore]
	return clusters.answered && spaces.answered && (clusters.refusal == nil || spaces.refusal == nil)
}

// storesKnown reports whether a resync is of use: while no store is Ready, it is for
// nothing but what a generator of Vault's makes.
func (n *Controller) storesKnown() bool {
	return n.storesSeen() && (len(n.tracked) == 0 || len(n.readyStores()) > 0)
}

// resyncIn returns after how long another resync is to begin: never, unless one is due
// and possible. The first waits for a Ready store no longer than evictAfter: a home may
// have none, and a tenant one that never gets Ready.
func (n *Controller) resyncIn() time.Duration {
	switch {
	case n.phase != unseal.Active || !n.resyncDue || !n.storesSeen():
		return never
	case n.storesKnown():
		return max(0, time.Until(n.nextResync))
	case n.resyncs > 0:
		return never
	}
	return max(0, evictAfter-time.Since(n.phaseSince))
}

// requestResync has the next resync take the place of the one that goes on.
func (n *Controller) requestResync() {
	n.resyncDue = true
	if n.resync != nil && n.storesKnown() && !time.Now().Before(n.nextResync) {
		n.resync.stopped.Store(true)
	}
}

// resyncGap is how long after the nth resync of an outage, from 0, another may take its
// place: a store that turns Ready again and again would have none come to its end.
func resyncGap(n int) time.Duration {
	if n < 3 { // as many kinds and replicas as there are
		return 0
	}
	return min(recheckInterval<<min(n-3, 10), unsyncedInterval)
}

func (n *Controller) startResync() {
	n.resyncDue = n.config.Recovery != RecoveryRestart && !n.storesKnown() // that of the stores still is
	if n.config.Recovery == RecoveryRestart {
		return
	}
	n.nextResync = time.Now().Add(resyncGap(n.resyncs))
	n.resyncs++
	before := n.resync
	n.stopResync()
	maps.DeleteFunc(n.resyncer.resyncedAt, func(_ string, at time.Time) bool { return time.Since(at) > recheckInterval })
	n.resync = newResync(n.readyStores())
	if before != nil && !before.done {
		n.resync.resyncs, n.resync.namespaces = before.resyncs, before.namespaces
	}
}

func (n *Controller) stopResync() {
	if n.resync != nil {
		n.resync.stopped.Store(true)
		n.resync = nil
	}
}
