package unseal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrUnreachable marks a call that found nobody: the connection was refused,
// reset, or closed before an answer came.
var ErrUnreachable = errors.New("vault is not reachable")

// ErrBroken is an ErrUnreachable where somebody listened, and ended the
// connection before the answer.
var ErrBroken = fmt.Errorf("%w", ErrUnreachable)

// ErrNotVault marks an answer that Vault does not give: of a proxy whose Vault
// is away, for one.
var ErrNotVault = errors.New("this is not vault")

// ErrWithheld marks a call that was not made, because of who would have been
// called, or for want of a local port. Its text says what to do.
var ErrWithheld = errors.New("nothing was sent")

// ErrInvalidKey marks the one answer that is a verdict on a key: 400 with
// "invalid key" at the threshold (vault/core.go, unsealFragment).
var ErrInvalidKey = errors.New("vault says: invalid key")

// Vault is the server beside us. Every call may hang for as long as its
// storage does, and ends when ctx does.
type Vault interface {
	SealStatus(ctx context.Context) (SealStatus, error)
	// Health is AnswerSealed, AnswerStandby or AnswerActive.
	Health(ctx context.Context) (Answer, error)
	// Unseal sends one share and returns the seal status after it.
	Unseal(ctx context.Context, s Share) (SealStatus, error)
	// ReadStorage returns nil once Vault has read its storage for us.
	ReadStorage(ctx context.Context) error
	// AwaitListener looks whether somebody listens, and again after each pause, as
	// long as it is certain that nobody does. It returns when that is certain no
	// more, or ctx is done; then SealStatus is to be called.
	AwaitListener(ctx context.Context, pause func() time.Duration)
}

// SealStatus is the part of sys/seal-status that decides something.
type SealStatus struct {
	Initialized bool
	Sealed      bool
	Type        string // "shamir", or the name of an auto-unseal
	Threshold   int    // t; 0 while a raft node has not joined yet
	Shares      int    // n
	Progress    int    // distinct shares that Vault holds for the attempt Nonce
	Nonce       string // of the attempt; empty when there is none
	Migration   bool
	Recovery    bool // it opens by itself: the shares are recovery keys, which open nothing
	Raft        bool // its storage is raft
	Removed     bool // taken out of its raft cluster
}

// Keys is the mounted Secret.
type Keys interface {
	// Revision is cheap, touches no key material, and differs whenever Read
	// might return something else than before.
	Revision() string
	// Read returns the shares, the oldest first; the caller wipes them. The
	// remarks name what is no share, and come with an error too, which names
	// the file and the reason. Neither holds any content.
	Read() ([]Share, []Remark, error)
}

// Remark names a part of the mounted Secret that is no share.
type Remark struct {
	Entry string // its name, unless that looks like a share
	What  string // what it looks like
	Token bool   // like a token of Vault's, which does not belong in its pod
}

func (r Remark) String() string { return r.Entry + ": " + r.What }

// Processes distinguishes one run of Vault from the next.
type Processes interface {
	// Process names the process that listens now, "" when none does. An
	// error means that it cannot be known here.
	Process() (string, error)
}

// Store keeps a SavedState over a restart of the sidecar alone.
type Store interface {
	Load(into any) error
	Save(v any) error
}

// Meter counts. Its methods do not block.
type Meter interface {
	Attempted(result string) // one of Results
	KeysChanged()            // others than before, and usable
	Recovered(r Recovery)    // Vault was away, and serves
}
