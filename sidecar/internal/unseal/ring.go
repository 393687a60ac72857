package unseal

import "fmt"

// ring is the key ring: the mounted shares, in memory only while Vault is
// sealed, and what is known of them all the time.
type ring struct {
	shares  []Share
	lengths []int
	version string // fingerprint of the last usable content
	problem string // why the mounted keys cannot be used now
	stamp   string // of the content last read
	read    bool   // the stamp's content has been read at least once
}

// set takes what was read over and reports whether anything about it is new.
func (r *ring) set(stamp string, shares []Share, err error, fingerprint func([]Share) string) bool {
	r.wipe()
	first := !r.read
	r.stamp, r.read = stamp, true
	problem, version := "", r.version
	if err != nil {
		problem = err.Error()
	} else {
		r.shares, version = shares, fingerprint(shares)
		r.lengths = r.lengths[:0]
		for _, s := range shares {
			r.lengths = append(r.lengths, s.Len())
		}
	}
	changed := first || problem != r.problem || version != r.version
	r.problem, r.version = problem, version
	return changed
}

// wipe forgets the shares and keeps what is known of them.
func (r *ring) wipe() {
	WipeAll(r.shares)
	r.shares = nil
}

// loaded reports whether shares are in memory.
func (r *ring) loaded() bool { return len(r.shares) > 0 }

// pick chooses the next combination for a threshold, or says in state and
// reason why there is none. A raft node that has not joined yet tells no
// threshold (t = 0): then all shares are sent, one after another.
func (r *ring) pick(t int, refused func([]int) bool) (combination []int, state KeyState, reason string) {
	if r.problem != "" {
		return nil, KeysUnusable, r.problem
	}
	if t == 0 {
		t = max(1, len(r.lengths))
	}
	if lack := r.lack(t); lack != "" {
		return nil, KeysUnusable, lack
	}
	all := combinations(r.lengths, t)
	for _, c := range all {
		if !refused(c) {
			return c, KeysUsable, ""
		}
	}
	return nil, KeysRejected, fmt.Sprintf("%d combinations of %d mounted shares were tried", len(all), len(r.lengths))
}

// lack says why no combination of the shares can open a Vault of threshold t.
func (r *ring) lack(t int) string {
	switch {
	case len(r.lengths) < t:
		return fmt.Sprintf("%d of the %d shares that the threshold needs are mounted", len(r.lengths), t)
	case t == 0 || len(combinations(r.lengths, t)) > 0:
		return ""
	case t == 1:
		return "at threshold 1 the key has 16, 24 or 32 bytes, and no mounted share has: these are shares of a split key"
	default:
		return fmt.Sprintf("no %d of the mounted shares are of equal length: they are not of one key", t)
	}
}
