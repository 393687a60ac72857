package unseal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ProofResult is what a proof of the mounted key came to.
type ProofResult string

const (
	ProofValid   ProofResult = "valid"   // Vault would open with the mounted key
	ProofInvalid ProofResult = "invalid" // it would not
	ProofRefused ProofResult = "refused" // this Vault does not let it be proved
	ProofBusy    ProofResult = "busy"    // a rekey or a proof of somebody else's is under way
	ProofFailed  ProofResult = "failed"  // it came to no end
)

// verdict reports whether it says something of the key.
func (r ProofResult) verdict() bool { return r == ProofValid || r == ProofInvalid }

// Proof says whether the mounted key is still the one that opens Vault.
type Proof struct {
	At     time.Time   `json:"at,omitzero"`
	Result ProofResult `json:"result,omitempty"`
	Reason string      `json:"reason,omitempty"` // in words, when it is not valid; holds nothing of a key
}

func newProof(result ProofResult, err error) Proof {
	proof := Proof{At: time.Now().UTC(), Result: result}
	if err != nil {
		proof.Reason = err.Error()
	}
	return proof
}

// ErrRefused marks a call that Vault does not allow, whatever is sent.
var ErrRefused = errors.New("vault does not allow it")

// ErrNotBegun marks a rekey that was not begun, for there is one already.
var ErrNotBegun = errors.New("vault does not begin a rekey")

// Rekeyer is the part of Vault that a key can be proved by.
type Rekeyer interface {
	SealStatus(ctx context.Context) (SealStatus, error)
	Rekey(ctx context.Context) (Rekey, error)
	// BeginRekey begins one that nobody can finish: its new share is encrypted
	// to a key that nobody has, and would have to be sent back.
	BeginRekey(ctx context.Context) (Rekey, error)
	// AuthorizeRekey sends one of the old shares.
	AuthorizeRekey(ctx context.Context, s Share, nonce string) (Progress, error)
	CancelRekey(ctx context.Context, nonce string) error
}

// Session is a Rekeyer that is logged in, for a server that wants a token.
type Session interface {
	Rekeyer
	// Logout revokes the token and forgets it.
	Logout(ctx context.Context) error
}

// Rekey is the part of sys/rekey/init that decides something.
type Rekey struct {
	Started bool
	Nonce   string
	Ours    bool   // as a BeginRekey begins them: whoever authorizes it, Vault's key stays
	Cancel  string // the command that cancels it by hand; empty when none is started
}

// Progress is Vault's answer to a share.
type Progress struct {
	Shares int  // that Vault holds now
	Enough bool // they were, and they are the key's
}

// Lock is what one process at a time can have.
type Lock interface {
	// TryLock returns nil when another process has it.
	TryLock() (unlock func(), err error)
}

// Prover proves that the mounted key opens Vault, while Vault is open. It
// begins a rekey that demands a verification and authorizes it with the mounted
// shares: Vault distinguishes a right key from a wrong one, and then waits for the new
// share to be sent back. It never is, and the rekey is canceled. The old key is
// the key throughout (vault/rekey.go, BarrierRekeyUpdate and RekeyCancel).
type Prover struct {
	Vault Rekeyer
	Keys  Keys
	Lock  Lock  // over the processes of the pod
	Notes Store // of ProofNotes, which they share
	// Login logs in, for one proof. Nil: Vault is asked without a token.
	Login func(context.Context) (Session, error)
}

const (
	// proofTimeout bounds a proof: a rekey of ours keeps others from theirs.
	proofTimeout = 30 * time.Second
	// cancelTimeout bounds a try to cancel one, beyond that.
	cancelTimeout = 10 * time.Second
)

// Prove reports whether the mounted key opens Vault. It waits for at most 40 s, and
// for 10 s more where a token has to be revoked. A reason beside a valid one names
// what it left: a rekey or a token.
func (p *Prover) Prove(ctx context.Context) Proof { return newProof(p.prove(ctx)) }

const readingRekey = "asking for the rekey under way"

// describeCall makes a call of a proof, and says which it was when it failed. A bare
// "deadline exceeded" would tell nobody who waited for what.
func describeCall[T any](ctx context.Context, what string, call func(context.Context) (T, error)) (T, error) {
	began := time.Now()
	answer, err := call(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%s: no answer within %v", what, round(time.Since(began)))
	case err != nil:
		err = fmt.Errorf("%s: %w", what, err)
	}
	return answer, err
}

func (p *Prover) prove(ctx context.Context) (result ProofResult, err error) {
	unlock, err := p.Lock.TryLock()
	switch {
	case err != nil:
		return ProofFailed, err
	case unlock == nil:
		return ProofBusy, errors.New("another process of this pod proves the key")
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	status, err := describeCall(ctx, "asking for the seal status", p.Vault.SealStatus)
	switch {
	case err != nil:
		return ProofFailed, err
	case status.Type != "shamir", status.Recovery:
		return ProofRefused, errors.New(leftAloneReason(status))
	case status.Sealed:
		return ProofFailed, errors.New("vault is sealed: to open it is the proof")
	}
	vault, end, err := p.connect(ctx)
	if err != nil {
		return resultOf(err), err
	}
	defer func() { err = joinErrors(err, end()) }()
	if err := p.cancelOurRekey(ctx, vault); err != nil {
		return resultOf(err), err
	}
	running, err := describeCall(ctx, readingRekey, vault.Rekey)
	switch {
	case err != nil:
		return resultOf(err), err
	case running.Started:
		return ProofBusy, fmt.Errorf("a rekey is under way: wait for it, or end it: %s", running.Cancel)
	}
	shares, _, err := p.Keys.Read()
	if err != nil {
		return ProofFailed, err
	}
	defer WipeAll(shares)
	result, err = p.proveByRekey(ctx, vault, status, shares)
	return result, joinErrors(err, p.recordVerdict(result, err, shares))
}

func resultOf(err error) ProofResult {
	if errors.Is(err, ErrRefused) {
		return ProofRefused
	}
	return ProofFailed
}

// proveByRekey begins a rekey, and cancels it whatever comes.
func (p *Prover) proveByRekey(ctx context.Context, vault Rekeyer, s SealStatus, shares []Share) (result ProofResult, err error) {
	all := combinations(shares, s.Threshold)
	if len(all) == 0 {
		return ProofInvalid, fmt.Errorf("%s, and no %d of them are of one key", countMounted(len(shares)), s.Threshold)
	}
	if err := p.updateNotes(func(n *ProofNotes) { n.Begun = true }); err != nil {
		return ProofFailed, err // a proof that is cut off would not be tidied up
	}
	defer func() { err = joinErrors(err, p.cancelOurRekey(context.WithoutCancel(ctx), vault)) }()
	r, err := describeCall(ctx, "beginning a rekey", vault.BeginRekey)
	switch {
	case errors.Is(err, ErrNotBegun):
		return ProofBusy, err
	case err != nil:
		return resultOf(err), err
	}
	for _, combination := range all {
		opens, err := authorize(ctx, vault, r.Nonce, shares, combination)
		if err == nil && !opens && s.Threshold > 1 { // seen twice, or another's share may have been in it (confirmation.go)
			opens, err = authorize(ctx, vault, r.Nonce, shares, combination)
		}
		switch {
		case errors.Is(err, errDisplaced):
			return ProofBusy, err
		case err != nil:
			return ProofFailed, err
		case opens:
			return ProofValid, nil
		}
	}
	return ProofInvalid, fmt.Errorf("%s, and vault refuses them: it was rekeyed, or they are another Vault's", countMounted(len(shares)))
}

func countMounted(shares int) string {
	if shares == 1 {
		return "1 share is mounted"
	}
	return fmt.Sprintf("%d shares are mounted", shares)
}

var errDisplaced = errors.New("somebody canceled our rekey, or put another in its place")

// authorize sends one combination and reports whether Vault takes it for its
// key. A verdict before the last share, and a count that is not ours, speak of
// somebody else's shares too. A share goes to a rekey of ours alone: anybody may
// have canceled it and begun another since the last answer.
func authorize(ctx context.Context, vault Rekeyer, nonce string, shares []Share, combination []int) (opens bool, err error) {
	for sent, i := range combination {
		r, err := describeCall(ctx, readingRekey, vault.Rekey)
		switch {
		case err != nil:
			return false, err
		case !r.Started || !r.Ours || r.Nonce != nonce:
			return false, errDisplaced
		}
		progress, err := describeCall(ctx, "sending a share to the rekey", func(ctx context.Context) (Progress, error) {
			return vault.AuthorizeRekey(ctx, shares[i], nonce)
		})
		last, refused := sent == len(combination)-1, errors.Is(err, ErrInvalidKey)
		switch {
		case err != nil && !refused:
			return false, err
		case last && (refused || progress.Enough):
			return progress.Enough, nil
		case last || refused || progress.Enough || progress.Shares != sent+1:
			return false, errors.New("somebody else sends shares to this rekey")
		}
	}
	return false, nil
}
