package unseal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// SavedState is what a restart of the sidecar alone must not forget. It holds no
// secret: keys appear as salted fingerprints of 256-bit random values.
type SavedState struct {
	Salt     []byte        `json:"salt"`
	Unsealed string        `json:"unsealed,omitempty"` // the process last seen unsealed
	Hold     *SealHold     `json:"held,omitempty"`
	Rejected *RejectedKeys `json:"refused,omitempty"`

	LastUnseal *LastUnseal `json:"opened,omitempty"`
	History    []*Recovery `json:"history,omitempty"` // the newest first; they do not change any more
}

const maxHistory = 6 // recoveries that are remembered

// LastUnseal is when the mounted key last opened Vault, and which it was.
type LastUnseal struct {
	At   time.Time `json:"at"`
	Keys string    `json:"keys"`
}

// SealHold is the decision to leave a seal alone: while this process lives and
// the keys are still these.
type SealHold struct {
	Process string `json:"process"`
	Keys    string `json:"keys"`
}

// RejectedKeys counts the combinations that Vault refused, within one AttemptScope.
type RejectedKeys struct {
	At           time.Time    `json:"at,omitzero"` // when it was last; zero in what an older version wrote
	Scope        AttemptScope `json:"scope"`
	Combinations [][]int      `json:"combinations"`
}

// AttemptScope is what a refusal speaks of. When any of it changes, every
// combination is worth a try again.
type AttemptScope struct {
	Process   string `json:"process"`
	Keys      string `json:"keys"`
	Threshold int    `json:"threshold"`
	Shares    int    `json:"shares"`
}

func (r *RejectedKeys) has(s AttemptScope, combination []int) bool {
	return r.in(s) && slices.ContainsFunc(r.Combinations, func(c []int) bool {
		return slices.Equal(c, combination)
	})
}

func (r *RejectedKeys) in(s AttemptScope) bool { return r != nil && r.Scope == s }

// with returns r and one refusal more, without those of another scope.
func (r *RejectedKeys) with(s AttemptScope, combination []int) *RejectedKeys {
	out := &RejectedKeys{Scope: s}
	if r.in(s) {
		out.Combinations = slices.Clone(r.Combinations)
	}
	out.Combinations = append(out.Combinations, slices.Clone(combination))
	return out
}

// unknownProcess begins the made-up names of processes that cannot be
// distinguished here. They mean nothing to the next run, so they are never kept.
const unknownProcess = "unknown-"

// persistable returns the part of m that is worth keeping.
func (m SavedState) persistable() SavedState {
	if strings.HasPrefix(m.Unsealed, unknownProcess) {
		m.Unsealed = ""
	}
	if m.Hold != nil && strings.HasPrefix(m.Hold.Process, unknownProcess) {
		m.Hold = nil
	}
	if m.Rejected != nil && strings.HasPrefix(m.Rejected.Scope.Process, unknownProcess) {
		m.Rejected = nil
	}
	return m
}

// Fits reports whether the shares are those that last opened Vault. It is false
// when none has.
func (m SavedState) Fits(shares []Share) bool {
	return m.LastUnseal != nil && m.LastUnseal.Keys == m.fingerprint(shares)
}

// Rejects reports whether Vault has refused every combination of the shares,
// and none of them has opened it.
func (m SavedState) Rejects(shares []Share) bool {
	if m.Rejected == nil || m.Rejected.Scope.Keys != m.fingerprint(shares) || m.Fits(shares) {
		return false
	}
	t := m.Rejected.Scope.Threshold
	r := keySet{lengths: lengthsOf(shares), combinations: combinations(shares, t), threshold: t}
	_, state, _ := r.pick(func(c []int) bool { return m.Rejected.has(m.Rejected.Scope, c) })
	return state == KeysRejected
}

// fingerprint names a list of shares. The salt keeps the same key from having
// the same name in two places.
func (m *SavedState) fingerprint(shares []Share) string {
	if len(m.Salt) == 0 {
		m.Salt = newSalt()
	}
	return fingerprint(m.Salt, shares)
}

func newSalt() []byte {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails, crypto/rand
	return salt
}

func fingerprint(salt []byte, shares []Share) string {
	mac := hmac.New(sha256.New, salt)
	for _, s := range shares {
		mac.Write([]byte{byte(s.Len())})
		mac.Write(s.bytes())
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func (l *Loop) loadSaved() {
	if err := l.Store.Load(&l.saved); err != nil {
		l.saved = SavedState{}
		l.Log.Warn(msgStateLost, keyError, err)
	}
	if l.saved.Unsealed == "" {
		l.Log.Info(msgNoState)
	}
	if o := l.saved.LastUnseal; o != nil && !isWritable(o.At) {
		l.saved.LastUnseal = nil
	}
	damaged := func(r *Recovery) bool {
		return r == nil || len(r.Steps) == 0 || !isWritable(r.Began) ||
			slices.ContainsFunc(r.Steps, func(s Step) bool { return !isWritable(s.At) })
	}
	history := slices.DeleteFunc(l.saved.History, damaged)
	l.saved.History = history[:min(len(history), maxHistory)]
}

// isWritable reports whether a time can be written in UTC, as the status is: JSON has years of four
// digits, and a zone can lead out of them.
func isWritable(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// save keeps the state, and logs once when it cannot.
func (l *Loop) save() {
	err := l.Store.Save(l.saved.persistable())
	if err != nil && !l.saveFailed {
		l.Log.Warn(msgStateLost, keyError, err)
	}
	l.saveFailed, l.saveAt = err != nil, time.Now().Add(saveRetryInterval)
}

// recordUnseal takes note that these keys opened Vault. It is saved with the process
// that they opened.
func (l *Loop) recordUnseal(keys string) {
	l.saved.LastUnseal, l.sender.undecided = &LastUnseal{At: time.Now().UTC(), Keys: keys}, ""
}
