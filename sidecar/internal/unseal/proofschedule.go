package unseal

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// firstProofDelay is the wait for the first proof after Vault became active. Others
	// have more need of Vault then.
	firstProofDelay = 30 * time.Second
	// inconclusiveRetry is the wait, at most, after a proof that came to no verdict, for a
	// rekey of somebody's or for an error that may be over.
	inconclusiveRetry = 15 * time.Minute
	// cancelRetryInterval is how often it is tried to cancel what was left begun.
	cancelRetryInterval = time.Minute
	// notesInterval is how often the notes are looked at: a person waits for what
	// they say to arrive in status.
	notesInterval = 2 * time.Second
)

// ProofSchedule has the mounted key proved now and then, and after each change of it.
// It takes up what other processes of the pod have found out, and cancels what
// they have left begun. All fields but the private ones are required.
type ProofSchedule struct {
	Prover    *Prover
	Every     time.Duration // zero: never
	Log       hclog.Logger
	Publish   func(Proof)   // must not block
	snapshots chan Snapshot // the newest; has room for one

	state           Snapshot
	latest          Proof     // the newest
	published       Proof     // the one that was published
	publishedFor    string    // of which that speaks
	publishedAfter  time.Time // the unseal that was the last one then
	next            time.Time
	nextAfter       time.Time // the unseal after which that was set
	notesReadAt     time.Time // the verdict of the notes that was looked at
	cancelNotBefore time.Time // not before
	loggedFor       string    // Vault's process when a result was last logged
	refusedBy       *string   // Vault's process that refused a proof
	cancelRefusedBy *string   // Vault's process that refused to have one canceled
	cancelFailed    bool      // said so
	notesFailed     bool      // said so
}

// NewProofSchedule returns p, ready for Take and Run.
func NewProofSchedule(p ProofSchedule) *ProofSchedule {
	p.snapshots = make(chan Snapshot, 1)
	return &p
}

// Update takes the loop's newest state. It does not block, and only one goroutine
// may call it.
func (p *ProofSchedule) Update(s Snapshot) {
	select {
	case <-p.snapshots:
	default:
	}
	p.snapshots <- s
}

// Run works until ctx is done.
func (p *ProofSchedule) Run(ctx context.Context) {
	tick := time.NewTicker(notesInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-p.snapshots:
			p.setState(s)
		case <-tick.C:
			if p.state.Phase == Active {
				p.turn(ctx)
			}
		}
	}
}

// setState takes a new state over. What was proved of other keys, or before Vault
// was opened with these, is over.
func (p *ProofSchedule) setState(s Snapshot) {
	changed := mountID(p.state) != mountID(s)
	if s.Phase == Active && (p.state.Phase != Active || changed) {
		// Once for each unseal, or hangs would put off for ever what is due.
		soon := time.Now().Add(firstProofDelay)
		if changed || !s.UnsealedAt.Equal(p.nextAfter) || p.next.IsZero() || p.next.After(soon) {
			p.next, p.nextAfter = soon, s.UnsealedAt
		}
	}
	p.state = s
	if s.Phase == KeyRejected && p.published.Result == ProofValid { // Vault knows better now
		p.latest, p.published = Proof{}, Proof{}
		p.Publish(p.published)
	}
	opened := !s.UnsealedAt.Equal(p.publishedAfter) && p.published.At.Before(s.UnsealedAt)
	if p.published.Result != "" && (p.publishedFor != mountID(s) || opened) {
		p.latest, p.published, p.notesReadAt = Proof{}, Proof{}, time.Time{}
		p.Publish(p.published)
	}
}

// mountID names what is mounted: keys, and whether they can be used.
func mountID(s Snapshot) string { return s.Keys + " " + s.KeyError }

func (p *ProofSchedule) turn(ctx context.Context) {
	now := time.Now()
	begun := p.readNotes()
	if begun && !now.Before(p.cancelNotBefore) && !p.isRunning(p.cancelRefusedBy) {
		p.cancelNotBefore = now.Add(cancelRetryInterval)
		p.cancelStaleRekey(ctx)
	}
	// A login is tried again: the role may have been mended.
	if p.Every == 0 || now.Before(p.next) || p.Prover.Login == nil && p.isRunning(p.refusedBy) {
		return
	}
	proof := p.Prover.Prove(ctx)
	p.notesReadAt = p.notes().At
	if ctx.Err() != nil {
		return
	}
	wait := p.Every
	if proof.Result == ProofBusy || proof.Result == ProofFailed {
		wait = min(wait, inconclusiveRetry)
	}
	p.next = time.Now().Add(jitter(wait-wait/10, wait/5, random()))
	if proof.Result == ProofRefused {
		p.refusedBy = new(p.state.Process)
	}
	p.report(proof)
}

// isRunning reports whether it was the Vault that runs now that refused. It does
// so until it is another, or until we are started with other options.
func (p *ProofSchedule) isRunning(process *string) bool {
	return process != nil && *process == p.state.Process
}

// readNotes takes up a verdict that another process noted, if it speaks of what is
// mounted, and reports whether one has begun a rekey.
func (p *ProofSchedule) readNotes() (begun bool) {
	n := p.notes()
	older := n.At.Before(p.state.UnsealedAt) && !p.state.UnsealedAt.After(time.Now()) // the clock was ahead then
	if n.At.Equal(p.notesReadAt) || older {
		return n.Begun
	}
	p.notesReadAt = n.At
	shares, _, _ := p.Prover.Keys.Read() // with an error there are none
	defer WipeAll(shares)
	if proof := n.Verdict(shares); proof.Result != "" {
		p.report(proof)
	}
	return n.Begun
}

func (p *ProofSchedule) notes() (n ProofNotes) {
	err := p.Prover.Notes.Load(&n)
	if err != nil && !p.notesFailed {
		p.Log.Warn(msgStateLost, keyError, err)
	}
	p.notesFailed = err != nil
	return n
}

// cancelStaleRekey cancels what was left begun, by us or by a check in the container.
func (p *ProofSchedule) cancelStaleRekey(ctx context.Context) {
	err := p.Prover.CancelStaleRekey(ctx)
	if err != nil && !p.cancelFailed {
		p.Log.Warn(msgRekeyNotCanceled, keyError, err)
	}
	p.cancelFailed = err != nil
	if errors.Is(err, ErrRefused) {
		p.cancelRefusedBy = new(p.state.Process)
	}
}

// report logs of a proof what is new about it, or about its Vault, and publishes
// it. One that came to no verdict makes no wrong key right. That a key was right
// is not kept so: it would hide that nobody sees it any more.
func (p *ProofSchedule) report(proof Proof) {
	level := hclog.Debug
	if p.latest.Result != proof.Result || p.loggedFor != p.state.Process {
		level = hclog.Info
	}
	p.latest, p.loggedFor = proof, p.state.Process
	if proof.Result == ProofValid && proof.Reason != "" {
		p.Log.Warn(msgProofLeftover, keyReason, proof.Reason)
	}
	switch proof.Result {
	case ProofValid:
		p.Log.Log(level, msgProved)
	case ProofInvalid:
		p.Log.Error(msgKeyStale, keyReason, proof.Reason, keyAdvice, "put the right key into the Secret before Vault restarts")
	default:
		p.Log.Log(level, msgNotProved, keyReason, proof.Reason)
		if p.published.Result == ProofInvalid {
			return
		}
	}
	p.published, p.publishedFor, p.publishedAfter = proof, mountID(p.state), p.state.UnsealedAt
	p.Publish(proof)
}
