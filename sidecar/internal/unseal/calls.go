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
	if len(l.probes) >= maxProbes || now.Before(l.nextProbe) {
		return
	}
	l.nextProbe = now.Add(besideEvery)
	health := l.phase.unsealed() && !l.askSeal
	identify := !health || !l.recorded
	c := &call{began: now}
	l.probes[c] = true
	l.start(c, func(ctx context.Context) func() {
		s := l.look(ctx, health, identify)
		return func() { l.tookProbe(c, s) }
	})
}

// start runs f beside the loop and hands the report it returns to the loop,
// unless the call was cancelled first.
func (l *Loop) start(c *call, f func(context.Context) func()) {
	ctx, cancel := context.WithCancel(l.ctx)
	c.cancel = cancel
	go func() {
		defer cancel()
		report := f(ctx)
		select {
		case l.reports <- report:
		case <-ctx.Done():
		}
	}()
}

// look asks Vault once. Who listens is read on both sides of the question,
// so that an answer is never laid at another process's door.
func (l *Loop) look(ctx context.Context, health, identify bool) sight {
	var before string
	if identify {
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
	l.Log.Trace(msgProbe, keyAnswered, s.answer, keyError, s.err)
	if s.health && s.answer == AnswerSealed {
		// Only the seal status tells threshold and process.
		l.askSeal, l.nextProbe = true, now
		return
	}
	l.askSeal = l.askSeal && s.health
	l.seen, l.seenError = s.answer, ""
	if s.err != nil {
		l.seenError = s.err.Error()
	} else if !s.health {
		l.status = s.status
	}
	l.place(s)
	l.nextProbe = now.Add(pace(l.phase, now.Sub(l.since), random()))
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
		process = unknownProcess + strconv.Itoa(l.epoch)
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
	switch s.answer {
	case AnswerUnsealed, AnswerNotYetActive, AnswerStandby, AnswerActive:
		l.recorded = true
		if l.memory.Unsealed != process || l.memory.Held != nil {
			l.memory.Unsealed, l.memory.Held = process, nil
			l.save()
		}
	default:
		l.recorded = false
	}
}

// startOver forgets what was under way with another process.
func (l *Loop) startOver() {
	if l.sending != nil {
		l.sending.cancel()
		l.sending = nil
	}
	l.endAttempt()
	l.troubles, l.mixtures, l.doubt, l.disturbed = 0, 0, 0, false
	l.sendAt = time.Time{}
}

func (l *Loop) dropProbes() {
	for c := range l.probes {
		c.cancel()
	}
	clear(l.probes)
}

// send sends the next share. An attempt begins with reading the keys again,
// and they stay in memory only as long as it lasts. The result says whether
// the keys turned out to be others than was thought.
func (l *Loop) send(now time.Time) (again bool) {
	if l.attempt == nil {
		l.loadKeys(true)
		combination, state, _ := l.pick()
		if state != KeysUsable {
			l.ring.wipe()
			return true
		}
		l.attempt = newAttempt(combination, l.scope())
	}
	if !l.ring.loaded() { // the keys went away during the attempt
		l.endAttempt()
		return true
	}
	share := l.ring.shares[l.attempt.share()].clone()
	c := &call{began: now}
	l.sending = c
	l.start(c, func(ctx context.Context) func() {
		defer share.Wipe()
		status, err := l.Vault.Unseal(ctx, share)
		return func() { l.tookUnseal(c, status, err) }
	})
	return false
}

func (l *Loop) endAttempt() {
	l.attempt = nil
	l.ring.wipe()
}

func (l *Loop) tookUnseal(c *call, s SealStatus, err error) {
	if l.sending != c {
		return
	}
	l.sending = nil
	now := time.Now()
	a := l.attempt
	v, disturbed := a.took(s, err)
	l.Log.Debug(msgAttempt, keyVerdict, v, keyProgress, s.Progress, keyNeeded, a.scope.Threshold)
	if err == nil {
		l.status = s
	}
	if disturbed {
		l.doubt = 2
	}
	if !l.disturbed && (disturbed || v == mixed) {
		l.disturbed = true
		l.Log.Warn(msgDisturbed)
	}
	if v == more && a.scope == l.scope() {
		return
	}
	l.endAttempt()
	l.sendAt = now
	switch v {
	case opened:
		// Probes that wait were asked of a sealed Vault.
		l.dropProbes()
		l.seen, l.seenError = AnswerUnsealed, ""
	case rejected:
		l.rejected(a)
	case mixed:
		l.mixtures++
		l.troubles = 0
		l.sendAt = now.Add(afterMixture(l.mixtures, random()))
		if a.scope.Threshold == 0 { // a raft node that joins takes its time
			l.sendAt = now.Add(watchEvery)
		}
	case lost:
		l.seen, l.recorded = AnswerRefused, false
		l.epoch++
		fallthrough
	case troubled:
		l.troubles++
		l.seenError, l.trouble = err.Error(), err.Error()
		l.sendAt = now.Add(afterTrouble(l.troubles, random()))
	case more: // the keys changed: again with the new ones
	}
}

// rejected counts a refusal, unless others were sending just before: then it
// has to be seen again to be believed.
func (l *Loop) rejected(a *attempt) {
	l.troubles, l.mixtures = 0, 0
	if l.doubt > 0 {
		l.doubt--
		return
	}
	if a.scope != l.scope() {
		return
	}
	l.Log.Warn(msgRefusedShares, keyShares, len(a.shares))
	l.memory.refuse(a.scope, a.shares)
	l.save()
}

// checkStorage makes Vault read its storage.
func (l *Loop) checkStorage(now time.Time) {
	c := &call{began: now}
	l.lookup = c
	l.start(c, func(ctx context.Context) func() {
		err := l.Vault.ReadStorage(ctx)
		return func() { l.tookLookup(c, err) }
	})
}

func (l *Loop) tookLookup(c *call, err error) {
	if l.lookup != c {
		return
	}
	l.lookup = nil
	now := time.Now()
	switch {
	case err == nil:
		l.storage, l.lookupBad = StorageServes, 0
		l.storageDue = now.Add(jitter(l.StorageProbe*9/10, l.StorageProbe/5, random()))
	case errors.Is(err, ErrUnreachable):
		l.storage, l.lookupAt, l.nextProbe = StorageUnknown, now.Add(besideEvery), now
	default:
		l.lookupBad++
		l.storage, l.trouble = StorageErrors, err.Error()
		l.lookupAt = now.Add(afterTrouble(l.lookupBad, random()))
	}
}

// dropLookup forgets what is known of the storage.
func (l *Loop) dropLookup() {
	if l.lookup != nil {
		l.lookup.cancel()
		l.lookup = nil
	}
	l.storage, l.lookupBad, l.lookupAt = StorageUnknown, 0, time.Time{}
}
