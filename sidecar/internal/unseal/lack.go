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

// askThreshold asks an open Vault for its seal status now and then, and when it
// gets active or other keys are mounted: its probes ask for its health alone.
// A standby is not asked. It keeps what it read when it was opened
// (vault/seal.go, BarrierConfig).
func (l *Loop) askThreshold(now time.Time) {
	if l.phase != Active {
		if l.asking != nil {
			l.asking.cancel()
			l.asking = nil
		}
		return
	}
	due := now.Sub(l.statusAt) >= thresholdEvery || l.statusAt.Before(l.since) || l.statusAt.Before(l.keysAt)
	if !due || l.asking != nil || now.Before(l.askAt) {
		return
	}
	c := &call{began: now}
	l.asking = c
	l.start(c, func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, thresholdEvery)
		defer cancel()
		s, err := l.Vault.SealStatus(ctx)
		return func() { l.tookThreshold(c, s, err) }
	})
}

func (l *Loop) tookThreshold(c *call, s SealStatus, err error) {
	if l.asking != c {
		return
	}
	l.asking = nil
	if errors.Is(err, ErrNotVault) {
		l.loseTrack()
	}
	if err != nil || s.Sealed { // the probes tell
		l.askAt = time.Now().Add(thresholdEvery)
		return
	}
	l.status, l.statusAt = s, c.began
}

// judgeKeys tells when the mounted shares could not open Vault, however they
// are combined. That is said only of a threshold that was asked for after they
// were mounted: a rotation changes Vault first and then takes out the old ones.
func (l *Loop) judgeKeys(now time.Time) {
	lack, judged := l.lack, false
	switch {
	case l.ring.problem != "" || !ours(l.status) || now.Sub(l.statusAt) > thresholdHolds:
		lack = ""
	case l.statusAt.Before(l.keysAt):
	case l.seen == AnswerSealed, l.phase == Active && !l.statusAt.Before(l.since):
		lack, judged = l.ring.lack(l.status.Threshold), true
	}
	if lack == l.lack {
		return
	}
	l.lack = lack
	switch {
	case !l.phase.unsealed(): // the phase says it
	case lack != "":
		l.Log.Warn(msgKeysProblem, keyError, lack)
	case judged:
		l.Log.Info(msgKeysLoaded, keyShares, len(l.ring.lengths))
	}
	l.publish()
}
