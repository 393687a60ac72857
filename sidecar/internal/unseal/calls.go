package unseal

import (
	"context"
	"errors"
	"time"
)

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

// send sends the next share. An attempt begins with reading the keys again,
// and they stay in memory only as long as it lasts. The result says whether
// the keys turned out to be others than was thought.
func (l *Loop) send(now time.Time) (again bool) {
	if l.attempt == nil {
		if l.doubtful() {
			return l.secondRound(now)
		}
		l.loadKeys(true)
		combination, state, _ := l.pick()
		if state != KeysUsable || l.doubtful() {
			l.ring.wipe()
			return true
		}
		l.attempt = newAttempt(combination, l.scope(), l.status.Raft)
	}
	if !l.ring.loaded() || l.attempt.scope != l.scope() { // others since the attempt began, or gone
		l.endAttempt()
		return true
	}
	l.accepted = false
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
	l.Log.Debug(msgAttempt, keyVerdict, v.String(), keyProgress, s.Progress, keyNeeded, a.scope.Threshold)
	if err == nil {
		l.status, l.statusAt = s, c.began
	}
	if v != lost {
		// Vault answers again, and what it is going to say to the probes that
		// wait is older.
		l.dropProbes()
		if l.seen == AnswerOverdue {
			l.seen = AnswerSealed
		}
	}
	if disturbed || v == mixed {
		l.doubt = doubt{}
		if !l.disturbed {
			l.disturbed = true
			l.Log.Warn(msgDisturbed)
		}
	}
	if v == more && a.scope == l.scope() {
		return
	}
	l.endAttempt()
	l.sendAt, l.allSent = now, ""
	if (v == troubled || v == joining) && a.ours && a.sent == len(a.shares) {
		l.allSent = a.scope.Keys
	}
	if v != more {
		l.Meter.Attempted(results[v])
	}
	switch v {
	case opened:
		l.opened(a.scope.Keys)
		l.brief.opened(a.scope.Process, now)
		if !l.seen.unsealed() { // or somebody was faster
			l.seen, l.seenError = AnswerUnsealed, ""
		}
	case rejected:
		l.rejected(a)
	case mixed:
		l.mixtures++
		l.troubles = 0
		l.sendAt = now.Add(afterMixture(l.mixtures, random()))
	case allSent:
		l.mixtures++
		l.sendAt = now.Add(max(watchEvery, afterTrouble(l.mixtures, random())))
	case joining:
		l.Log.Info(msgJoining)
		l.accepted, l.sendAt = true, now.Add(joinsWithin)
	case lost:
		l.seen, l.recorded = AnswerRefused, false
		l.epoch++
		l.inTrouble(now, err)
	case troubled:
		// An unseal that hung for longer than Vault lets a request last is
		// answered by an error, though it has opened Vault (vault/core.go,
		// DefaultMaxRequestDuration): what is true now has to be seen.
		l.seen, l.nextProbe = NoAnswer, now
		l.inTrouble(now, err)
	case more: // the keys changed: again with the new ones
	}
}

func (l *Loop) inTrouble(now time.Time, err error) {
	l.troubles++
	l.seenError, l.trouble = err.Error(), err.Error()
	l.withheld = errors.Is(err, ErrWithheld)
	l.sendAt = now.Add(afterTrouble(l.troubles, random()))
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
	if errors.Is(err, ErrNotVault) {
		l.loseTrack()
	}
	now := time.Now()
	switch {
	case err == nil:
		l.storage, l.lookupBad = StorageServes, 0
		l.storageDue = now.Add(jitter(l.StorageProbe-l.StorageProbe/10, l.StorageProbe/5, random()))
	case errors.Is(err, ErrUnreachable):
		l.storage, l.lookupAt, l.nextProbe = StorageUnknown, now.Add(besideEvery), now
	default:
		l.lookupBad++
		l.storage, l.trouble, l.withheld = StorageErrors, err.Error(), errors.Is(err, ErrWithheld)
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
