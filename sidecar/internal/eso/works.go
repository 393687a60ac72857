package eso

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// hasWorked reports whether a store is Ready that ESO has looked at since Vault is
// active.
func (n *Controller) hasWorked(name StoreName) bool {
	p := n.tracked[name]
	return p != nil && p.Ready() && p.workedInOutage == n.outageID
}

// workingStore names a store of this Vault other than p that is Ready and that ESO
// has looked at since Vault is active; the zero name when there is none. What then
// fails p is its own, and no restart of ESO mends it: anybody may write a store
// that never gets ready. That a store is Ready alone may be from before the
// outage, of an ESO that is stuck.
func (n *Controller) workingStore(ctx context.Context, p *storeState, ours func(Store) bool) (StoreName, error) {
	ready := map[StoreName]bool{}
	for _, name := range n.storeNames() {
		other := n.tracked[name]
		if other == p || !other.Ready() || !ours(other.Store) {
			continue
		}
		if n.hasWorked(name) {
			return name, nil
		}
		ready[name] = true
	}
	if len(ready) == 0 {
		return StoreName{}, nil
	}
	outage, since := n.outageID, n.phaseSince
	var name StoreName
	var err error
	n.unlocked(func() { name, err = n.storeSyncedFrom(ctx, ready, since) })
	if p := n.tracked[name]; p != nil && n.outageID == outage {
		p.workedInOutage = outage
	}
	return name, err
}

// storeSyncedFrom returns one of the stores from which ESO has synced an ExternalSecret
// since Vault is active. What may not be seen is not there.
func (n *Controller) storeSyncedFrom(ctx context.Context, stores map[StoreName]bool, since time.Time) (found StoreName, err error) {
	_, err = kube.EachObject(ctx, n.api.Resource(ExternalSecrets), metav1.ListOptions{}, func(o *unstructured.Unstructured) bool {
		ref, _, _ := unstructured.NestedMap(o.Object, "spec", "secretStoreRef")
		name := storeRefOf(ref, o.GetNamespace())
		if stores[name] && ReadyOf(o).Status == kube.True && refreshedAt(o).After(since) {
			found = name
		}
		return found == StoreName{}
	})
	if kube.IsForbiddenOrNotFound(err) {
		err = nil
	}
	return found, err
}

// refreshedAt is when ESO last synced an ExternalSecret; zero when it never did.
func refreshedAt(o *unstructured.Unstructured) time.Time {
	text, _, _ := unstructured.NestedString(o.Object, "status", "refreshTime")
	at, _ := time.Parse(time.RFC3339, text)
	return at
}
