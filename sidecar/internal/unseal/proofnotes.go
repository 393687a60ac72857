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

// Tidy cancels what a proof that was cut off has left begun. It asks Vault only
// when the notes say that one was begun.
func (p *Prover) Tidy(ctx context.Context) error {
	unlock, err := p.Lock.TryLock()
	if err != nil || unlock == nil {
		return nil // whoever has it tidies up; where nobody can have it, none was begun
	}
	defer unlock()
	var n ProofNotes
	if err := p.Notes.Load(&n); err != nil || !n.Begun {
		return err
	}
	vault, end, err := p.open(ctx)
	if err != nil {
		return err
	}
	return also(p.tidy(ctx, vault), end())
}

// tidy cancels a rekey of ours, by its nonce, and notes that there is none.
func (p *Prover) tidy(ctx context.Context, vault Rekeyer) error {
	ctx, cancel := context.WithTimeout(ctx, cancelWithin)
	defer cancel()
	r, err := named(ctx, askingForRekey, vault.Rekey)
	if err != nil {
		return err
	}
	if r.Started && r.Ours {
		_, err = named(ctx, "canceling the rekey of a proof", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, vault.CancelRekey(ctx, r.Nonce)
		})
		if err != nil {
			return fmt.Errorf("%w; by hand: %s", err, r.Cancel)
		}
	}
	return p.note(func(n *ProofNotes) { n.Begun = false })
}

// open returns Vault as a proof asks it, and what has to be called after it.
func (p *Prover) open(ctx context.Context) (vault Rekeyer, end func() error, err error) {
	if p.Login == nil {
		return p.Vault, func() error { return nil }, nil
	}
	loginCtx, cancel := context.WithTimeout(ctx, proofWithin)
	defer cancel()
	session, err := named(loginCtx, "logging in", p.Login)
	if err != nil {
		return nil, nil, err
	}
	return session, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
		defer cancel()
		_, err := named(ctx, "revoking the token of the proof", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, session.Logout(ctx)
		})
		return err
	}, nil
}

// also joins two errors in one line.
func also(err, more error) error {
	if err == nil || more == nil {
		return cmp.Or(err, more)
	}
	return fmt.Errorf("%w; %w", err, more)
}
