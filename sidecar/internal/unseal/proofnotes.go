package unseal

import (
	"strings"
	"unicode"
)

// ProofNotes is what the processes of a pod tell each other of proofs: a
// sidecar has to know of what a check beside it began, and what it found. They
// hold no key: it appears as a fingerprint, with a salt of their own. Whoever
// can write them can write a Memory, too.
type ProofNotes struct {
	Begun bool `json:"begun,omitempty"` // a rekey that may not be canceled yet

	// The newest verdict, and of which keys it speaks.
	Proof
	Salt []byte `json:"salt,omitempty"`
	Keys string `json:"keys,omitempty"`
}

// note changes the notes. The lock is the caller's.
func (p *Prover) note(change func(*ProofNotes)) error {
	var n ProofNotes
	_ = p.Notes.Load(&n) // without what cannot be read
	change(&n)
	return p.Notes.Save(n)
}

// noteVerdict notes what is known of the keys now, if anything is.
func (p *Prover) noteVerdict(result ProofResult, reason error, shares []Share) error {
	if !result.verdict() {
		return nil
	}
	return p.note(func(n *ProofNotes) {
		n.Proof, n.Salt = newProof(result, reason), newSalt()
		n.Keys = fingerprint(n.Salt, shares)
	})
}

// Verdict returns what the notes say of the shares; the zero Proof when they
// say nothing of them.
func (n ProofNotes) Verdict(shares []Share) Proof {
	if !n.Result.verdict() || len(n.Salt) == 0 || len(shares) == 0 || n.Keys != fingerprint(n.Salt, shares) {
		return Proof{}
	}
	const maxReason = 500 // a file is not to be believed in that
	return Proof{At: n.At, Result: n.Result, Reason: strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, n.Reason[:min(len(n.Reason), maxReason)])}
}
