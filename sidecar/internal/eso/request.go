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

// storesKnown reports whether a resync is of use. Before both kinds of stores are
// known it would be done twice, and while no store is Ready for nothing.
func (n *Controller) storesKnown() bool {
	clusters, spaces := n.watching[kindClusterStore], n.watching[kindStore]
	if !clusters.answered || !spaces.answered || clusters.refusal != nil && spaces.refusal != nil {
		return false
	}
	return len(n.tracked) == 0 || len(n.readyStores()) > 0
}

// resyncIn returns after how long another resync is to begin: never, unless one is due
// and possible.
func (n *Controller) resyncIn() time.Duration {
	if n.phase != unseal.Active || !n.resyncDue || !n.storesKnown() {
		return never
	}
	return max(0, time.Until(n.nextResync))
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
	n.resyncDue = false
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
