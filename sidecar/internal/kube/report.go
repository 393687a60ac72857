package kube

import (
	"fmt"
	"maps"
	"slices"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// evictedBefore tells what an earlier run of ours did in the same outage. The
// condition in the pod is its memory.
func (n *nurse) evictedBefore() bool {
	if n.epoch > 1 || n.kube.pod == nil {
		return false
	}
	before := n.kube.pod.before(SecretsCondition).Reason
	return before == reasonEvicted || before == reasonNotReady
}

// took takes what a look has found.
func (n *nurse) took(f findings) {
	if n.phase != unseal.Active || f.epoch != n.epoch {
		return
	}
	down := slices.ContainsFunc(slices.Collect(maps.Values(n.patients)), func(p *patient) bool { return !p.ready() })
	tell := func(status, reason, message string) {
		if !down { // a store that is not ready is told of already
			n.tell(status, reason, message)
		}
	}
	switch {
	case f.err != nil:
		tell(unknown, "Forbidden", "What External Secrets failed to sync cannot be seen or woken: apply "+grantsSecrets+".")
	case f.leftCount == 0 && f.touched > 0:
		took := short(f.at.Sub(n.since))
		n.log.Info(msgRecovered, keyCount, f.touched, keyTook, took)
		text := fmt.Sprintf("External Secrets has recovered: %d objects were woken, all were synced within %s.", f.touched, took)
		tell(yes, "Recovered", text)
		n.event(event{eventRecovered, false, text})
	case f.leftCount == 0:
		tell(yes, "Ready", "The stores that use Vault are ready, and nothing that uses them has failed.")
	case f.final:
		text := sentence(fmt.Sprintf("%d objects are not synced, which is not the outage; the first: %s", f.leftCount, f.left[0]))
		n.log.Warn(msgLeft, keyCount, f.leftCount, keyLeft, f.left)
		tell(no, "NotSynced", text)
		n.event(event{eventNotRecovering, true, text})
	default:
		tell(no, "Recovering", "What External Secrets failed to sync is being woken.")
	}
}

// The reasons of SecretsCondition that tell a later run of an eviction.
const (
	reasonEvicted  = "ControllerEvicted"
	reasonNotReady = "StoreNotReady"
)

// tell sets the condition that tells of ESO.
func (n *nurse) tell(status, reason, message string) {
	if n.kube.pod != nil {
		n.kube.pod.want(condition{SecretsCondition, status, reason, message})
	}
}

func (n *nurse) event(e event) {
	if n.kube.events != nil {
		n.kube.events.tell(e)
	}
}
