package unseal

import "errors"

// attempt follows the sending of one combination, share by share.
//
// Vault keeps the distinct shares it was sent under one nonce and tries them
// when there are t. Anybody may send shares, and sending and progress cannot
// be made atomic. What can be known is this: when each answer counts as many
// shares as we have sent, under one nonce since our first, then all of them
// were ours by then. A refusal carries no count: what came in just before the
// last share shows in nothing. So it takes two of them to be sure (confirmation.go).
type attempt struct {
	shares  []int        // places among the mounted shares, in the order of sending
	scope   AttemptScope // what a refusal would speak of
	sent    int
	nonce   string
	allOurs bool // at first, and as long as nobody else's share is counted
	raft    bool // Vault may be a replica that has yet to join its cluster
}

// share returns the place of the share to send now.
func (a *attempt) share() int { return a.shares[a.sent] }

// complete reports whether all shares were sent, and no share of another client was counted.
func (a *attempt) complete() bool { return a.allOurs && a.sent == len(a.shares) }

// verdict is what an answer to an unseal means for the attempt.
type verdict uint8

const (
	more           verdict = iota // go on with the next share
	opened                        // Vault is unsealed
	rejected                      // refused, and as far as can be seen every share of it was ours
	interfered                    // refused or gone astray with somebody else's shares in it
	sendFailed                    // an error that is no verdict on the key
	connectionLost                // the connection broke: what Vault did is not known
	inconclusive                  // to a raft node that joins: it tells no threshold to judge by
	joining                       // accepted by a raft node, which unseals itself once it has joined its cluster
)

// verdictNames are those of the log, and of the results that a Meter counts.
var verdictNames = [...]string{
	more: "more", opened: "opened", rejected: "rejected", interfered: "interfered",
	sendFailed: "failed", connectionLost: "lost", inconclusive: "undecided", joining: "accepted",
}

func (v verdict) String() string { return verdictNames[v] }

// Results lists what can become of an attempt to unseal.
func Results() []string { return verdictNames[opened:] }

// record digests the answer to the share last given out. disturbed is true when
// somebody was seen to send shares during the attempt itself; shares that lay
// there before it do not count.
func (a *attempt) record(s SealStatus, err error) (v verdict, disturbed bool) {
	first := a.sent == 0
	a.sent++
	last := a.sent == len(a.shares)
	switch invalid := errors.Is(err, ErrInvalidKey); {
	case a.raft && err == nil && s.Sealed && s.Progress == 0 && a.allOurs && (last || a.scope.Threshold == 0):
		// The shares are used up, and neither refused nor enough to open it at
		// once (vault/core.go, unsealWithRaft).
		return joining, false
	case a.scope.Threshold == 0 && (invalid || err == nil && s.Sealed):
		// It is not known which of the shares a refusal speaks of.
		if last {
			return inconclusive, false
		}
		return more, false
	case invalid:
		if a.allOurs && a.sent == a.scope.Threshold {
			return rejected, false
		}
		// Ours so far, and yet the threshold came early: somebody added to it.
		return interfered, a.allOurs && !first
	case errors.Is(err, ErrUnreachable):
		return connectionLost, false
	case err != nil:
		return sendFailed, false
	case !s.Sealed:
		return opened, false
	}
	wasOurs := a.allOurs
	if first {
		a.nonce = s.Nonce
	}
	a.allOurs = a.allOurs && s.Progress == a.sent && s.Nonce == a.nonce
	disturbed = !first && wasOurs && !a.allOurs
	if last {
		return interfered, disturbed
	}
	return more, disturbed
}
