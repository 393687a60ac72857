package unseal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

var errStorage = errors.New("answered 500: storage trouble")

// reply is one answer to an unseal request.
type reply struct {
	status SealStatus
	err    error
}

func progressed(progress int, nonce string) reply {
	return reply{status: SealStatus{Initialized: true, Sealed: true, Type: "shamir", Threshold: 3, Shares: 5, Progress: progress, Nonce: nonce}}
}

var (
	unsealedReply   = reply{status: SealStatus{Initialized: true, Type: "shamir", Threshold: 3, Shares: 5}}
	invalidKeyReply = reply{err: fmt.Errorf("unsealing: %w", ErrInvalidKey)}
	errorReply      = reply{err: errStorage}
	brokenReply     = reply{err: fmt.Errorf("connection broken: %w", ErrUnreachable)}
)

func TestAttempt_VerdictFollowsTheAnswers(t *testing.T) {
	for _, row := range []struct {
		sentence  string
		threshold int
		shares    int // to be sent
		replies   []reply
		want      verdict
		disturbed bool
	}{
		{"the whole key opens", 1, 1, []reply{unsealedReply}, opened, false},
		{"the whole key is wrong", 1, 1, []reply{invalidKeyReply}, rejected, false},
		{"three shares open at the third", 3, 3, []reply{progressed(1, "a"), progressed(2, "a"), unsealedReply}, opened, false},
		{"a refusal after three counted shares of ours is a wrong combination", 3, 3, []reply{progressed(1, "a"), progressed(2, "a"), invalidKeyReply}, rejected, false},
		{"between shares there is nothing to say yet", 3, 3, []reply{progressed(1, "a"), progressed(2, "a")}, more, false},

		{"garbage that lay there makes a refusal no verdict on ours", 3, 3, []reply{progressed(2, "a"), invalidKeyReply}, interfered, false},
		{"so does more of it, at our first share", 3, 3, []reply{invalidKeyReply}, interfered, false},
		{"a refusal at our last share with garbage below it is none either", 3, 3, []reply{progressed(2, "a"), progressed(2, "a"), invalidKeyReply}, interfered, false},
		{"good shares that lay there help", 3, 3, []reply{progressed(2, "a"), unsealedReply}, opened, false},

		{"a foreign share between ours is seen by the count", 3, 3, []reply{progressed(1, "a"), progressed(3, "a")}, more, true},
		{"and the refusal that follows is no verdict", 5, 5, []reply{progressed(1, "a"), progressed(3, "a"), progressed(4, "a"), invalidKeyReply}, interfered, false},
		{"a threshold that comes early was filled by another client", 3, 3, []reply{progressed(1, "a"), invalidKeyReply}, interfered, true},
		{"a reset between ours is seen by the count", 3, 3, []reply{progressed(1, "a"), progressed(1, "b")}, more, true},
		{"a reset and a foreign share are seen by the nonce, though the count is right", 3, 3, []reply{progressed(1, "a"), progressed(2, "b")}, more, true},
		{"and the refusal that follows is no verdict", 3, 3, []reply{progressed(1, "a"), progressed(2, "b"), invalidKeyReply}, interfered, false},
		{"all are sent and Vault is sealed still: others took part", 3, 3, []reply{progressed(1, "a"), progressed(1, "b"), progressed(2, "b")}, interfered, false},
		{"a reset just before our last share", 3, 3, []reply{progressed(1, "a"), progressed(2, "a"), progressed(1, "b")}, interfered, true},

		{"our own first share that an earlier run left is ours", 3, 3, []reply{progressed(1, "a"), progressed(2, "a"), invalidKeyReply}, rejected, false},
		{"two that an earlier run left count ahead of us, and open", 3, 3, []reply{progressed(2, "a"), progressed(2, "a"), unsealedReply}, opened, false},

		{"an error is no verdict", 1, 1, []reply{errorReply}, sendFailed, false},
		{"nor is one at the last share", 3, 3, []reply{progressed(1, "a"), progressed(2, "a"), errorReply}, sendFailed, false},
		{"a broken connection gives no verdict", 3, 3, []reply{progressed(1, "a"), brokenReply}, connectionLost, false},
		{"nor does one that breaks at the whole key", 1, 1, []reply{brokenReply}, connectionLost, false},
		{"Vault is unsealed at our first of three: we stop", 3, 3, []reply{unsealedReply}, opened, false},

		{"a raft node accepts the key, and joins before it opens", 1, 1, []reply{progressed(0, "")}, joining, false},
		{"and so after three shares", 3, 3, []reply{progressed(1, "a"), progressed(2, "a"), progressed(0, "")}, joining, false},
		{"a count of nothing before our last share is a reset", 3, 3, []reply{progressed(1, "a"), progressed(0, "")}, more, true},
		{"and one after a foreign share is no word on ours", 3, 3, []reply{progressed(2, "a"), progressed(2, "a"), progressed(0, "")}, interfered, false},

		{"a raft node that knows no threshold yet accepts at any share", 0, 3, []reply{progressed(1, "a"), progressed(0, "")}, joining, false},
		{"a joining raft node has no threshold: all shares are sent", 0, 2, []reply{progressed(1, "a")}, more, false},
		{"and then it is waited for", 0, 2, []reply{progressed(1, "a"), progressed(2, "a")}, inconclusive, false},
		{"its refusal is no verdict, so the next is sent", 0, 2, []reply{invalidKeyReply}, more, false},
		{"and a refusal of the last is no verdict", 0, 2, []reply{invalidKeyReply, invalidKeyReply}, inconclusive, false},
		{"it may open at once", 0, 2, []reply{unsealedReply}, opened, false},
		{"its errors are errors", 0, 2, []reply{errorReply}, sendFailed, false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			places := make([]int, row.shares)
			for n := range places {
				places[n] = n + 10
			}
			a := &attempt{shares: places, scope: AttemptScope{Process: "p", Keys: "k", Threshold: row.threshold, Shares: 5}, allOurs: true, raft: true}
			for n, s := range row.replies {
				assert.Equal(t, n+10, a.share(), "the next share")
				v, disturbed := a.record(s.status, s.err)
				if n < len(row.replies)-1 {
					assert.Equal(t, more.String(), v.String(), "after answer %d", n+1)
					continue
				}
				assert.Equal(t, row.want.String(), v.String())
				assert.Equal(t, row.disturbed, disturbed, "disturbed")
			}
		})
	}
}

// For any sequence of answers, a refusal counts only when each answer before
// it counted exactly our shares under one nonce.
func TestAttempt_IsRejectedOnlyWithoutInterference(t *testing.T) {
	answers := []reply{progressed(0, ""), progressed(1, "a"), progressed(2, "a"), progressed(1, "b"), progressed(2, "b"), invalidKeyReply, errorReply, brokenReply, unsealedReply}
	for _, first := range answers {
		for _, second := range answers {
			for _, third := range answers {
				a := &attempt{shares: []int{0, 1, 2}, scope: AttemptScope{Threshold: 3, Shares: 5}, allOurs: true, raft: true}
				verdict := more
				for _, s := range []reply{first, second, third} {
					if verdict, _ = a.record(s.status, s.err); verdict != more {
						break
					}
				}
				ours := first.status.Progress == 1 && second.status.Progress == 2 && first.status.Nonce == second.status.Nonce && third == invalidKeyReply
				assert.Equal(t, ours, verdict == rejected, "%+v, %+v, %+v: %s", first, second, third, verdict)
			}
		}
	}
}
