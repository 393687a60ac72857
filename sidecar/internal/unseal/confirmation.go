package unseal

import (
	"fmt"
	"time"
)

// confirmation holds the refusals that were seen once. With a threshold above 1
// they are no proof (attempt.go), and to believe one would lock out a good key
// for good. So when every combination was refused, it is watched for a while
// whether anybody sends shares, and each is sent a second time. What is refused
// in both rounds, with nobody seen, is wrong. (With a threshold of 1 Vault
// decides on the one share alone: that refusal is believed at once.)
type confirmation struct {
	now      *RejectedKeys // in this round
	before   *RejectedKeys // in the round before
	watching bool          // for others, between the rounds
}

// recordRejection takes a refusal that showed no trace of anybody else.
func (l *Loop) recordRejection(a *attempt) {
	l.sender.failures, l.sender.interfered = 0, 0
	if a.scope != l.scope() {
		return
	}
	if a.scope.Threshold > 1 && !l.sender.confirmation.before.has(a.scope, a.shares) {
		l.sender.confirmation.now = l.sender.confirmation.now.with(a.scope, a.shares)
		return
	}
	if !l.sender.recheck.running {
		l.Log.Warn(msgRefusedShares, keyShares, len(a.shares))
	}
	l.saved.Rejected = l.saved.Rejected.with(a.scope, a.shares)
	l.saved.Rejected.At = time.Now().UTC()
	l.save()
}

// confirmRefusals begins to watch for others, or begins the second round when
// nobody was seen for long enough. The result says that it did.
func (l *Loop) confirmRefusals(now time.Time) (begun bool) {
	if !l.sender.confirmation.watching {
		l.sender.confirmation.watching = true
		l.sender.notBefore, l.prober.next = now.Add(jitter(confirmationDelay, confirmationDelay, random())), now
		return false
	}
	l.sender.confirmation = confirmation{before: l.sender.confirmation.now}
	return true
}

// recheck has a key that was refused sent again now and then, where the threshold is
// above 1: whoever may send shares can have hit both rounds, and with luck goes away
// unseen. A good key must not stay locked out because of that.
type recheck struct {
	running bool
	count   int       // of those since the key was refused
	at      time.Time // of the next; zero: none
	latest  time.Time // whatever lies in Vault
	foreign string    // what lay in Vault of somebody else's shares
}

// recheckIsDue begins a recheck of a key that was refused when its time has come, and
// ends the one that came to the same again.
func (l *Loop) recheckIsDue(now time.Time) bool {
	r := &l.sender.recheck
	foreign := ""
	if s := l.prober.status; s.Progress > 0 { // while none of ours are being sent
		foreign = fmt.Sprint(s.Nonce, s.Progress)
	}
	switch {
	case l.scope().Threshold <= 1:
		return false
	case r.running:
		*r = recheck{count: r.count + 1}
		fallthrough
	case r.at.IsZero():
		r.at = now.Add(recheckInterval(r.count, random()))
		r.latest = r.at.Add(2 * foreignSharesPause)
		return false
	case l.prober.statusAt.Before(l.sender.notBefore): // it may count ours
		return false
	case r.foreign != foreign:
		r.foreign = foreign
		if foreign != "" { // a person may be entering them
			r.at = now.Add(max(r.at.Sub(now), min(foreignSharesPause, r.latest.Sub(now))))
		}
		return false
	case now.Before(r.at):
		return false
	}
	r.running = true
	l.saved.Rejected, l.sender.confirmation = nil, confirmation{} // they are saved when they are known again
	return true
}
