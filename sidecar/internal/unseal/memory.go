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

// Memory is what a restart of the sidecar alone must not forget. It holds no
// secret: keys appear as salted fingerprints of 256-bit random values.
type Memory struct {
	Salt     []byte   `json:"salt"`
	Unsealed string   `json:"unsealed,omitempty"` // the process last seen unsealed
	Held     *Hold    `json:"held,omitempty"`
	Refused  *Refused `json:"refused,omitempty"`

	Opened  *Opened     `json:"opened,omitempty"`
	History []*Recovery `json:"history,omitempty"` // the newest first; they do not change any more
}

const maxHistory = 6 // recoveries that are remembered

// Opened is when the mounted key last opened Vault, and which it was.
type Opened struct {
	At   time.Time `json:"at"`
	Keys string    `json:"keys"`
}

// Hold is the decision to leave a seal alone: while this process lives and
// the keys are still these.
type Hold struct {
	Process string `json:"process"`
	Keys    string `json:"keys"`
}

// Refused counts the combinations that Vault refused, within one Scope.
type Refused struct {
	At           time.Time `json:"at,omitzero"` // when it was last; zero in what an older version wrote
	Scope        Scope     `json:"scope"`
	Combinations [][]int   `json:"combinations"`
}

// Scope is what a refusal speaks of. When any of it changes, every
// combination is worth a try again.
type Scope struct {
	Process   string `json:"process"`
	Keys      string `json:"keys"`
	Threshold int    `json:"threshold"`
	Shares    int    `json:"shares"`
}

func (r *Refused) has(s Scope, combination []int) bool {
	return r.in(s) && slices.ContainsFunc(r.Combinations, func(c []int) bool {
		return slices.Equal(c, combination)
	})
}

func (r *Refused) in(s Scope) bool { return r != nil && r.Scope == s }

// with returns r and one refusal more, without those of another scope.
func (r *Refused) with(s Scope, combination []int) *Refused {
	out := &Refused{Scope: s}
	if r.in(s) {
		out.Combinations = slices.Clone(r.Combinations)
	}
	out.Combinations = append(out.Combinations, slices.Clone(combination))
	return out
}

// unknownProcess begins the made-up names of processes that cannot be told
// apart here. They mean nothing to the next run, so they are never kept.
const unknownProcess = "unknown-"

// persistable returns the part of m that is worth keeping.
func (m Memory) persistable() Memory {
	if strings.HasPrefix(m.Unsealed, unknownProcess) {
		m.Unsealed = ""
	}
	if m.Held != nil && strings.HasPrefix(m.Held.Process, unknownProcess) {
		m.Held = nil
	}
	if m.Refused != nil && strings.HasPrefix(m.Refused.Scope.Process, unknownProcess) {
		m.Refused = nil
	}
	return m
}

// Fits reports whether the shares are those that last opened Vault. It is false
// when none has.
func (m Memory) Fits(shares []Share) bool {
	return m.Opened != nil && m.Opened.Keys == m.fingerprint(shares)
}

// Refuses reports whether Vault has refused every combination of the shares,
// and none of them has opened it.
func (m Memory) Refuses(shares []Share) bool {
	if m.Refused == nil || m.Refused.Scope.Keys != m.fingerprint(shares) || m.Fits(shares) {
		return false
	}
	t := m.Refused.Scope.Threshold
	r := keySet{lengths: lengthsOf(shares), combinations: combinations(shares, t), threshold: t}
	_, state, _ := r.pick(func(c []int) bool { return m.Refused.has(m.Refused.Scope, c) })
	return state == KeysRejected
}

// fingerprint names a list of shares. The salt keeps the same key from having
// the same name in two places.
func (m *Memory) fingerprint(shares []Share) string {
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
	if err := l.Store.Load(&l.memory); err != nil {
		l.memory = Memory{}
		l.Log.Warn(msgMemoryLost, keyError, err)
	}
	if l.memory.Unsealed == "" {
		l.Log.Info(msgNoMemory)
	}
	damaged := func(r *Recovery) bool { return r == nil || len(r.Steps) == 0 }
	history := slices.DeleteFunc(l.memory.History, damaged)
	l.memory.History = history[:min(len(history), maxHistory)]
}

// save keeps the memory, and says once when it cannot.
func (l *Loop) save() {
	err := l.Store.Save(l.memory.persistable())
	if err != nil && !l.saveFailed {
		l.Log.Warn(msgMemoryLost, keyError, err)
	}
	l.saveFailed, l.saveAt = err != nil, time.Now().Add(saveEvery)
}

// opened takes note that these keys opened Vault. It is saved with the process
// that they opened.
func (l *Loop) opened(keys string) {
	l.memory.Opened, l.sender.undecided = &Opened{At: time.Now().UTC(), Keys: keys}, ""
}
