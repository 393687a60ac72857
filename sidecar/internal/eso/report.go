package eso

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// known is what is known of External Secrets, for a person to read.
func (n *Controller) known(c kube.Condition) status.ExternalSecrets {
	e := status.ExternalSecrets{Status: c.Status, Reason: c.Reason, Message: c.Message}
	for _, name := range n.names() {
		p := n.tracked[name]
		e.Stores = append(e.Stores, status.Store{Name: name.String(), Ready: p.Ready(), Reason: p.Reason, Message: p.Message})
	}
	if n.found != nil {
		e.Left, e.LeftCount = n.found.left, n.found.leftCount
	}
	return e
}

// names lists the stores in order.
func (n *Controller) names() []StoreName {
	return slices.SortedFunc(maps.Keys(n.tracked), func(a, b StoreName) int { return strings.Compare(a.String(), b.String()) })
}

// evictedBefore tells what an earlier run of ours did in the same outage. The
// condition in the pod is its memory.
func (n *Controller) evictedBefore() bool {
	if n.epoch > 1 {
		return false
	}
	before := n.pod.Before(podstatus.SecretsCondition).Reason
	return before == reasonEvicted || before == reasonNotReady
}

// took takes what a look has found.
func (n *Controller) took(f findings) {
	if n.phase != unseal.Active || f.epoch != n.epoch {
		return
	}
	if f.mending && n.worst().Type != "" {
		return // a store is down, and with it more than anybody has to mend
	}
	told := 0 // how many were left when that was last told of
	if n.found != nil && n.found.final {
		told = n.found.leftCount
	}
	f.took, f.slowest = f.at.Sub(n.since), n.slowest
	n.found = &f
	if !f.final {
		return
	}
	n.settled = true
	if c := f.condition(); f.leftCount > 0 && f.leftCount != told {
		n.log.Warn(msgLeft, keyCount, f.leftCount, keyLeft, f.left)
		n.pod.Tell(podstatus.Event{Reason: podstatus.EventNotRecovering, Warning: true, Message: c.Message})
	} else if f.leftCount == 0 && (f.touched > 0 || told > 0) {
		n.log.Info(msgRecovered, keyCount, f.touched, keyTook, kube.Short(f.took))
		if told == 0 && n.worst().Type == "" { // else it took a person, or is not all yet
			n.log.Reached(kube.StepObjects, f.took)
		}
		n.pod.Tell(podstatus.Event{Reason: podstatus.EventRecovered, Warning: false, Message: c.Message})
	}
}

// The reasons of SecretsCondition that tell a later run of an eviction.
const (
	reasonEvicted  = "ControllerEvicted"
	reasonNotReady = "StoreNotReady"
)

func tells(status, reason, message string) kube.Condition {
	return kube.Condition{Type: podstatus.SecretsCondition, Status: status, Reason: safetext.Line(reason, kube.MaxReason), Message: safetext.Line(message, kube.MaxOurs)}
}

// condition tells of ESO, the worst first. It is the zero one as long as too
// little is known.
func (n *Controller) condition() kube.Condition {
	switch {
	case n.phase == unseal.Starting:
		return kube.Condition{}
	case n.phase == unseal.Standby:
		return tells(kube.Unknown, "Standby", "Another replica is active: its sidecar looks after External Secrets.")
	case n.phase != unseal.Active:
		return tells(kube.Unknown, "WaitingForVault", "Vault does not serve: External Secrets is looked after when it does.")
	case n.watching[kindClusterStore].forbidden || n.watching[kindStore].forbidden:
		return tells(kube.Unknown, "Forbidden", "The stores of External Secrets cannot be seen: apply "+kube.GrantsStores+".")
	case n.noESO != "":
		return tells(kube.Unknown, "NotFound", "External Secrets Operator is not found: "+n.noESO+".")
	}
	if c := n.worst(); c.Type != "" {
		return c
	}
	switch {
	case n.config.Recovery == RecoveryRestart:
		return tells(kube.True, "Ready", "The stores that use Vault are ready.")
	case n.found == nil:
		return kube.Condition{}
	}
	return n.found.condition()
}

// worst tells of the store that is worst off; it is the zero one when all are
// Ready.
func (n *Controller) worst() kube.Condition {
	var worst kube.Condition
	rank := 0
	for _, name := range n.names() {
		p := n.tracked[name]
		switch {
		case p.Ready():
		case p.failureReported != "" && rank < 3:
			rank, worst = 3, tells(kube.False, reasonNotReady, p.failureReported)
		case p.evicted != "" && rank < 2:
			rank, worst = 2, tells(kube.False, reasonEvicted, fmt.Sprintf("%s did not get ready, and the controller was evicted: %s.", p, p.evicted))
		case rank < 1:
			rank, worst = 1, tells(kube.False, "Recovering", p.String()+" is not ready yet, and woken.")
		}
	}
	return worst
}

// condition tells of what uses the stores, which are Ready.
func (f *findings) condition() kube.Condition {
	switch {
	case f.err != nil:
		text := podstatus.Sentence(fmt.Sprintf("what External Secrets failed to sync cannot be seen or woken: %v", kube.Said(f.err)))
		if apierrors.IsForbidden(f.err) {
			text += " Apply " + kube.GrantsSecrets + "."
		}
		return tells(kube.Unknown, string(apierrors.ReasonForError(f.err)), text)
	case f.leftCount == 0 && f.touched > 0:
		stores := ""
		if f.slowest > 0 {
			stores = "the last store was ready after " + kube.Short(f.slowest) + ", and "
		}
		return tells(kube.True, "Recovered", fmt.Sprintf("External Secrets has recovered: %s%s woken, synced within %s.",
			stores, several(f.touched, "object was", "objects were"), kube.Short(f.took)))
	case f.leftCount == 0:
		return tells(kube.True, "Ready", "The stores that use Vault are ready, and nothing that uses them has failed.")
	case f.final:
		return tells(kube.False, "NotSynced", podstatus.Sentence(fmt.Sprintf("%s not synced, which is not the outage; the first: %s", several(f.leftCount, "object is", "objects are"), f.left[0])))
	}
	return tells(kube.False, "Recovering", "What External Secrets failed to sync is being woken.")
}

func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}
