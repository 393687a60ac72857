package unseal

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// sight is what one probe saw.
type sight struct {
	answer  Answer
	health  bool // the question was sys/health
	status  SealStatus
	err     error
	process string // who listens; "" when it changed meanwhile or nobody does
	unknown error  // why the process cannot be known
}

// startProbe starts a probe when one is due. One that waits is left open: the
// first answer after a thaw is the fastest notice there is.
func (l *Loop) startProbe(now time.Time) {
	l.renewProbe(now)
	if len(l.probes) >= maxProbes || now.Before(l.nextProbe) {
		return
	}
	l.lastProbe, l.nextProbe = now, now.Add(besideEvery)
	if l.seen == AnswerRefused && len(l.probes) == 0 && l.Vault.Refuses() {
		l.Log.Trace(msgProbe, keyAnswered, int(AnswerRefused), keyError, nil)
		l.epoch++
		l.nextProbe = now.Add(pace(l.phase, now.Sub(l.since), random()))
		return
	}
	// While it fails the same question is asked again, or a health that fails
	// beside a seal status that does not would make two phases take turns.
	health := (l.phase.unsealed() || l.phase == Failing && l.askHealth) && !l.askSeal
	identify := !health || !l.recorded
	away := l.seen == AnswerRefused
	c := &call{began: now}
	l.probes[c] = true
	l.start(c, func(ctx context.Context) func() {
		s := l.look(ctx, health, identify, away)
		return func() { l.tookProbe(c, s) }
	})
}

// renewProbe gives the newest of the probes up once it has waited for long, where
// processes have no names. Elsewhere a connection ends when another process
// listens than took it; here whoever took Vault's port before it could keep its
// answers away for good.
func (l *Loop) renewProbe(now time.Time) {
	if len(l.probes) < maxProbes {
		return
	}
	var newest *call
	for c := range l.probes {
		if newest == nil || c.began.After(newest.began) {
			newest = c
		}
	}
	if now.Sub(newest.began) < renewAfter {
		return
	}
	if _, err := l.Processes.Process(); err != nil {
		newest.cancel()
		delete(l.probes, newest)
	}
}

// look asks Vault once. Who listens is read on both sides of the question,
// so that an answer is never laid at another process's door. Not so while Vault
// is away, when it would be most of what a probe costs: a seal is told by who
// listens after it, and any other answer by the next probe, which comes at once.
func (l *Loop) look(ctx context.Context, health, identify, away bool) sight {
	var before string
	if identify && !away {
		before, _ = l.Processes.Process()
	}
	s := ask(ctx, l.Vault, health)
	if !identify || s.answer == AnswerRefused || s.answer == AnswerError {
		return s
	}
	after, err := l.Processes.Process()
	sealed := s.answer == AnswerSealed || s.answer == AnswerUninitialized || s.answer == AnswerNotOurs
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

func ask(ctx context.Context, v Vault, health bool) sight {
	s := sight{health: health}
	if health {
		var h Health
		h, s.err = v.Health(ctx)
		s.answer = healthAnswers[h]
	} else {
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

var healthAnswers = [...]Answer{
	HealthOther:   AnswerNotYetActive,
	HealthSealed:  AnswerSealed,
	HealthStandby: AnswerStandby,
	HealthActive:  AnswerActive,
}

// ours reports whether key shares can and may unseal such a Vault.
func ours(s SealStatus) bool {
	return s.Type == "shamir" && !s.Recovery && !s.Migration && !s.Removed
}

func statusAnswer(s SealStatus) Answer {
	switch {
	case !s.Initialized:
		return AnswerUninitialized
	case !s.Sealed:
		return AnswerUnsealed
	case !ours(s):
		return AnswerNotOurs
	default:
		return AnswerSealed
	}
}

// tookProbe takes the first answer and drops the other probes: what they will
// say is older. (Vault reads its sealed flag before it waits for its lock, so
// a late answer can even be false.)
func (l *Loop) tookProbe(c *call, s sight) {
	if !l.probes[c] {
		return
	}
	l.dropProbes()
	now := time.Now()
	l.Log.Trace(msgProbe, keyAnswered, int(s.answer), keyError, s.err)
	if s.health && s.answer == AnswerSealed {
		// Only the seal status tells threshold and process.
		l.askSeal, l.nextProbe = true, now
		return
	}
	l.askHealth, l.askSeal = s.health, l.askSeal && s.health
	l.seen, l.seenError = s.answer, ""
	if s.err != nil {
		l.seenError, l.withheld = s.err.Error(), errors.Is(s.err, ErrWithheld)
	} else if !s.health {
		l.status, l.statusAt = s.status, c.began
	}
	if errors.Is(s.err, ErrBroken) || errors.Is(s.err, ErrNotVault) {
		l.loseTrack()
	}
	l.place(s)
	l.nextProbe = now.Add(pace(l.phase, now.Sub(l.since), random()))
	if l.attempt == nil && s.answer == AnswerSealed && s.status.Progress > 0 {
		l.seenOthers()
	}
	if l.doubt.watching {
		l.nextProbe = now.Add(quietEvery)
	}
}

// place notes which process gave the answer, and remembers it once it was
// seen unsealed.
func (l *Loop) place(s sight) {
	process := s.process
	switch {
	case s.answer == AnswerRefused:
		l.epoch++
		l.recorded = false
		return
	case s.unknown != nil:
		process = l.process // it was not away since it was placed
		if process == "" || l.placed != l.epoch {
			process = unknownProcess + strconv.Itoa(l.epoch)
		}
		if !l.noProcesses {
			l.noProcesses = true
			l.Log.Warn(msgNoProcess, keyReason, s.unknown)
		}
	}
	if process == "" {
		return
	}
	if process != l.process {
		l.process = process
		l.startOver()
	}
	l.placed, l.recorded = l.epoch, s.answer.unsealed()
	if l.recorded && (l.memory.Unsealed != process || l.memory.Held != nil) {
		l.memory.Unsealed, l.memory.Held = process, nil
		l.save()
	}
}

// loseTrack forgets which process answered: behind a proxy, which listens
// throughout, Vault may have restarted. What was unsealed before proves no seal
// by hand any more. That the key was refused stays: a proxy that fails now and
// then must not have it sent again and again. (Whoever can fake such an answer
// listens in Vault's place, and would be sent the key anyway.)
func (l *Loop) loseTrack() {
	l.epoch++
	l.process, l.recorded = "", false
	if l.memory.Unsealed != "" || l.memory.Held != nil {
		l.memory.Unsealed, l.memory.Held = "", nil
		l.save()
	}
}

// startOver forgets what was under way with another process.
func (l *Loop) startOver() {
	if l.sending != nil {
		l.sending.cancel()
		l.sending = nil
	}
	l.endAttempt()
	l.troubles, l.mixtures, l.doubt, l.disturbed = 0, 0, doubt{}, false
	l.sendAt, l.allSent = time.Time{}, ""
}

func (l *Loop) dropProbes() {
	for c := range l.probes {
		c.cancel()
	}
	clear(l.probes)
}
