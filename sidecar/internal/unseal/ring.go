package unseal

import (
	"fmt"
	"slices"
)

// ring is the key ring: the mounted shares, in memory only while Vault is
// sealed, and what is known of them all the time.
type ring struct {
	shares       []Share
	lengths      []int
	combinations [][]int  // worth a try, at this threshold
	threshold    int      // 0: it is not known
	remarks      []Remark // on what is mounted beside them
	version      string   // fingerprint of the last usable content
	problem      string   // why the mounted keys cannot be used now
	stamp        string   // of the content last read
	read         bool     // the stamp's content has been read at least once
}

// set takes over what was read, for a threshold, and reports whether anything
// about it is new.
func (r *ring) set(stamp string, k read, threshold int, fingerprint func([]Share) string) bool {
	r.wipe()
	first := !r.read
	r.stamp, r.read, r.threshold = stamp, true, threshold
	problem, version := "", r.version
	if k.err != nil {
		problem = k.err.Error()
	} else {
		r.shares, version = k.shares, fingerprint(k.shares)
		r.lengths, r.combinations = lengthsOf(k.shares), combinations(k.shares, threshold)
	}
	changed := first || problem != r.problem || version != r.version || !slices.Equal(k.remarks, r.remarks)
	r.problem, r.version, r.remarks = problem, version, k.remarks
	return changed
}

// read is what a Read of Keys returned.
type read struct {
	shares  []Share
	remarks []Remark
	err     error
}

// wipe forgets the shares and keeps what is known of them.
func (r *ring) wipe() {
	WipeAll(r.shares)
	r.shares = nil
}

// loaded reports whether shares are in memory.
func (r *ring) loaded() bool { return len(r.shares) > 0 }

// pick chooses the next combination, or says in state and reason why there is
// none.
func (r *ring) pick(refused func([]int) bool) (combination []int, state KeyState, reason string) {
	if r.problem != "" {
		return nil, KeysUnusable, r.problem
	}
	if lack := r.lack(r.threshold); lack != "" {
		return nil, KeysUnusable, lack
	}
	for _, c := range r.combinations {
		if !refused(c) {
			return c, KeysUsable, ""
		}
	}
	return nil, KeysRejected, fmt.Sprintf("%d combinations of %d mounted shares were tried", len(r.combinations), len(r.lengths))
}

// lack says why no combination of the shares can open a Vault of threshold t.
func (r *ring) lack(t int) string {
	switch {
	case len(r.lengths) < max(1, t):
		return fmt.Sprintf("%d of the %d shares that the threshold needs are mounted", len(r.lengths), max(1, t))
	case t <= 0:
		return ""
	case len(byLength(r.lengths, t)) == 0 && t == 1:
		return "at threshold 1 the key has 16, 24 or 32 bytes, and no mounted share has: these are shares of a split key"
	case len(byLength(r.lengths, t)) == 0:
		return fmt.Sprintf("no %d of the mounted shares are of equal length: they are not of one key", t)
	case t == r.threshold && len(r.combinations) == 0:
		return fmt.Sprintf("no %d of the mounted shares are of one key that has this threshold", t)
	default:
		return ""
	}
}
