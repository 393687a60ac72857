package unseal

import (
	"context"
	"errors"
	"time"
)

// sender is what is sent to unseal Vault, and what came of it.
type sender struct {
	attempt      *attempt
	call         *call     // in flight
	notBefore    time.Time // the next
	failures     int       // attempts in a row that ended in an error
	interfered   int       // attempts in a row that somebody else spoilt
	confirmation confirmation
	recheck      recheck
	briefOpening briefOpening
	undecided    string // names the keys that opened Vault if it is seen open, though no answer said so
	joining      bool   // it may be seen sealed until then

	interferenceLogged bool // for this seal
}

// resetAttempt forgets what was under way with another process.
func (l *Loop) resetAttempt() {
	l.sender.call.drop()
	l.keys.wipe()
	l.sender = sender{briefOpening: l.sender.briefOpening}
}

// send sends the next share. An attempt begins with reading the keys again,
// and they stay in memory only as long as it lasts. The result says whether
// the keys turned out to be others than was thought.
func (l *Loop) send(now time.Time) (again bool) {
	if l.sender.attempt == nil {
		if combination, state, _ := l.pick(); state == KeysUsable && combination == nil {
			return l.confirmRefusals(now)
		}
		l.loadKeys(true)
		combination, _, _ := l.pick()
		if combination == nil {
			l.keys.wipe()
			return true
		}
		l.sender.attempt = &attempt{shares: combination, scope: l.scope(), allOurs: true, raft: l.prober.status.Raft}
	}
	if len(l.keys.shares) == 0 || l.sender.attempt.scope != l.scope() { // others since the attempt began, or gone
		l.endAttempt()
		return true
	}
	share := l.keys.shares[l.sender.attempt.share()].clone()
	l.sender.call = l.start(now, func(ctx context.Context) func() {
		defer share.Wipe()
		status, err := l.Vault.Unseal(ctx, share)
		return func() { l.handleUnseal(now, status, err) }
	})
	return false
}

func (l *Loop) endAttempt() {
	l.sender.attempt = nil
	l.keys.wipe()
}

func (l *Loop) handleUnseal(asked time.Time, s SealStatus, err error) {
	l.sender.call = nil
	now := time.Now()
	a := l.sender.attempt
	v, disturbed := a.record(s, err)
	l.Log.Debug(msgAttempt, keyVerdict, v.String(), keyProgress, s.Progress, keyNeeded, a.scope.Threshold)
	if err == nil {
		l.prober.status, l.prober.statusAt = s, asked
	}
	if v != connectionLost {
		// Vault answers again, and what it is going to say to the probes that
		// wait is older.
		l.dropProbes()
		if l.prober.answer == AnswerOverdue {
			l.prober.answer = AnswerSealed
		}
	}
	if disturbed || v == interfered {
		l.sender.confirmation = confirmation{}
		if !l.sender.interferenceLogged {
			l.sender.interferenceLogged = true
			l.Log.Warn(msgInterfered)
		}
	}
	if v == more && a.scope == l.scope() {
		return
	}
	l.endAttempt()
	l.sender.notBefore, l.sender.undecided, l.sender.joining = now, "", v == joining
	// An unseal that hung for longer than Vault lets a request last is answered by
	// an error, though it has opened Vault (vault/core.go, DefaultMaxRequestDuration).
	// An error that came at once, or before the key went out, is no such one.
	hung := v == sendFailed && now.Sub(asked) >= hangThreshold && !errors.Is(err, ErrWithheld)
	if (hung || v == joining) && a.complete() {
		l.sender.undecided = a.scope.Keys
	}
	if v != more {
		l.Meter.Attempted(v.String())
	}
	l.handleVerdict(v, a, now, err)
}

func (l *Loop) handleVerdict(v verdict, a *attempt, now time.Time, err error) {
	switch v {
	case opened:
		// With a threshold of 1 a share that finds Vault open already is taken for the
		// one that opened it: Vault answers both alike.
		if a.complete() {
			l.recordUnseal(a.scope.Keys)
		}
		l.sender.briefOpening.opened(a.scope.Process, now)
		if !l.prober.answer.unsealed() { // or somebody was faster
			l.prober.answer, l.prober.answerError = AnswerUnsealed, ""
		}
	case rejected:
		l.recordRejection(a)
	case interfered:
		l.sender.interfered++
		l.sender.failures = 0
		l.sender.notBefore = now.Add(interferenceBackoff(l.sender.interfered, random()))
	case inconclusive:
		l.sender.interfered++
		l.sender.notBefore = now.Add(max(idleInterval, retryInterval(l.sender.interfered, random())))
	case joining: // believed whatever lies in Vault then, or anybody could have the key sent again and again
		l.Log.Info(msgJoining)
		l.sender.notBefore = now.Add(joinTimeout)
	case connectionLost:
		l.prober.answer, l.process.recorded = AnswerRefused, false
		l.process.epoch++
		l.recordFailure(now, err)
	case sendFailed:
		// It may have opened Vault all the same: what is true now has to be seen.
		l.prober.answer, l.prober.next = NoAnswer, now
		l.recordFailure(now, err)
	case more: // the keys changed: again with the new ones
	}
}

func (l *Loop) recordFailure(now time.Time, err error) {
	l.sender.failures++
	l.prober.answerError, l.trouble = err.Error(), err.Error()
	l.withheld = errors.Is(err, ErrWithheld)
	interval := failureInterval
	if l.withheld { // it waits for another process, which is noticed at once
		interval = retryInterval
	}
	l.sender.notBefore = now.Add(interval(l.sender.failures, random()))
}

// briefOpening notes that a process said it was opened, until a probe has seen it open.
// One that turns out to be sealed all the same is sent the key in growing
// intervals: it would say so again as fast as it is asked.
type briefOpening struct {
	process string
	times   int       // in a row
	until   time.Time // nothing is sent to this process before
}

func (b *briefOpening) opened(process string, now time.Time) {
	if b.process != process {
		*b = briefOpening{process: process}
	}
	b.times++
	b.until = now.Add(retryInterval(b.times, random()))
}

func (b *briefOpening) holds(process string, now time.Time) bool {
	return b.process == process && now.Before(b.until)
}
