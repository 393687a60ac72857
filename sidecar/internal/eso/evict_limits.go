package eso

import (
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

const (
	// evictionInterval is the least time between two evictions: each short outage, or
	// store that is made anew, would have one.
	evictionInterval = time.Hour
	// evictionRetry is the first wait after a refusal.
	evictionRetry = time.Minute
)

const whatEviction = "evicting the external-secrets controller"

// postponeEviction takes that ESO could not be evicted, because of whatever store.
func (n *Controller) postponeEviction(err error) {
	n.evictionErrors.Log(n.log, whatEviction, kube.GrantsEviction, err)
	n.waitForEviction()
}

// waitForEviction has no store ask again too soon: for each, much is listed.
func (n *Controller) waitForEviction() {
	wait := min(evictionRetry<<min(n.evictionFailures, 10), maxResyncInterval)
	n.evictionFailures++
	n.nextEviction = time.Now().Add(wait)
}

// Eviction is what a restart of the sidecar alone must not lose: when ESO's controller was
// evicted. A second time in an outage would help no more.
type Eviction struct {
	At         time.Time `json:"at,omitzero"`         // zero: it never was
	OutageOver bool      `json:"outageOver,omitzero"` // in which it was
}

// Memory keeps an Eviction. Losing it costs one eviction more.
type Memory interface {
	Load(into any) error
	Save(of any) error
}

// loadEviction takes over what an earlier run of ours did.
func (n *Controller) loadEviction() {
	if n.config.Memory == nil {
		return
	}
	if err := n.config.Memory.Load(&n.saved); err != nil {
		n.log.Debug(msgMemoryFails, keyError, err)
	}
	n.evicted = !n.saved.At.IsZero() && !n.saved.OutageOver
}

// mayEvict reports whether the limits allow an eviction. A time that is still to come is of
// a clock that was wrong.
func (n *Controller) mayEvict() bool {
	age := time.Since(n.saved.At)
	return !n.evicted && (age < 0 || age >= evictionInterval)
}

// saveOutageOver keeps that the outage of the newest eviction is over, which may be long
// before Vault is away again.
func (n *Controller) saveOutageOver() {
	if !n.saved.At.IsZero() && !n.saved.OutageOver {
		n.saveEviction(Eviction{At: n.saved.At, OutageOver: true})
	}
}

func (n *Controller) saveEviction(e Eviction) {
	n.saved = e
	if n.config.Memory == nil {
		return
	}
	if err := n.config.Memory.Save(e); err != nil {
		n.log.Debug(msgMemoryFails, keyError, err)
	}
}
