package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
	n.found = &f
	if !f.final {
		return
	}
	if c := f.condition(n.since); f.leftCount > 0 {
		n.log.Warn(msgLeft, keyCount, f.leftCount, keyLeft, f.left)
		n.event(event{eventNotRecovering, true, c.Message})
	} else if f.touched > 0 {
		n.log.Info(msgRecovered, keyCount, f.touched, keyTook, short(f.at.Sub(n.since)))
		n.event(event{eventRecovered, false, c.Message})
	}
}

// The reasons of SecretsCondition that tell a later run of an eviction.
const (
	reasonEvicted  = "ControllerEvicted"
	reasonNotReady = "StoreNotReady"
)

func tells(status, reason, message string) condition {
	return condition{SecretsCondition, status, reason, message}
}

// condition tells of ESO, the worst first. It is the zero one as long as too
// little is known.
func (n *nurse) condition() condition {
	switch {
	case n.phase == unseal.Starting:
		return condition{}
	case n.phase == unseal.Standby:
		return tells(unknown, "Standby", "Another replica is active: its sidecar looks after External Secrets.")
	case n.phase != unseal.Active:
		return tells(unknown, "WaitingForVault", "Vault does not serve: External Secrets is looked after when it does.")
	case n.watching[kindClusterStore].forbidden || n.watching[kindStore].forbidden:
		return tells(unknown, "Forbidden", "The stores of External Secrets cannot be seen: apply "+grantsStores+".")
	case n.noESO != "":
		return tells(unknown, "NotFound", "External Secrets Operator is not found: "+n.noESO+".")
	}
	if c := n.worst(); c.Type != "" {
		return c
	}
	switch {
	case n.config.Recovery == RecoveryRestart:
		return tells(yes, "Ready", "The stores that use Vault are ready.")
	case n.found == nil:
		return condition{}
	}
	return n.found.condition(n.since)
}

// worst tells of the store that is worst off; it is the zero one when all are
// Ready.
func (n *nurse) worst() condition {
	var worst condition
	rank := 0
	for _, name := range slices.SortedFunc(maps.Keys(n.patients), func(a, b StoreName) int { return strings.Compare(a.String(), b.String()) }) {
		p := n.patients[name]
		switch {
		case p.ready():
		case p.hopeless != "" && rank < 3:
			rank, worst = 3, tells(no, reasonNotReady, p.hopeless)
		case p.evicted != "" && rank < 2:
			rank, worst = 2, tells(no, reasonEvicted, fmt.Sprintf("%s did not get ready, and the controller was evicted: %s.", p, p.evicted))
		case rank < 1:
			rank, worst = 1, tells(no, "Recovering", p.String()+" is not ready yet, and woken.")
		}
	}
	return worst
}

// condition tells of what uses the stores, which are Ready. since is when
// Vault became active.
func (f *findings) condition(since time.Time) condition {
	switch {
	case f.err != nil:
		text := sentence(fmt.Sprintf("what External Secrets failed to sync cannot be seen or woken: %v", f.err))
		if apierrors.IsForbidden(f.err) {
			text += " Apply " + grantsSecrets + "."
		}
		return tells(unknown, string(apierrors.ReasonForError(f.err)), text)
	case f.leftCount == 0 && f.touched > 0:
		return tells(yes, "Recovered", fmt.Sprintf("External Secrets has recovered: %d objects were woken, all were synced within %s.",
			f.touched, short(f.at.Sub(since))))
	case f.leftCount == 0:
		return tells(yes, "Ready", "The stores that use Vault are ready, and nothing that uses them has failed.")
	case f.final:
		return tells(no, "NotSynced", sentence(fmt.Sprintf("%d objects are not synced, which is not the outage; the first: %s", f.leftCount, f.left[0])))
	}
	return tells(no, "Recovering", "What External Secrets failed to sync is being woken.")
}

func (n *nurse) event(e event) {
	if n.kube.events != nil {
		n.kube.events.tell(e)
	}
}
