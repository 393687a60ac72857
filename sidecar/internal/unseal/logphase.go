package unseal

import (
	"cmp"
	"time"

	"github.com/hashicorp/go-hclog"
)

// loggedPerHour is how many changes are logged at their level within an hour; all
// more of them are logged at debug. A recovery takes about five phases.
const loggedPerHour = 240

// LogLimiter keeps what flaps, such as Vault, from filling the log. The zero value is ready.
type LogLimiter struct {
	spent   time.Time // the hour's worth is spent at this moment, or was
	Limited bool      // the newest change might not be logged at its level
}

// Allow reports whether one more change may be logged at its level. Once it may not,
// half of an hour's worth has to come back first.
func (v *LogLimiter) Allow(now time.Time) bool {
	spent := v.spent
	if spent.Before(now) {
		spent = now
	}
	spent = spent.Add(time.Hour / loggedPerHour)
	limit := time.Hour
	if v.Limited {
		limit /= 2
	}
	v.Limited = spent.Sub(now) > limit
	if !v.Limited {
		v.spent = spent
	}
	return !v.Limited
}

// Calm reports whether nothing was logged for so long that it makes no difference any more.
func (v *LogLimiter) Calm(now time.Time) bool { return !v.spent.After(now) }

// enter makes phase p the current one, and reports whether it was not.
func (l *Loop) enter(p Phase, now time.Time) bool {
	reason := l.reasonFor(p)
	if p == l.phase && reason == l.reason {
		return false
	}
	from, changed := l.phase, p != l.phase
	if changed {
		after := round(now.Sub(l.since))
		l.phase, l.since = p, now
		l.prober.next = now.Add(pollInterval(p, 0, random()))
		over := l.timeline.enter(p, now)
		l.onEnter(p)
		if over != nil {
			older := l.saved.History // it was published: a new list takes its place
			l.saved.History = append([]*Recovery{over}, older[:min(len(older), maxHistory-1)]...)
			l.Meter.Recovered(*over)
			l.save()
		}
		l.logPhase(now, []any{keyFrom, from.String(), keyAfter, after}, reason, !from.Serving())
	}
	l.reason = reason
	l.publish()
	return changed
}

func (l *Loop) onEnter(p Phase) {
	switch {
	case p == Held && l.saved.Hold == nil:
		l.saved.Hold = &SealHold{Process: l.process.current, Keys: l.keys.version}
		l.save()
	case l.prober.answer == AnswerSealed && l.holdReleased():
		l.Log.Info(msgReleased)
		l.saved.Unsealed, l.saved.Hold = "", nil
		l.save()
	case p == Unsealing && l.saved.Unsealed == l.process.current && l.process.current != "":
		l.Log.Warn(msgOverruled)
		l.saved.Unsealed = "" // said once for each seal
	case p.unsealed():
		l.sender.failures, l.sender.interfered, l.sender.interferenceLogged = 0, 0, false
		l.sender.confirmation, l.sender.recheck = confirmation{}, recheck{}
		if l.sender.undecided != "" { // a raft replica has joined, or an unseal that hung has come to its end
			l.recordUnseal(l.sender.undecided)
		}
	}
}

func (l *Loop) logPhase(now time.Time, args []any, reason string, wasDown bool) {
	t, last := phases[l.phase], l.timeline.last
	if reason != "" {
		args = append(args, keyReason, reason)
	}
	if advice := l.adviceFor(l.phase); advice != "" {
		args = append(args, keyAdvice, advice)
	}
	say := func(phase, recovery hclog.Level) {
		l.Log.Log(phase, t.Message, args...)
		if wasDown && l.phase.Serving() && last != nil {
			l.Log.Log(recovery, msgRecovered, keyTook, round(last.Took), keySteps, last.String())
		}
	}
	limited := l.logLimiter.Limited
	l.deferredLog = nil
	if l.logLimiter.Allow(now) {
		say(t.Level, hclog.Info)
		return
	}
	if !limited {
		l.Log.Warn(msgFlapping)
	}
	say(hclog.Debug, hclog.Debug)
	l.deferredLog = func() { say(t.Level, hclog.Info) }
}

func (l *Loop) publish() {
	shares := len(l.keys.lengths)
	if l.keys.problem != "" {
		shares = 0
	}
	s := Snapshot{
		Phase:    l.phase,
		Since:    l.since,
		Message:  phases[l.phase].Message,
		Reason:   l.reason,
		Advice:   l.adviceFor(l.phase),
		KeyError: cmp.Or(l.keys.problem, l.keys.shortfall),
		Shares:   shares,
		Remarks:  l.keys.remarks,
		Keys:     l.keys.version,
		Process:  l.process.current,
		Current:  l.timeline.current,
		Last:     l.timeline.last,
		History:  l.saved.History,
	}
	if o := l.saved.LastUnseal; o != nil {
		s.UnsealedAt, s.KeyChanged = o.At, l.keys.version != "" && l.keys.version != o.Keys
	}
	l.Publish(s)
}

// adviceFor is what a person should do, where the reason does not say it.
func (l *Loop) adviceFor(p Phase) string {
	if p == Failing && l.withheld {
		return ""
	}
	return phases[p].Advice
}

func (l *Loop) reasonFor(p Phase) string {
	switch p {
	case Failing:
		if l.prober.answer != AnswerError {
			return l.trouble
		}
		return l.prober.answerError
	case Unreachable:
		return l.prober.answerError
	case NoKey, KeyRejected:
		_, _, reason := l.pick()
		if p == KeyRejected && p == l.phase && l.sender.recheck.running {
			return l.reason
		}
		return reason
	case LeftAlone:
		return leftAloneReason(l.prober.status)
	default:
		return ""
	}
}

// leftAloneReason is why key shares cannot or must not unseal such a Vault; it is
// empty when they can.
func leftAloneReason(s SealStatus) string {
	switch {
	case s.Removed:
		return "this node was removed from its raft cluster"
	case s.Migration:
		return "a seal migration is under way"
	case s.Recovery:
		return "its seal is an auto-unseal with recovery keys, which open nothing"
	case s.Type != "shamir":
		return "its seal is " + s.Type + ", not shamir"
	default:
		return ""
	}
}
