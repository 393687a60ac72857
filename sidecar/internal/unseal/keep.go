package unseal

import (
	"slices"
	"strings"
	"time"
)

// readKeys looks now and then whether the mounted keys changed. They are read
// for a threshold: which of them are of one key shows in the shares alone.
func (l *Loop) readKeys(now time.Time) {
	other := l.ring.read && l.ring.threshold != l.status.Threshold
	if now.Before(l.nextKeys.Add(-keysEarly)) && !other {
		return
	}
	l.nextKeys = now.Add(keysEvery)
	if other || !l.ring.read || l.Keys.Stamp() != l.ring.stamp {
		l.loadKeys(l.attempt != nil)
	}
}

// loadKeys reads the mounted keys, says what is new about them, and wipes
// them again unless they are to be sent.
func (l *Loop) loadKeys(keep bool) {
	stamp := l.Keys.Stamp()
	k := l.read()
	if k.err != nil && l.Keys.Stamp() != stamp { // replaced while it was read
		k = l.read()
	}
	version := l.ring.version
	changed := l.ring.set(stamp, k, l.status.Threshold, l.memory.fingerprint)
	if !keep {
		l.ring.wipe()
	}
	if version != l.ring.version {
		l.doubt, l.sendAt = doubt{}, time.Time{}
		if version != "" {
			l.Meter.KeysChanged()
		}
	}
	if !changed {
		return
	}
	l.keysAt, l.lack = time.Now(), ""
	if k.err != nil {
		l.Log.Warn(msgKeysProblem, keyError, k.err)
	} else {
		l.Log.Info(msgKeysLoaded, keyShares, len(l.ring.lengths))
	}
	l.remark(k)
	l.publish()
}

func (l *Loop) read() (k read) {
	k.shares, k.remarks, k.err = l.Keys.Read()
	return k
}

// remark tells what is mounted beside the shares. An error has told it, but for
// what is told in any case.
func (l *Loop) remark(k read) {
	var tokens, others []string
	for _, r := range k.remarks {
		if r.Token {
			tokens = append(tokens, r.String())
		} else {
			others = append(others, r.String())
		}
	}
	if len(tokens) > 0 {
		l.Log.Warn(msgToken, keyEntries, strings.Join(tokens, "; "), keyAdvice, adviceToken)
	}
	if len(others) > 0 && k.err == nil {
		l.Log.Warn(msgNoShare, keyEntries, strings.Join(others, "; "))
	}
}

func (l *Loop) released() bool {
	h := l.memory.Held
	return h != nil && h.Process == l.process && l.ring.version != "" && l.ring.version != h.Keys
}

// scope is what a refusal now would speak of.
func (l *Loop) scope() Scope {
	return Scope{Process: l.process, Keys: l.ring.version, Threshold: l.status.Threshold, Shares: l.status.Shares}
}

func (l *Loop) pick() ([]int, KeyState, string) {
	scope := l.scope()
	combination, state, reason := l.ring.pick(func(c []int) bool {
		return l.memory.Refused.has(scope, c) || l.doubt.now.has(scope, c)
	})
	if state == KeysRejected && l.doubt.now.in(scope) {
		return nil, KeysUsable, "" // each has to be seen again
	}
	return combination, state, reason
}

// recall loads the memory of an earlier run.
func (l *Loop) recall() {
	if err := l.Store.Load(&l.memory); err != nil {
		l.memory = Memory{}
		l.Log.Warn(msgMemoryLost, keyError, err)
	}
	if l.memory.Unsealed == "" {
		l.Log.Info(msgNoMemory)
	}
	l.memory.History = slices.DeleteFunc(l.memory.History, func(r *Recovery) bool { return r == nil || len(r.Steps) == 0 })
	l.timeline.history = l.memory.History[:min(len(l.memory.History), maxHistory)]
}

// save keeps the memory, and says once when it cannot.
func (l *Loop) save() {
	err := l.Store.Save(l.memory.lasting())
	if err != nil && !l.saveFailed {
		l.Log.Warn(msgMemoryLost, keyError, err)
	}
	l.saveFailed, l.saveAgain = err != nil, time.Now().Add(saveEvery)
}

// opened takes note that these keys opened Vault. It is saved with the process
// that they opened.
func (l *Loop) opened(keys string) {
	l.memory.Opened, l.allSent = &Opened{At: time.Now().UTC(), Keys: keys}, ""
}
