package unseal

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
)

// firstProof is the wait for the first proof after Vault became active. Others
// have more need of Vault then.
const firstProof = 30 * time.Second

// tidyEvery is how often it is looked whether a proof was cut off.
const tidyEvery = time.Minute

// Proofs has the mounted key proved now and then, and after each change of it.
// All fields are required.
type Proofs struct {
	Prover  *Prover
	Every   time.Duration // zero: never, but for what an earlier run left begun
	Log     hclog.Logger
	Publish func(Proof) // must not block
	states  chan State  // the newest; has room for one
	untidy  bool        // said so
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
	var tried, proved Proof // the newest, and the one that is told
	var keys string         // that were proved
	var next time.Time
	timer := time.NewTimer(tidyEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-p.states:
			if s.Phase == Active && (state.Phase != Active || mountOf(state) != mountOf(s)) {
				next = time.Now().Add(firstProof)
				timer.Reset(firstProof)
			}
			state = s
			if proved.Result != "" && keys != mountOf(state) { // it speaks of other keys
				tried, proved = Proof{}, Proof{}
				p.Publish(proved)
			}
			continue
		case <-timer.C:
		}
		timer.Reset(tidyEvery)
		if state.Phase != Active {
			continue
		}
		p.tidy(ctx)
		if p.Every == 0 || time.Now().Before(next) {
			continue
		}
		before := tried
		keys, tried = mountOf(state), p.Prover.Prove(ctx)
		if ctx.Err() != nil {
			return
		}
		next = time.Now().Add(jitter(p.Every-p.Every/10, p.Every/5, random()))
		p.say(before, tried)
		// A proof that came to no verdict makes no wrong key right. That a key
		// was right is not kept so: it would hide that nobody sees it any more.
		if proved.Result == ProofInvalid && tried.Result != ProofValid && tried.Result != ProofInvalid {
			continue
		}
		proved = tried
		p.Publish(proved)
	}
}

// mountOf names what is mounted: keys, and whether they can be used.
func mountOf(s State) string { return s.Keys + " " + s.KeyError }

// tidy cancels what was left begun, by us or by a check in the container.
func (p *Proofs) tidy(ctx context.Context) {
	err := p.Prover.Tidy(ctx)
	if err != nil && !p.untidy {
		p.Log.Warn(msgNotTidy, keyError, err)
	}
	p.untidy = err != nil
}

// say tells of a proof what is new about it.
func (p *Proofs) say(before, now Proof) {
	level := hclog.Debug
	if before.Result != now.Result {
		level = hclog.Info
	}
	if now.Result == ProofValid && now.Reason != "" {
		p.Log.Warn(msgNotTidy, keyError, now.Reason)
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
