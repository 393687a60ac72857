package unseal

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
)

// firstProof is the wait for the first proof after Vault became active. Others
// have more need of Vault then.
const firstProof = 30 * time.Second

// Proofs has the mounted key proved now and then, and after each change of it.
// All fields are required.
type Proofs struct {
	Prover  *Prover
	Every   time.Duration // zero: never, but for what an earlier run left begun
	Log     hclog.Logger
	Publish func(Proof) // must not block
	states  chan State  // the newest; has room for one
}

// NewProofs returns p, ready for States and Run.
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
	var state State
	var proved Proof
	var keys string // that were proved
	tidy := false   // nothing of an earlier run is left begun
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	due := false
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-p.states:
			became := next.Phase == Active && state.Phase != Active
			changed := next.Keys != state.Keys && next.Phase == Active
			state = next
			if proved.Result != "" && keys != state.Keys { // it speaks of other keys
				proved = Proof{}
				p.Publish(proved)
			}
			if became || changed {
				due = false
				timer.Reset(firstProof)
			}
		case <-timer.C:
			due = true
		}
		if !due || state.Phase != Active {
			continue
		}
		due = false
		timer.Reset(max(p.Every, time.Minute))
		if !tidy {
			tidy = p.tidy(ctx)
		}
		if p.Every == 0 {
			continue
		}
		keys = state.Keys
		before := proved
		proved = p.Prover.Prove(ctx)
		if ctx.Err() != nil {
			return
		}
		p.say(before, proved)
		p.Publish(proved)
		timer.Reset(jitter(p.Every-p.Every/10, p.Every/5, random()))
	}
}

func (p *Proofs) tidy(ctx context.Context) bool {
	err := p.Prover.Tidy(ctx)
	if err != nil {
		p.Log.Warn(msgNotTidy, keyError, err)
	}
	return err == nil
}

// say tells of a proof what is new about it.
func (p *Proofs) say(before, now Proof) {
	level := hclog.Debug
	if before.Result != now.Result {
		level = hclog.Info
	}
	switch now.Result {
	case ProofValid:
		p.Log.Log(level, msgProved)
	case ProofInvalid:
		p.Log.Error(msgStale, keyReason, now.Reason, keyAdvice, "put the right key into the Secret before Vault restarts")
	default:
		p.Log.Log(level, msgNotProved, keyReason, now.Reason)
	}
}
