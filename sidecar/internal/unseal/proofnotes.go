package unseal

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"unicode"
)

// ProofNotes is what the processes of a pod tell each other of proofs: a
// sidecar has to know of what a check beside it began, and what it found. They
// hold no key: it appears as a fingerprint, with a salt of their own. Whoever
// can write them can write a SavedState, too.
type ProofNotes struct {
	Begun bool `json:"begun,omitempty"` // a rekey that may not be canceled yet

	// The newest verdict, and of which keys it speaks.
	Proof
	Salt []byte `json:"salt,omitempty"`
	Keys string `json:"keys,omitempty"`
}

// updateNotes changes the notes. The lock is the caller's.
func (p *Prover) updateNotes(change func(*ProofNotes)) error {
	var n ProofNotes
	_ = p.Notes.Load(&n) // without what cannot be read
	change(&n)
	return p.Notes.Save(n)
}

// recordVerdict notes what is known of the keys now, if anything is.
func (p *Prover) recordVerdict(result ProofResult, reason error, shares []Share) error {
	if !result.verdict() {
		return nil
	}
	return p.updateNotes(func(n *ProofNotes) {
		n.Proof, n.Salt = newProof(result, reason), newSalt()
		n.Keys = fingerprint(n.Salt, shares)
	})
}

// Verdict returns what the notes say of the shares; the zero Proof when they
// say nothing of them.
func (n ProofNotes) Verdict(shares []Share) Proof {
	if !n.Result.verdict() || !isWritable(n.At) || len(n.Salt) == 0 || len(shares) == 0 || n.Keys != fingerprint(n.Salt, shares) {
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

// CancelStaleRekey cancels what a proof that was cut off has left begun. It asks Vault only
// when the notes say that one was begun.
func (p *Prover) CancelStaleRekey(ctx context.Context) error {
	unlock, err := p.Lock.TryLock()
	if err != nil || unlock == nil {
		return nil // whoever has it tidies up; where nobody can have it, none was begun
	}
	defer unlock()
	var n ProofNotes
	if err := p.Notes.Load(&n); err != nil || !n.Begun {
		return err
	}
	vault, end, err := p.connect(ctx)
	if err != nil {
		return err
	}
	return joinErrors(p.cancelOurRekey(ctx, vault), end())
}

// cancelOurRekey cancels a rekey of ours, by its nonce, and notes that there is none.
func (p *Prover) cancelOurRekey(ctx context.Context, vault Rekeyer) error {
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	r, err := describeCall(ctx, readingRekey, vault.Rekey)
	if err != nil {
		return err
	}
	if r.Started && r.Ours {
		_, err = describeCall(ctx, "canceling the rekey of a proof", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, vault.CancelRekey(ctx, r.Nonce)
		})
		if err != nil {
			return fmt.Errorf("%w; by hand: %s", err, r.Cancel)
		}
	}
	return p.updateNotes(func(n *ProofNotes) { n.Begun = false })
}

// connect returns Vault as a proof asks it, and what has to be called after it.
func (p *Prover) connect(ctx context.Context) (vault Rekeyer, end func() error, err error) {
	if p.Login == nil {
		return p.Vault, func() error { return nil }, nil
	}
	loginCtx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	session, err := describeCall(loginCtx, "logging in", p.Login)
	if err != nil {
		return nil, nil, err
	}
	return session, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
		defer cancel()
		_, err := describeCall(ctx, "revoking the token of the proof", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, session.Logout(ctx)
		})
		return err
	}, nil
}

// joinErrors joins two errors in one line.
func joinErrors(err, more error) error {
	if err == nil || more == nil {
		return cmp.Or(err, more)
	}
	return fmt.Errorf("%w; %w", err, more)
}
