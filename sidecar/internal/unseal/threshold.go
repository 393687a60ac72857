package unseal

import (
	"context"
	"errors"
	"time"
)

const (
	// thresholdEvery is how often an open Vault is asked for its threshold.
	thresholdEvery = time.Minute
	// thresholdHolds is how long the answer is believed. A rekey changes it
	// under the mounted key.
	thresholdHolds = 3 * time.Minute
)

// thresholdQuery asks an open Vault for its threshold.
type thresholdQuery struct {
	call      *call     // in flight
	notBefore time.Time // the next
}

// askThreshold asks an open Vault for its seal status now and then, and when it
// gets active or other keys are mounted: its probes ask for its health alone.
// A standby is not asked. It keeps what it read when it was opened
// (vault/seal.go, BarrierConfig).
func (l *Loop) askThreshold(now time.Time) {
	if l.phase != Active {
		l.threshold.call.drop()
		l.threshold.call = nil
		return
	}
	due := now.Sub(l.prober.statusAt) >= thresholdEvery || l.prober.statusAt.Before(l.since) || l.prober.statusAt.Before(l.keys.changedAt)
	if !due || l.threshold.call != nil || now.Before(l.threshold.notBefore) {
		return
	}
	l.threshold.call = l.start(now, func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, thresholdEvery)
		defer cancel()
		s, err := l.Vault.SealStatus(ctx)
		return func() { l.handleThreshold(now, s, err) }
	})
}

func (l *Loop) handleThreshold(asked time.Time, s SealStatus, err error) {
	l.threshold.call = nil
	if errors.Is(err, ErrNotVault) {
		l.forgetProcess()
	}
	if err != nil || s.Sealed { // the probes tell
		l.threshold.notBefore = time.Now().Add(thresholdEvery)
		return
	}
	l.prober.status, l.prober.statusAt = s, asked
}

// checkShortfall tells when the mounted shares could not open Vault, however they
// are combined. That is said only of a threshold that was asked for after they
// were mounted: a rotation changes Vault first and then takes out the old ones.
func (l *Loop) checkShortfall(now time.Time) {
	lack, judged := l.keys.shortfall, false
	switch {
	case l.keys.problem != "" || !ours(l.prober.status) || now.Sub(l.prober.statusAt) > thresholdHolds:
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
