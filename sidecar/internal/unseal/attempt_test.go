package unseal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

var errStorage = errors.New("answered 500: storage trouble")

// said is one answer to an unseal.
type said struct {
	status SealStatus
	err    error
}

func counts(progress int, nonce string) said {
	return said{status: SealStatus{Initialized: true, Sealed: true, Type: "shamir", Threshold: 3, Shares: 5, Progress: progress, Nonce: nonce}}
}

var (
	isOpen    = said{status: SealStatus{Initialized: true, Type: "shamir", Threshold: 3, Shares: 5}}
	isInvalid = said{err: fmt.Errorf("unsealing: %w", ErrInvalidKey)}
	isTrouble = said{err: errStorage}
	isBroken  = said{err: fmt.Errorf("connection broken: %w", ErrUnreachable)}
)

func TestAttempt(t *testing.T) {
	for _, row := range []struct {
		sentence  string
		threshold int
		shares    int // to be sent
		said      []said
		want      verdict
		disturbed bool
	}{
		{"the whole key opens", 1, 1, []said{isOpen}, opened, false},
		{"the whole key is wrong", 1, 1, []said{isInvalid}, rejected, false},
		{"three shares open at the third", 3, 3, []said{counts(1, "a"), counts(2, "a"), isOpen}, opened, false},
		{"a refusal after three counted shares of ours is a wrong combination", 3, 3, []said{counts(1, "a"), counts(2, "a"), isInvalid}, rejected, false},
		{"between shares there is nothing to say yet", 3, 3, []said{counts(1, "a"), counts(2, "a")}, more, false},

		{"garbage that lay there makes a refusal no verdict on ours", 3, 3, []said{counts(2, "a"), isInvalid}, interfered, false},
		{"so does more of it, at our first share", 3, 3, []said{isInvalid}, interfered, false},
		{"a refusal at our last share with garbage below it is none either", 3, 3, []said{counts(2, "a"), counts(2, "a"), isInvalid}, interfered, false},
		{"good shares that lay there help", 3, 3, []said{counts(2, "a"), isOpen}, opened, false},

		{"a stranger's share between ours is seen by the count", 3, 3, []said{counts(1, "a"), counts(3, "a")}, more, true},
		{"and the refusal that follows is no verdict", 5, 5, []said{counts(1, "a"), counts(3, "a"), counts(4, "a"), isInvalid}, interfered, false},
		{"a threshold that comes early was filled by a stranger", 3, 3, []said{counts(1, "a"), isInvalid}, interfered, true},
		{"a reset between ours is seen by the count", 3, 3, []said{counts(1, "a"), counts(1, "b")}, more, true},
		{"a reset and a stranger's share are seen by the nonce, though the count is right", 3, 3, []said{counts(1, "a"), counts(2, "b")}, more, true},
		{"and the refusal that follows is no verdict", 3, 3, []said{counts(1, "a"), counts(2, "b"), isInvalid}, interfered, false},
		{"all are sent and Vault is sealed still: others took part", 3, 3, []said{counts(1, "a"), counts(1, "b"), counts(2, "b")}, interfered, false},
		{"a reset just before our last share", 3, 3, []said{counts(1, "a"), counts(2, "a"), counts(1, "b")}, interfered, true},

		{"our own first share that an earlier run left is ours", 3, 3, []said{counts(1, "a"), counts(2, "a"), isInvalid}, rejected, false},
		{"two that an earlier run left count ahead of us, and open", 3, 3, []said{counts(2, "a"), counts(2, "a"), isOpen}, opened, false},

		{"an error is no verdict", 1, 1, []said{isTrouble}, sendFailed, false},
		{"nor is one at the last share", 3, 3, []said{counts(1, "a"), counts(2, "a"), isTrouble}, sendFailed, false},
		{"a connection that breaks tells nothing of what Vault did", 3, 3, []said{counts(1, "a"), isBroken}, connectionLost, false},
		{"a connection that breaks at the whole key neither", 1, 1, []said{isBroken}, connectionLost, false},
		{"Vault is unsealed at our first of three: we stop", 3, 3, []said{isOpen}, opened, false},

		{"a raft node accepts the key, and joins before it opens", 1, 1, []said{counts(0, "")}, joining, false},
		{"and so after three shares", 3, 3, []said{counts(1, "a"), counts(2, "a"), counts(0, "")}, joining, false},
		{"a count of nothing before our last share is a reset", 3, 3, []said{counts(1, "a"), counts(0, "")}, more, true},
		{"and one after a stranger's share is no word on ours", 3, 3, []said{counts(2, "a"), counts(2, "a"), counts(0, "")}, interfered, false},

		{"a raft node that knows no threshold yet accepts at any share", 0, 3, []said{counts(1, "a"), counts(0, "")}, joining, false},
		{"a raft node that joins tells no threshold: all are sent", 0, 2, []said{counts(1, "a")}, more, false},
		{"and then it is waited for", 0, 2, []said{counts(1, "a"), counts(2, "a")}, inconclusive, false},
		{"what it refuses cannot be told, so the next is sent", 0, 2, []said{isInvalid}, more, false},
		{"and a refusal of the last is no verdict", 0, 2, []said{isInvalid, isInvalid}, inconclusive, false},
		{"it may open at once", 0, 2, []said{isOpen}, opened, false},
		{"its errors are errors", 0, 2, []said{isTrouble}, sendFailed, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			places := make([]int, row.shares)
			for n := range places {
				places[n] = n + 10
			}
			a := newAttempt(places, Scope{Process: "p", Keys: "k", Threshold: row.threshold, Shares: 5}, true)
			for n, s := range row.said {
				assert.Equal(t, n+10, a.share(), "the next share")
				v, disturbed := a.took(s.status, s.err)
				if n < len(row.said)-1 {
					assert.Equal(t, more.String(), v.String(), "after answer %d", n+1)
					continue
				}
				assert.Equal(t, row.want.String(), v.String())
				assert.Equal(t, row.disturbed, disturbed, "disturbed")
			}
		})
	}
}

// Whatever Vault and others do, a refusal counts only when each answer before
// it counted exactly our shares under one nonce.
func TestOnlyAnUndisturbedAttemptIsRejected(t *testing.T) {
	answers := []said{counts(0, ""), counts(1, "a"), counts(2, "a"), counts(1, "b"), counts(2, "b"), isInvalid, isTrouble, isBroken, isOpen}
	for _, first := range answers {
		for _, second := range answers {
			for _, third := range answers {
				a := newAttempt([]int{0, 1, 2}, Scope{Threshold: 3, Shares: 5}, true)
				verdict := more
				for _, s := range []said{first, second, third} {
					if verdict, _ = a.took(s.status, s.err); verdict != more {
						break
					}
				}
				ours := first.status.Progress == 1 && second.status.Progress == 2 && first.status.Nonce == second.status.Nonce && third == isInvalid
				assert.Equal(t, ours, verdict == rejected, "%+v, %+v, %+v: %s", first, second, third, verdict)
			}
		}
	}
}
