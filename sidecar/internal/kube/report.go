package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Report is what is known of Kubernetes, for a person to read.
type Report struct {
	// What the condition of External Secrets says: True, False or Unknown, the
	// reason and the message. Empty while too little is known.
	Status, Reason, Message string

	Stores    []StoreReport // those that are looked after, in the order of their names
	LeftCount int           // objects that were not synced at the newest look
	Left      []string      // the first of them, with ESO's own errors
	Image     string        // of our own container, by its digest, as the pod tells; "" unknown
}

// StoreReport is what is known of a store.
type StoreReport struct {
	Name            string // with its kind
	Ready           bool
	Reason, Message string // of its Ready condition
}

// tell changes the report and hands it on.
func (k *Kube) tell(change func(*Report)) {
	if k.config.Report == nil {
		return
	}
	k.reporting.Lock()
	defer k.reporting.Unlock()
	change(&k.report)
	k.config.Report(k.report)
}

// fill takes over what the controller knows. It makes new lists: the old ones may
// be read at the same time.
func (n *controller) fill(r *Report, c condition) {
	r.Status, r.Reason, r.Message = c.Status, c.Reason, c.Message
	r.Stores, r.Left, r.LeftCount = nil, nil, 0
	for _, name := range n.names() {
		p := n.tracked[name]
		r.Stores = append(r.Stores, StoreReport{Name: name.String(), Ready: p.ready(), Reason: p.reason, Message: p.message})
	}
	if n.found != nil {
		r.Left, r.LeftCount = n.found.left, n.found.leftCount
	}
}

// names lists the stores in order.
func (n *controller) names() []StoreName {
	return slices.SortedFunc(maps.Keys(n.tracked), func(a, b StoreName) int { return strings.Compare(a.String(), b.String()) })
}

// evictedBefore tells what an earlier run of ours did in the same outage. The
// condition in the pod is its memory.
func (n *controller) evictedBefore() bool {
	if n.epoch > 1 || n.kube.pod == nil {
		return false
	}
	before := n.kube.pod.before(SecretsCondition).Reason
	return before == reasonEvicted || before == reasonNotReady
}

// took takes what a look has found.
func (n *controller) took(f findings) {
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
		n.event(event{eventNotRecovering, true, c.Message})
	} else if f.leftCount == 0 && (f.touched > 0 || told > 0) {
		n.log.Info(msgRecovered, keyCount, f.touched, keyTook, short(f.took))
		if told == 0 && n.worst().Type == "" { // else it took a person, or is not all yet
			n.log.Reached(stepObjects, f.took)
		}
		n.event(event{eventRecovered, false, c.Message})
	}
}

// The reasons of SecretsCondition that tell a later run of an eviction.
const (
	reasonEvicted  = "ControllerEvicted"
	reasonNotReady = "StoreNotReady"
)

func tells(status, reason, message string) condition {
	return condition{SecretsCondition, status, safetext.Line(reason, maxReason), safetext.Line(message, maxOurs)}
}

// condition tells of ESO, the worst first. It is the zero one as long as too
// little is known.
func (n *controller) condition() condition {
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
	return n.found.condition()
}

// worst tells of the store that is worst off; it is the zero one when all are
// Ready.
func (n *controller) worst() condition {
	var worst condition
	rank := 0
	for _, name := range n.names() {
		p := n.tracked[name]
		switch {
		case p.ready():
		case p.failureReported != "" && rank < 3:
			rank, worst = 3, tells(no, reasonNotReady, p.failureReported)
		case p.evicted != "" && rank < 2:
			rank, worst = 2, tells(no, reasonEvicted, fmt.Sprintf("%s did not get ready, and the controller was evicted: %s.", p, p.evicted))
		case rank < 1:
			rank, worst = 1, tells(no, "Recovering", p.String()+" is not ready yet, and woken.")
		}
	}
	return worst
}

// condition tells of what uses the stores, which are Ready.
func (f *findings) condition() condition {
	switch {
	case f.err != nil:
		text := sentence(fmt.Sprintf("what External Secrets failed to sync cannot be seen or woken: %v", said(f.err)))
		if apierrors.IsForbidden(f.err) {
			text += " Apply " + grantsSecrets + "."
		}
		return tells(unknown, string(apierrors.ReasonForError(f.err)), text)
	case f.leftCount == 0 && f.touched > 0:
		stores := ""
		if f.slowest > 0 {
			stores = "the last store was ready after " + short(f.slowest) + ", and "
		}
		return tells(yes, "Recovered", fmt.Sprintf("External Secrets has recovered: %s%s woken, synced within %s.",
			stores, several(f.touched, "object was", "objects were"), short(f.took)))
	case f.leftCount == 0:
		return tells(yes, "Ready", "The stores that use Vault are ready, and nothing that uses them has failed.")
	case f.final:
		return tells(no, "NotSynced", sentence(fmt.Sprintf("%s not synced, which is not the outage; the first: %s", several(f.leftCount, "object is", "objects are"), f.left[0])))
	}
	return tells(no, "Recovering", "What External Secrets failed to sync is being woken.")
}

func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}

func (n *controller) event(e event) {
	if n.kube.events != nil {
		n.kube.events.tell(e)
	}
}
