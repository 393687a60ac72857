package unseal

import "time"

// confirmation holds the refusals that were seen once. With a threshold above 1
// somebody could have sent shares between our last two, and nothing would
// show it; to believe that refusal would lock out a good key for good. So
// when every combination was refused, it is watched for a while whether
// anybody sends shares, and each is sent a second time. What is refused in
// both rounds, with nobody seen, is wrong. (With a threshold of 1 Vault
// decides on the one share alone: that refusal is believed at once.)
type confirmation struct {
	now      *Refused // in this round
	before   *Refused // in the round before
	watching bool     // for others, between the rounds
}

// rejected takes a refusal that showed no trace of anybody else.
func (l *Loop) rejected(a *attempt) {
	l.sender.failures, l.sender.interfered = 0, 0
	if a.scope != l.scope() {
		return
	}
	if a.scope.Threshold > 1 && !l.sender.confirmation.before.has(a.scope, a.shares) {
		l.sender.confirmation.now = l.sender.confirmation.now.with(a.scope, a.shares)
		return
	}
	l.Log.Warn(msgRefusedShares, keyShares, len(a.shares))
	l.saved.memory.Refused = l.saved.memory.Refused.with(a.scope, a.shares)
	l.saved.memory.Refused.At = time.Now().UTC()
	l.save()
}

// awaitsConfirmation reports whether all that is left to send was refused once.
func (l *Loop) awaitsConfirmation() bool {
	combination, state, _ := l.pick()
	return state == KeysUsable && combination == nil
}

// confirmRefusals begins to watch for others, or begins the second round when
// nobody was seen for long enough. The result says that it did.
func (l *Loop) confirmRefusals(now time.Time) (begun bool) {
	if !l.sender.confirmation.watching {
		l.sender.confirmation.watching = true
		l.sender.notBefore, l.prober.next = now.Add(confirmationDelay), now
		return false
	}
	l.sender.confirmation = confirmation{before: l.sender.confirmation.now}
	return true
}

// handleForeignShares takes note of shares that lie in Vault while none are being sent:
// refusals seen so far say nothing. That a raft replica has accepted the key is
// believed until joinsWithin is over all the same: whoever may send shares could have it sent again and
// again, and the replica unsealed as often.
func (l *Loop) handleForeignShares() { l.sender.confirmation = confirmation{} }
