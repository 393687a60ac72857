package unseal

import (
	"strings"
	"time"
)

// readKeys looks now and then whether the mounted keys changed. They are read
// for a threshold: which of them are of one key shows in the shares alone.
func (l *Loop) readKeys(now time.Time) {
	other := l.keys.read && l.keys.threshold != l.prober.status.Threshold
	if now.Before(l.keys.next.Add(-keysEarly)) && !other {
		return
	}
	l.keys.next = now.Add(keysInterval)
	if other || !l.keys.read || l.Keys.Stamp() != l.keys.stamp {
		l.loadKeys(l.sender.attempt != nil)
	}
}

// loadKeys reads the mounted keys, says what is new about them, and wipes
// them again unless they are to be sent.
func (l *Loop) loadKeys(keep bool) {
	version := l.keys.version
	changed := l.keys.load(l.Keys, l.prober.status.Threshold, l.saved.memory.fingerprint)
	if !keep {
		l.keys.wipe()
	}
	if version != l.keys.version {
		l.sender.confirmation, l.sender.recheck, l.sender.notBefore = confirmation{}, recheck{}, time.Time{}
		if version != "" {
			l.Meter.KeysChanged()
		}
	}
	if !changed {
		return
	}
	l.keys.changedAt, l.keys.shortfall = time.Now(), ""
	if l.keys.problem != "" {
		l.Log.Warn(msgKeysProblem, keyError, l.keys.problem)
	} else {
		l.Log.Info(msgKeysLoaded, keyShares, len(l.keys.lengths))
	}
	l.logRemarks()
	l.publish()
}

// logRemarks tells what is mounted beside the shares. A problem names it too,
// but a token is told in any case.
func (l *Loop) logRemarks() {
	var tokens, others []string
	for _, r := range l.keys.remarks {
		if r.Token {
			tokens = append(tokens, r.String())
		} else {
			others = append(others, r.String())
		}
	}
	if len(tokens) > 0 {
		l.Log.Warn(msgToken, keyEntries, strings.Join(tokens, "; "), keyAdvice, adviceToken)
	}
	if len(others) > 0 && l.keys.problem == "" {
		l.Log.Warn(msgNoShare, keyEntries, strings.Join(others, "; "))
	}
}

func (l *Loop) released() bool {
	h := l.saved.memory.Held
	return h != nil && h.Process == l.process.current && l.keys.version != "" && l.keys.version != h.Keys
}

// scope is what a refusal now would speak of.
func (l *Loop) scope() Scope {
	return Scope{Process: l.process.current, Keys: l.keys.version, Threshold: l.prober.status.Threshold, Shares: l.prober.status.Shares}
}

// pick chooses the next combination. There is none, and the keys are usable, when
// all that is left was refused once and has to be seen again.
func (l *Loop) pick() ([]int, KeyState, string) {
	scope := l.scope()
	combination, state, reason := l.keys.pick(func(c []int) bool {
		return l.saved.memory.Refused.has(scope, c) || l.sender.confirmation.now.has(scope, c)
	})
	if state == KeysRejected && l.sender.confirmation.now.in(scope) {
		return nil, KeysUsable, ""
	}
	return combination, state, reason
}
