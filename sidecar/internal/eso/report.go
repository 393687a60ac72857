package eso

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// snapshot is what is known of External Secrets, for a person to read.
func (n *Controller) snapshot(c kube.Condition) status.ExternalSecrets {
	e := status.ExternalSecrets{Status: c.Status, Reason: c.Reason, Message: c.Message}
	for _, name := range n.storeNames() {
		p := n.tracked[name]
		if p.Status == "" {
			continue // nobody looks after it
		}
		e.Stores = append(e.Stores, status.Store{Name: name.String(), Ready: p.Ready(), Reason: p.Reason, Message: p.Message})
	}
	if n.scan != nil {
		e.Left, e.LeftCount = n.scan.unsynced, n.scan.unsyncedCount
	}
	return e
}

// storeNames lists the stores in order.
func (n *Controller) storeNames() []StoreName {
	return slices.SortedFunc(maps.Keys(n.tracked), func(a, b StoreName) int { return strings.Compare(a.String(), b.String()) })
}

// handleScan takes what a scan has found. While a store is down, more fails than anybody has to
// mend: that is not logged, but what was logged before may be mended, whatever store stays down.
func (n *Controller) handleScan(f scanResult) {
	down := n.worstStore().Type != ""
	f.took, f.slowest = f.at.Sub(n.since), n.slowestStore
	n.scan = &f
	if !f.final {
		n.leftLogged = 0
		return
	}
	switch {
	case down && f.afterResync && f.unsyncedCount >= max(1, n.leftLogged),
		down && !f.afterResync && !n.storesKnown():
		return
	case down && f.afterResync: // the resync of that store is to come
	default:
		n.resyncDone, n.outageOver = true, true
		for _, p := range n.tracked { // what fails these later is something else
			p.readyAfterOutage = p.readyAfterOutage || p.Ready()
		}
	}
	told := n.leftLogged
	n.leftLogged = f.unsyncedCount
	if c := f.condition(n.log.Rights); f.unsyncedCount > 0 && f.unsyncedCount != told {
		n.log.Warn(msgLeft, keyCount, f.unsyncedCount, keyLeft, f.unsynced)
		n.pod.RecordEvent(podstatus.Event{Reason: podstatus.EventNotRecovering, Warning: true, Message: c.Message})
	} else if f.unsyncedCount == 0 && (f.resynced > 0 || told > 0) {
		n.log.Info(msgRecovered, keyCount, f.resynced, keyTook, kube.Short(f.took))
		if told == 0 && !down { // else it took a person, or is not all yet
			n.log.Reached(kube.StepObjects, f.took)
		}
		n.pod.RecordEvent(podstatus.Event{Reason: podstatus.EventRecovered, Warning: false, Message: c.Message})
	}
}

func esoCondition(status, reason, message string) kube.Condition {
	return kube.Condition{Type: podstatus.SecretsCondition, Status: status, Reason: safetext.Line(reason, kube.MaxReason), Message: safetext.Line(message, kube.MaxOwnText)}
}

// condition reports how ESO is, the worst first. It is the zero one as long as too
// little is known.
func (n *Controller) condition() kube.Condition {
	refusal := n.watching[kindClusterStore].refusal
	if other := n.watching[kindStore].refusal; apierrors.IsForbidden(other) {
		refusal = other
	}
	switch {
	case n.phase == unseal.Starting:
		return kube.Condition{}
	case n.phase == unseal.Standby:
		return esoCondition(kube.Unknown, "Standby", "Another replica is active: its sidecar manages External Secrets.")
	case n.phase != unseal.Active:
		return esoCondition(kube.Unknown, "WaitingForVault", "Vault does not serve yet: External Secrets is resynced once it does.")
	case apierrors.IsForbidden(refusal):
		return esoCondition(kube.Unknown, "Forbidden", "The stores of External Secrets cannot be listed: "+n.log.RefusedTo(refusal).Apply(kube.GrantsStores)+".")
	case n.noESO != "":
		return esoCondition(kube.Unknown, "NotFound", "External Secrets Operator is not found: "+n.noESO+".")
	}
	if c := n.worstStore(); c.Type != "" {
		return c
	}
	switch {
	case n.config.Recovery == RecoveryRestart:
		return esoCondition(kube.True, "Ready", "The stores that use Vault are ready.")
	case n.scan == nil:
		return kube.Condition{}
	}
	return n.scan.condition(n.log.Rights)
}

// worstStore reports the store that is worst off; it is the zero condition when all are
// Ready.
func (n *Controller) worstStore() kube.Condition {
	var worst kube.Condition
	rank := 0
	for _, name := range n.storeNames() {
		p := n.tracked[name]
		switch {
		case !p.Down():
		case p.failureReported != "" && rank < 3:
			rank, worst = 3, esoCondition(kube.False, "StoreNotReady", p.failureReported)
		case p.evictedPods != "" && rank < 2:
			rank, worst = 2, esoCondition(kube.False, "ControllerEvicted", fmt.Sprintf("%s did not become Ready, and the controller was evicted: %s.", p, p.evictedPods))
		case rank < 1:
			rank, worst = 1, esoCondition(kube.False, "Recovering", p.String()+" is not Ready yet.")
		}
	}
	return worst
}

// condition reports what uses the stores, which are Ready.
func (f *scanResult) condition(r kube.Rights) kube.Condition {
	switch {
	case f.err != nil:
		text := podstatus.Sentence(fmt.Sprintf("what External Secrets failed to sync cannot be listed or resynced: %v", kube.SafeError(f.err)))
		if apierrors.IsForbidden(f.err) {
			text += " " + podstatus.Sentence(r.RefusedTo(f.err).Apply(kube.GrantsSecrets))
		}
		return esoCondition(kube.Unknown, string(apierrors.ReasonForError(f.err)), text)
	case f.unsyncedCount == 0 && f.resynced > 0:
		stores := ""
		if f.slowest > 0 {
			stores = "the last store was ready after " + kube.Short(f.slowest) + ", and "
		}
		return esoCondition(kube.True, "Recovered", fmt.Sprintf("External Secrets has recovered: %s%s resynced within %s.",
			stores, plural(f.resynced, "object was", "objects were"), kube.Short(f.took)))
	case f.unsyncedCount == 0:
		return esoCondition(kube.True, "Ready", "The stores that use Vault are ready, and nothing that uses them has failed.")
	case f.final:
		return esoCondition(kube.False, "NotSynced", podstatus.Sentence(fmt.Sprintf("%s still not synced, not caused by the outage; the first: %s", plural(f.unsyncedCount, "object is", "objects are"), f.unsynced[0])))
	}
	return esoCondition(kube.False, "Recovering", "A resync of what External Secrets failed to sync is under way.")
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}
