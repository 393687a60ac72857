package unseal

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
)

// prober is what Vault was asked and has answered.
type prober struct {
	inFlight []*call   // the oldest first
	last     time.Time // when one was started
	next     time.Time // when the next is

	answer      Answer     // the newest
	answerError string     // its text, when it was an error
	askHealth   bool       // the newest answer was one of sys/health
	refused     bool       // nobody listens, and a call waits until somebody may
	heard       bool       // it has ended
	status      SealStatus // the newest
	statusAt    time.Time  // when it was asked for
	statusCall  *call      // asks an active Vault for it, beside the probes
	statusAsked time.Time  // when the newest of these began
	renewal     time.Time  // when it is next asked whether a probe is to be given up
}

type probeResult struct {
	answer  Answer
	health  bool // it is the answer of sys/health
	status  SealStatus
	err     error
	process string // who listens; "" when it changed meanwhile or nobody does
	unknown error  // why the process cannot be known
}

// startProbe starts a probe when one is due. One that waits is left open: the
// first answer after a thaw is the fastest notice there is.
func (l *Loop) startProbe(now time.Time) {
	l.renewProbe(now)
	if len(l.prober.inFlight) >= maxProbes || now.Before(l.prober.next) || l.prober.refused {
		return
	}
	if l.prober.answer == AnswerRefused && len(l.prober.inFlight) == 0 && !l.prober.heard {
		l.awaitListener()
		return
	}
	l.prober.last, l.prober.next, l.prober.heard = now, now.Add(extraProbeInterval), false
	// While it fails the same question is asked again, or a health that fails
	// beside a seal status that does not would make two phases take turns.
	health := l.phase.unsealed() || l.phase == Failing && l.prober.askHealth
	identify := !health || !l.process.recorded
	away := l.prober.answer == AnswerRefused
	l.prober.inFlight = append(l.prober.inFlight, l.start(now, func(ctx context.Context) func() {
		s := l.probe(ctx, health, identify, away)
		return func() { l.handleProbe(now, s) }
	}))
}

// awaitListener waits in the place of probes while nobody listens. The loop then
// turns for its other work alone: to turn it for each look would be most of what
// the looks cost.
func (l *Loop) awaitListener() {
	l.prober.refused = true
	since := l.since
	l.start(time.Now(), func(ctx context.Context) func() {
		l.Vault.AwaitListener(ctx, func() time.Duration {
			l.Log.Trace(msgProbe, keyAnswered, int(AnswerRefused), keyError, nil)
			return pollInterval(Unreachable, time.Since(since), random())
		})
		return func() {
			l.prober.refused, l.prober.heard, l.prober.next = false, true, time.Now()
			l.process.epoch++
		}
	})
}

// renewProbe gives the newest of the probes up once it has waited for long, where
// processes have no names. Elsewhere a connection ends when another process
// listens than took it; here whoever took Vault's port before it could keep its
// answers away for good. The loop goes on meanwhile: any process of the node can
// have the kernel take long to say who listens.
func (l *Loop) renewProbe(now time.Time) {
	newest := len(l.prober.inFlight) - 1
	if newest < maxProbes-1 || now.Sub(l.prober.inFlight[newest].began) < renewAfter || now.Before(l.prober.renewal) {
		return
	}
	l.prober.renewal = now.Add(renewAfter)
	probe := l.prober.inFlight[newest]
	l.start(now, func(context.Context) func() {
		_, err := l.Processes.Process()
		return func() {
			if at := slices.Index(l.prober.inFlight, probe); err != nil && at >= 0 {
				probe.drop()
				l.prober.inFlight = slices.Delete(l.prober.inFlight, at, at+1)
			}
		}
	})
}

// probe asks Vault once. Who listens is read on both sides of the question,
// so that an answer is never laid at another process's door. Not so while Vault
// is away, when it would be most of what a probe costs: a seal shows in who
// listens after it, and any other answer by the next probe, which comes at once.
func (l *Loop) probe(ctx context.Context, health, identify, away bool) probeResult {
	var before string
	if identify && !away {
		before, _ = l.Processes.Process()
	}
	s := askVault(ctx, l.Vault, health)
	if s.health && !identify || s.answer == AnswerRefused || s.answer == AnswerError {
		return s
	}
	after, err := l.Processes.Process()
	sealed := !s.answer.unsealed()
	switch {
	case err != nil:
		s.unknown = err
	case sealed && after == "":
		// Vault closes its listeners before it seals (command/server.go), so
		// this is one that stops, not one that was sealed.
		s.answer, s.err = AnswerRefused, errors.New("vault is stopping")
	case sealed || before == after:
		s.process = after
	}
	return s
}

func askVault(ctx context.Context, v Vault, health bool) probeResult {
	s := probeResult{health: health}
	if health {
		s.answer, s.err = v.Health(ctx)
	}
	if !health || s.err == nil && s.answer == AnswerSealed { // it alone has threshold and kind of seal
		s.health = false
		s.status, s.err = v.SealStatus(ctx)
		s.answer = statusAnswer(s.status)
	}
	switch {
	case errors.Is(s.err, ErrUnreachable):
		s.answer = AnswerRefused
	case s.err != nil:
		s.answer = AnswerError
	}
	return s
}

func statusAnswer(s SealStatus) Answer {
	switch {
	case !s.Initialized:
		return AnswerUninitialized
	case !s.Sealed:
		return AnswerUnsealed
	case leftAloneReason(s) != "":
		return AnswerNotOurs
	default:
		return AnswerSealed
	}
}

// handleProbe takes the first answer and drops the other probes: what they will
// say is older. (Vault reads its sealed flag before it waits for its lock, so
// a late answer can even be false.)
func (l *Loop) handleProbe(asked time.Time, s probeResult) {
	l.dropProbes()
	now := time.Now()
	l.Log.Trace(msgProbe, keyAnswered, int(s.answer), keyError, s.err)
	l.prober.askHealth = s.health
	l.prober.answer, l.prober.answerError = s.answer, ""
	if s.err != nil {
		l.prober.answerError, l.withheld = s.err.Error(), errors.Is(s.err, ErrWithheld)
	} else if !s.health {
		l.prober.status, l.prober.statusAt = s.status, asked
	}
	if errors.Is(s.err, ErrBroken) || errors.Is(s.err, ErrNotVault) {
		l.forgetProcess()
	}
	l.recordProcess(s)
	l.prober.next = now.Add(pollInterval(l.phase, now.Sub(l.since), random()))
	if s.answer == AnswerSealed && !l.sender.joining {
		l.sender.undecided = "" // who opens it after this is somebody else
	}
	if l.sender.attempt == nil && s.answer == AnswerSealed && s.status.Progress > 0 {
		l.sender.confirmation = confirmation{} // somebody else sends shares: refusals seen so far say nothing
	}
	if l.sender.confirmation.watching {
		l.prober.next = now.Add(confirmationInterval)
	}
}

func (l *Loop) dropProbes() {
	for _, c := range l.prober.inFlight {
		c.drop()
	}
	l.prober.inFlight = nil
}

// processTracker is which process of Vault answers.
type processTracker struct {
	current       string // as of the newest answer; "" unknown yet
	recorded      bool   // it was recorded as unsealed since it last broke off
	epoch         int    // counts the times Vault was away, where processes have no names
	seenIn        int    // the epoch in which current was seen
	unknownLogged bool   // that processes have no names
}

// recordProcess notes which process gave the answer, and remembers it once it was
// seen unsealed.
func (l *Loop) recordProcess(s probeResult) {
	process := s.process
	switch {
	case s.answer == AnswerRefused:
		l.process.epoch++
		l.process.recorded = false
		return
	case s.unknown != nil:
		process = l.process.current // it was not away since it was placed
		if process == "" || l.process.seenIn != l.process.epoch {
			process = unknownProcess + strconv.Itoa(l.process.epoch)
		}
		if !l.process.unknownLogged {
			l.process.unknownLogged = true
			l.Log.Warn(msgNoProcess, keyReason, s.unknown)
		}
	}
	if process == "" {
		return
	}
	if process != l.process.current {
		l.process.current = process
		l.resetAttempt()
	}
	l.process.seenIn, l.process.recorded = l.process.epoch, s.answer.unsealed()
	if l.process.recorded && (l.saved.Unsealed != process || l.saved.Hold != nil) {
		l.saved.Unsealed, l.saved.Hold = process, nil
		l.save()
	}
}

// forgetProcess forgets which process answered: behind a proxy, which listens
// throughout, Vault may have restarted. What was unsealed before proves no seal
// by hand any more. That the key was refused stays: a proxy that fails now and
// then must not have it sent again and again. (Whoever can fake such an answer
// listens in Vault's place, and would be sent the key anyway.)
func (l *Loop) forgetProcess() {
	l.process.epoch++
	l.process.current, l.process.recorded = "", false
	if l.saved.Unsealed != "" || l.saved.Hold != nil {
		l.saved.Unsealed, l.saved.Hold = "", nil
		l.save()
	}
}
