package unseal

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// firstProof is the wait for the first proof after Vault became active. Others
	// have more need of Vault then.
	firstProof = 30 * time.Second
	// againAfter is the wait, at most, after a proof that came to no verdict, for a
	// rekey of somebody's or for an error that may be over.
	againAfter = 15 * time.Minute
	// tidyEvery is how often it is tried to cancel what was left begun.
	tidyEvery = time.Minute
	// lookEvery is how often the notes are looked at: a person waits for what
	// they say to arrive in status.
	lookEvery = 2 * time.Second
)

// Proofs has the mounted key proved now and then, and after each change of it.
// It takes up what other processes of the pod have found out, and cancels what
// they have left begun. All fields but the private ones are required.
type Proofs struct {
	Prover  *Prover
	Every   time.Duration // zero: never
	Log     hclog.Logger
	Publish func(Proof) // must not block
	states  chan State  // the newest; has room for one

	state  State
	tried  Proof  // the newest
	proved Proof  // the one that is told
	keys   string // of which that speaks
	next   time.Time
	noted  time.Time // the verdict of the notes that was looked at
	tidyAt time.Time // not before
	saidOf string    // Vault's process when a result was last told
	closed *string   // Vault's process that refused a proof
	stuck  *string   // Vault's process that refused to have one canceled
	untidy bool      // said so
	unread bool      // said so
}

// NewProofs returns p, ready for Take and Run.
func NewProofs(p Proofs) *Proofs {
	p.states = make(chan State, 1)
	return &p
}

// Take takes the loop's newest state. It does not block, and only one goroutine
// may call it.
func (p *Proofs) Take(s State) {
	select {
	case <-p.states:
	default:
	}
	p.states <- s
}

// Run works until ctx is done.
func (p *Proofs) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-p.states:
			p.follow(s)
		case <-tick.C:
			if p.state.Phase == Active {
				p.turn(ctx)
			}
		}
	}
}

// follow takes a new state over. What was proved of other keys, or before Vault
// was opened with these, is over.
func (p *Proofs) follow(s State) {
	if s.Phase == Active && (p.state.Phase != Active || mountOf(p.state) != mountOf(s)) {
		p.next = time.Now().Add(firstProof)
	}
	p.state = s
	if s.Phase == KeyRejected && p.proved.Result == ProofValid { // Vault knows better now
		p.tried, p.proved = Proof{}, Proof{}
		p.Publish(p.proved)
	}
	if p.proved.Result != "" && (p.keys != mountOf(s) || p.proved.At.Before(s.UnsealedAt)) {
		p.tried, p.proved, p.noted = Proof{}, Proof{}, time.Time{}
		p.Publish(p.proved)
	}
}

// mountOf names what is mounted: keys, and whether they can be used.
func mountOf(s State) string { return s.Keys + " " + s.KeyError }

func (p *Proofs) turn(ctx context.Context) {
	now := time.Now()
	begun := p.look()
	if begun && !now.Before(p.tidyAt) && !p.refusedBy(p.stuck) {
		p.tidyAt = now.Add(tidyEvery)
		p.tidy(ctx)
	}
	// A login is tried again: the role may have been mended.
	if p.Every == 0 || now.Before(p.next) || p.Prover.Login == nil && p.refusedBy(p.closed) {
		return
	}
	proof := p.Prover.Prove(ctx)
	p.noted = p.notes().At
	if ctx.Err() != nil {
		return
	}
	wait := p.Every
	if proof.Result == ProofBusy || proof.Result == ProofFailed {
		wait = min(wait, againAfter)
	}
	p.next = time.Now().Add(jitter(wait-wait/10, wait/5, random()))
	if proof.Result == ProofRefused {
		p.closed = new(p.state.Process)
	}
	p.report(proof)
}

// refusedBy reports whether it was the Vault that runs now that refused. It does
// so until it is another, or until we are started with other options.
func (p *Proofs) refusedBy(process *string) bool {
	return process != nil && *process == p.state.Process
}

// look takes up a verdict that another process noted, if it speaks of what is
// mounted, and reports whether one has begun a rekey.
func (p *Proofs) look() (begun bool) {
	n := p.notes()
	if n.At.Equal(p.noted) || n.At.Before(p.state.UnsealedAt) {
		return n.Begun
	}
	p.noted = n.At
	shares, _, _ := p.Prover.Keys.Read() // with an error there are none
	defer WipeAll(shares)
	if proof := n.Verdict(shares); proof.Result != "" {
		p.report(proof)
	}
	return n.Begun
}

func (p *Proofs) notes() (n ProofNotes) {
	err := p.Prover.Notes.Load(&n)
	if err != nil && !p.unread {
		p.Log.Warn(msgMemoryLost, keyError, err)
	}
	p.unread = err != nil
	return n
}

// tidy cancels what was left begun, by us or by a check in the container.
func (p *Proofs) tidy(ctx context.Context) {
	err := p.Prover.Tidy(ctx)
	if err != nil && !p.untidy {
		p.Log.Warn(msgNotTidy, keyError, err)
	}
	p.untidy = err != nil
	if errors.Is(err, ErrRefused) {
		p.stuck = new(p.state.Process)
	}
}

// report tells of a proof what is new about it, or about its Vault, and publishes
// it. One that came to no verdict makes no wrong key right. That a key was right
// is not kept so: it would hide that nobody sees it any more.
func (p *Proofs) report(proof Proof) {
	level := hclog.Debug
	if p.tried.Result != proof.Result || p.saidOf != p.state.Process {
		level = hclog.Info
	}
	p.tried, p.saidOf = proof, p.state.Process
	if proof.Result == ProofValid && proof.Reason != "" {
		p.Log.Warn(msgLeft, keyReason, proof.Reason)
	}
	switch proof.Result {
	case ProofValid:
		p.Log.Log(level, msgProved)
	case ProofInvalid:
		p.Log.Error(msgStale, keyReason, proof.Reason, keyAdvice, "put the right key into the Secret before Vault restarts")
	default:
		p.Log.Log(level, msgNotProved, keyReason, proof.Reason)
		if p.proved.Result == ProofInvalid {
			return
		}
	}
	p.proved, p.keys = proof, mountOf(p.state)
	p.Publish(proof)
}
