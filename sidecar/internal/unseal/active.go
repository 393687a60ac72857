package unseal

import (
	"context"
	"errors"
	"time"
)

// storageProbe is whether an active Vault's storage serves, as far as it was looked.
type storageProbe struct {
	state     StorageState
	call      *call     // in flight
	notBefore time.Time // the next
	failures  int       // calls in a row that ended in an error
	due       time.Time // when to look again, with Config.StorageProbe
}

func (l *Loop) storageState(now time.Time) StorageState {
	switch {
	case l.prober.answer != AnswerActive:
		l.storage.call.drop()
		l.storage = storageProbe{}
	case l.storage.call.overdue(now):
		l.storage.state = StorageSilent
	case l.storage.state == StorageServes && l.StorageProbe > 0 && !now.Before(l.storage.due):
		l.storage.state = StorageUnknown
	}
	return l.storage.state
}

func (l *Loop) checkStorage(now time.Time) {
	l.storage.call = l.start(now, func(ctx context.Context) func() {
		err := l.Vault.ReadStorage(ctx)
		return func() { l.handleStorageRead(err) }
	})
}

func (l *Loop) handleStorageRead(err error) {
	l.storage.call = nil
	if errors.Is(err, ErrNotVault) {
		l.forgetProcess()
	}
	now := time.Now()
	switch {
	case err == nil:
		l.storage.state, l.storage.failures = StorageServes, 0
		l.storage.due = now.Add(jitter(l.StorageProbe-l.StorageProbe/10, l.StorageProbe/5, random()))
	case errors.Is(err, ErrUnreachable):
		l.storage.state, l.storage.notBefore, l.prober.next = StorageUnknown, now.Add(extraProbeInterval), now
	default:
		l.storage.failures++
		l.storage.state, l.trouble, l.withheld = StorageErrors, err.Error(), errors.Is(err, ErrWithheld)
		l.storage.notBefore = now.Add(failureInterval(l.storage.failures, random()))
	}
}

// askThreshold asks an open Vault for its seal status now and then, and when it
// gets active or other keys are mounted: its probes ask for its health alone.
// A standby is not asked. It keeps what it read when it was opened
// (vault/seal.go, BarrierConfig).
func (l *Loop) askThreshold(now time.Time) {
	if l.phase != Active {
		l.prober.statusCall.drop()
		l.prober.statusCall = nil
		return
	}
	last := l.prober.statusAsked
	due := now.Sub(last) >= thresholdEvery || last.Before(l.since) || last.Before(l.keys.changedAt)
	if !due || l.prober.statusCall != nil {
		return
	}
	l.prober.statusAsked = now
	l.prober.statusCall = l.start(now, func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, thresholdEvery)
		defer cancel()
		s, err := l.Vault.SealStatus(ctx)
		return func() {
			l.prober.statusCall = nil
			if errors.Is(err, ErrNotVault) {
				l.forgetProcess()
			}
			if err == nil && !s.Sealed { // otherwise the probes tell
				l.prober.status, l.prober.statusAt = s, now
			}
		}
	})
}

// checkShortfall reports when the mounted shares could not open Vault, however they
// are combined. That is said only of a threshold that was asked for after they
// were mounted: a rotation changes Vault first and then takes out the old ones.
func (l *Loop) checkShortfall(now time.Time) {
	lack, judged := l.keys.shortfall, false
	switch {
	case l.keys.problem != "", leftAloneReason(l.prober.status) != "", now.Sub(l.prober.statusAt) > thresholdHolds:
		lack = ""
	case l.prober.statusAt.Before(l.keys.changedAt):
	case l.prober.answer == AnswerSealed, l.phase == Active && !l.prober.statusAt.Before(l.since):
		lack, judged = l.keys.shortOf(l.prober.status.Threshold), true
	}
	if lack == l.keys.shortfall {
		return
	}
	l.keys.shortfall = lack
	switch {
	case !l.phase.unsealed(): // the phase says it
	case lack != "":
		l.Log.Warn(msgKeysProblem, keyError, lack)
	case judged:
		l.Log.Info(msgKeysLoaded, keyShares, len(l.keys.lengths))
	}
	l.publish()
}
