package unseal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ProofResult is what a proof of the mounted key came to.
type ProofResult string

// The results of a proof.
const (
	ProofValid   ProofResult = "valid"   // Vault would open with the mounted key
	ProofInvalid ProofResult = "invalid" // it would not
	ProofRefused ProofResult = "refused" // this Vault does not let it be proved
	ProofBusy    ProofResult = "busy"    // a rekey or a proof of somebody else's is under way
	ProofFailed  ProofResult = "failed"  // it came to no end
)

// Proof tells whether the mounted key is still the one that opens Vault.
type Proof struct {
	At     time.Time
	Result ProofResult
	Reason string // in words, when it is not valid; holds nothing of a key
}

// ErrRefused marks a call that Vault does not allow, whatever is sent.
var ErrRefused = errors.New("vault does not allow it")

// ErrNotBegun marks a rekey that was not begun, for there is one already.
var ErrNotBegun = errors.New("vault does not begin a rekey")

// Rekeyer is the part of Vault that a key can be proved by. Nothing of it takes
// a token.
type Rekeyer interface {
	SealStatus(ctx context.Context) (SealStatus, error)
	Rekey(ctx context.Context) (Rekey, error)
	// BeginRekey begins one that is not carried out before its new shares are
	// sent back.
	BeginRekey(ctx context.Context, shares, threshold int) (Rekey, error)
	// AuthorizeRekey sends one of the old shares, and reports whether they were
	// enough. The new shares are thrown away.
	AuthorizeRekey(ctx context.Context, s Share, nonce string) (enough bool, err error)
	CancelRekey(ctx context.Context, nonce string) error
}

// Rekey is the part of sys/rekey/init that decides something.
type Rekey struct {
	Started   bool
	Nonce     string
	Shares    int // n of the new key
	Threshold int // t of the new key
	Progress  int // old shares that Vault holds for it
	Verified  bool
	PGP       bool
}

// Locker is a Store that one process at a time can have for itself.
type Locker interface {
	Store
	// TryLock fails when another process has it.
	TryLock() (unlock func(), err error)
}

// Prover proves that the mounted key opens Vault, while Vault is open. It
// begins a rekey that demands a verification and authorises it with the mounted
// shares: to a wrong key Vault says so, to the right one it hands out new
// shares, which are worth nothing until they are sent back. They never are, and
// the rekey is cancelled. The old key is the key throughout
// (vault/rekey.go, BarrierRekeyUpdate and RekeyCancel).
type Prover struct {
	Vault Rekeyer
	Keys  Keys
	// Store keeps what has to be cancelled over a crash of ours. Without it
	// nothing is begun.
	Store Locker
}

// begun is what a proof has begun and not yet cancelled. Without a nonce it was
// about to.
type begun struct {
	Shares    int    `json:"shares"`
	Threshold int    `json:"threshold"`
	Nonce     string `json:"nonce,omitempty"`
}

// is reports whether a rekey is the one that was begun. One that nobody has
// authorised yet and that is as ours would be is taken for ours: to cancel it
// costs a person nothing but to begin it again.
func (b begun) is(r Rekey) bool {
	if b.Nonce != "" {
		return r.Started && r.Nonce == b.Nonce
	}
	return r.Started && r.Verified && !r.PGP && r.Progress == 0 && r.Shares == b.Shares && r.Threshold == b.Threshold
}

const (
	// proofWithin bounds a proof: a rekey of ours keeps others from theirs.
	proofWithin = 30 * time.Second
	// cancelWithin bounds a try to cancel one, beyond that.
	cancelWithin = 10 * time.Second
)

// Prove tells whether the mounted key opens Vault. It waits for at most 40 s.
func (p *Prover) Prove(ctx context.Context) Proof {
	result, err := p.prove(ctx)
	proof := Proof{At: time.Now().UTC(), Result: result}
	if err != nil {
		proof.Reason = err.Error()
	}
	return proof
}

// Tidy cancels what an earlier run has left begun.
func (p *Prover) Tidy(ctx context.Context) error {
	unlock, err := p.Store.TryLock()
	if err != nil {
		return nil // whoever has it tidies up
	}
	defer unlock()
	return p.tidy(ctx)
}

func (p *Prover) tidy(ctx context.Context) error {
	var left begun
	if err := p.Store.Load(&left); err != nil {
		return err
	}
	if left == (begun{}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cancelWithin)
	defer cancel()
	r, err := p.Vault.Rekey(ctx)
	if err == nil && left.is(r) {
		err = p.Vault.CancelRekey(ctx, r.Nonce)
	}
	if err != nil {
		return fmt.Errorf("cancelling the rekey of an earlier proof: %w", err)
	}
	return p.Store.Save(begun{})
}

func (p *Prover) prove(ctx context.Context) (ProofResult, error) {
	unlock, err := p.Store.TryLock()
	if err != nil {
		return ProofBusy, err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, proofWithin)
	defer cancel()
	if err := p.tidy(ctx); err != nil {
		return ProofFailed, err
	}
	status, err := p.Vault.SealStatus(ctx)
	switch {
	case err != nil:
		return ProofFailed, err
	case status.Type != "shamir":
		return ProofRefused, fmt.Errorf("its seal is %s, not shamir", status.Type)
	case status.Sealed:
		return ProofFailed, errors.New("vault is sealed: to open it is the proof")
	}
	running, err := p.Vault.Rekey(ctx)
	switch {
	case errors.Is(err, ErrRefused):
		return ProofRefused, err
	case err != nil:
		return ProofFailed, err
	case running.Started:
		return ProofBusy, errors.New("a rekey is under way: vault operator rekey -status")
	}
	shares, err := p.Keys.Read()
	if err != nil {
		return ProofInvalid, err
	}
	defer WipeAll(shares)
	return p.try(ctx, status, shares)
}

// try begins a rekey, and cancels it whatever comes.
func (p *Prover) try(ctx context.Context, s SealStatus, shares []Share) (result ProofResult, err error) {
	lengths := make([]int, len(shares))
	for i, share := range shares {
		lengths[i] = share.Len()
	}
	all := combinations(lengths, s.Threshold)
	if len(all) == 0 {
		return ProofInvalid, fmt.Errorf("%d shares are mounted, and no %d of them are of one key", len(shares), s.Threshold)
	}
	mark := begun{Shares: s.Shares, Threshold: s.Threshold}
	if err := p.Store.Save(mark); err != nil {
		return ProofFailed, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
		defer cancel()
		if undone := p.tidy(ctx); undone != nil {
			err = errors.Join(err, undone)
		}
	}()
	r, err := p.Vault.BeginRekey(ctx, s.Shares, s.Threshold)
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrNotBegun):
		// What there is now is somebody else's.
		if undone := p.Store.Save(begun{}); undone != nil {
			err = errors.Join(err, undone)
		}
		if errors.Is(err, ErrNotBegun) {
			return ProofBusy, err
		}
		return ProofRefused, err
	case err != nil:
		return ProofFailed, err
	}
	mark.Nonce = r.Nonce
	if err := p.Store.Save(mark); err != nil {
		return ProofFailed, err
	}
	for _, combination := range all {
		switch opens, err := p.authorize(ctx, r.Nonce, shares, combination); {
		case err != nil:
			return ProofFailed, err
		case opens:
			return ProofValid, nil
		}
	}
	return ProofInvalid, fmt.Errorf("vault refuses the %d shares that are mounted: it was rekeyed, or they are another Vault's", len(shares))
}

// authorize sends one combination and reports whether Vault takes it for its
// key.
func (p *Prover) authorize(ctx context.Context, nonce string, shares []Share, combination []int) (opens bool, err error) {
	for _, i := range combination {
		opens, err = p.Vault.AuthorizeRekey(ctx, shares[i], nonce)
		if errors.Is(err, ErrInvalidKey) {
			return false, nil
		}
		if err != nil || opens {
			return opens, err
		}
	}
	return false, errors.New("vault wants more shares than its threshold: somebody else takes part")
}
