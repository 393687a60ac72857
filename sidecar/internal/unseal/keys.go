package unseal

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// keySet is the mounted shares, in memory only while Vault is sealed, and what is
// known of them all the time.
type keySet struct {
	shares       []Share
	lengths      []int
	combinations [][]int  // worth a try, at this threshold
	threshold    int      // 0: it is not known
	remarks      []Remark // on what is mounted beside them
	version      string   // fingerprint of the last usable content
	problem      string   // why the mounted keys cannot be used now
	revision     string   // of the content last read
	read         bool     // that content has been read at least once

	next      time.Time // when they are looked at again
	changedAt time.Time // when something about them was last new
	shortfall string    // why they could not open Vault, by their number and lengths
}

// load reads what is mounted, for a threshold, and reports whether anything about
// it is new.
func (k *keySet) load(from Keys, threshold int, fingerprint func([]Share) string) (changed bool) {
	k.wipe()
	revision := from.Revision()
	shares, remarks, err := from.Read()
	if err != nil && from.Revision() != revision { // replaced while it was read
		shares, remarks, err = from.Read()
	}
	problem, version := "", k.version
	if err != nil {
		problem = err.Error()
	} else {
		k.shares, version = shares, fingerprint(shares)
		k.lengths, k.combinations = lengthsOf(shares), combinations(shares, threshold)
	}
	changed = !k.read || problem != k.problem || version != k.version || !slices.Equal(remarks, k.remarks)
	k.revision, k.read, k.threshold = revision, true, threshold
	k.problem, k.version, k.remarks = problem, version, remarks
	return changed
}

// wipe forgets the shares and keeps what is known of them.
func (k *keySet) wipe() {
	WipeAll(k.shares)
	k.shares = nil
}

// pick chooses the next combination, or says in state and reason why there is
// none.
func (k *keySet) pick(refused func([]int) bool) (combination []int, state KeyState, reason string) {
	if k.problem != "" {
		return nil, KeysUnusable, k.problem
	}
	if short := k.shortOf(k.threshold); short != "" {
		return nil, KeysUnusable, short
	}
	for _, c := range k.combinations {
		if !refused(c) {
			return c, KeysUsable, ""
		}
	}
	reason = fmt.Sprintf("%d combinations of %d mounted shares were tried", len(k.combinations), len(k.lengths))
	if k.threshold > 1 {
		reason += "; shares of other clients can cause this too, so they are sent again later"
	}
	return nil, KeysRejected, reason
}

// shortOf says why no combination of the shares can open a Vault of threshold t.
func (k *keySet) shortOf(t int) string {
	switch {
	case len(k.lengths) < max(1, t):
		return fmt.Sprintf("%d of the %d shares that the threshold needs are mounted", len(k.lengths), max(1, t))
	case t <= 0:
		return ""
	case len(byLength(k.lengths, t)) == 0 && t == 1:
		return "at threshold 1 the key has 16, 24 or 32 bytes, and no mounted share has: these are shares of a split key"
	case len(byLength(k.lengths, t)) == 0:
		return fmt.Sprintf("no %d of the mounted shares are of equal length: they are not of one key", t)
	case t == k.threshold && len(k.combinations) == 0:
		return fmt.Sprintf("no %d of the mounted shares are of one key that has this threshold", t)
	default:
		return ""
	}
}

// readKeys looks now and then whether the mounted keys changed. They are read
// for a threshold: which of them are of one key shows in the shares alone.
func (l *Loop) readKeys(now time.Time) {
	other := l.keys.read && l.keys.threshold != l.prober.status.Threshold
	if now.Before(l.keys.next.Add(-keysEarly)) && !other {
		return
	}
	l.keys.next = now.Add(keysInterval)
	if other || !l.keys.read || l.Keys.Revision() != l.keys.revision {
		l.loadKeys(l.sender.attempt != nil)
	}
}

// loadKeys reads the mounted keys, says what is new about them, and wipes
// them again unless they are to be sent.
func (l *Loop) loadKeys(keep bool) {
	version := l.keys.version
	changed := l.keys.load(l.Keys, l.prober.status.Threshold, l.saved.fingerprint)
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

// logRemarks logs what is mounted beside the shares. A problem names it too,
// but a token is logged in any case.
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
		l.Log.Warn(msgTokenMounted, keyEntries, strings.Join(tokens, "; "), keyAdvice, adviceToken)
	}
	if len(others) > 0 && l.keys.problem == "" {
		l.Log.Warn(msgNotShares, keyEntries, strings.Join(others, "; "))
	}
}

func (l *Loop) holdReleased() bool {
	h := l.saved.Hold
	return h != nil && h.Process == l.process.current && l.keys.version != "" && l.keys.version != h.Keys
}

// scope is what a refusal now would speak of.
func (l *Loop) scope() AttemptScope {
	return AttemptScope{Process: l.process.current, Keys: l.keys.version, Threshold: l.prober.status.Threshold, Shares: l.prober.status.Shares}
}

// pick chooses the next combination. There is none, and the keys are usable, when
// all that is left was refused once and has to be seen again.
func (l *Loop) pick() ([]int, KeyState, string) {
	scope := l.scope()
	combination, state, reason := l.keys.pick(func(c []int) bool {
		return l.saved.Rejected.has(scope, c) || l.sender.confirmation.now.has(scope, c)
	})
	if state == KeysRejected && l.sender.confirmation.now.in(scope) {
		return nil, KeysUsable, ""
	}
	return combination, state, reason
}
