package unseal

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNext(t *testing.T) {
	type seen = Observation
	for _, row := range []struct {
		sentence string
		phase    Phase
		seen     Observation
		next     Phase
		action   Action
	}{
		{"with nothing heard yet, starting goes on", Starting, seen{}, Starting, Wait},
		{"with nothing new heard, any phase goes on", Held, seen{}, Held, Wait},

		{"a refused connection is an unreachable Vault", Starting, seen{Vault: AnswerRefused}, Unreachable, Wait},
		{"a Vault that was active and refuses is unreachable", Active, seen{Vault: AnswerRefused, Storage: StorageServes}, Unreachable, Wait},
		{"one that refuses during an unseal is unreachable", Unsealing, seen{Vault: AnswerRefused, Sending: true}, Unreachable, Wait},

		{"silence is an unresponsive Vault", Starting, seen{Vault: AnswerOverdue}, Unresponsive, Wait},
		{"an active Vault that falls silent is unresponsive", Active, seen{Vault: AnswerOverdue}, Unresponsive, Wait},
		{"silence during an unseal is the unseal that hangs: it holds Vault's lock", Unsealing, seen{Vault: AnswerOverdue, Sending: true}, UnsealHanging, Wait},

		{"an answer that is an error is a failing Vault", Starting, seen{Vault: AnswerError}, Failing, Wait},
		{"no share is sent to a Vault that answers with errors", Unsealing, seen{Vault: AnswerError, Keys: KeysUsable}, Failing, Wait},

		{"an uninitialized Vault is waited for", Starting, seen{Vault: AnswerUninitialized, Keys: KeysUsable}, Uninitialized, Wait},
		{"a seal that is not ours to open is left alone", Starting, seen{Vault: AnswerNotOurs, Keys: KeysUsable}, LeftAlone, Wait},

		{"a sealed Vault and a key: the share is sent at once", Unreachable, seen{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},
		{"after a share comes the next", Unsealing, seen{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},
		{"while one is on its way no other is sent", Unsealing, seen{Vault: AnswerSealed, Keys: KeysUsable, Sending: true}, Unsealing, Wait},
		{"an unseal that is overdue hangs, and is waited for", Unsealing, seen{Vault: AnswerSealed, Keys: KeysUsable, Sending: true, SendingOverdue: true}, UnsealHanging, Wait},
		{"one that hangs goes on hanging", UnsealHanging, seen{Vault: AnswerSealed, Keys: KeysUsable, Sending: true, SendingOverdue: true}, UnsealHanging, Wait},
		{"one that was answered is followed by the next share", UnsealHanging, seen{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},

		{"an unseal that ended in an error is tried again", Unsealing, seen{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true}, Failing, SendShare},
		{"a retry is no news until it ends differently", Failing, seen{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true, Sending: true}, Failing, Wait},
		{"a retry that hangs is", Failing, seen{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true, Sending: true, SendingOverdue: true}, UnsealHanging, Wait},
		{"a retry after a while away is an unseal", Unreachable, seen{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true, Sending: true}, Unsealing, Wait},

		{"a sealed Vault without a key waits for one", Unreachable, seen{Vault: AnswerSealed, Keys: KeysUnusable}, NoKey, Wait},
		{"a key that comes is sent", NoKey, seen{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},
		{"a key that was refused is not sent again", Unsealing, seen{Vault: AnswerSealed, Keys: KeysRejected}, KeyRejected, Wait},
		{"nor after an error", Failing, seen{Vault: AnswerSealed, Keys: KeysRejected, SendingFails: true}, KeyRejected, Wait},
		{"a refused key that changes is sent", KeyRejected, seen{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},

		{"a seal set by hand is held", Active, seen{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"it is held with a wrong key too", Active, seen{Vault: AnswerSealed, Keys: KeysRejected, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"and without one", Active, seen{Vault: AnswerSealed, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"it stays held", Held, seen{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"a restarted sidecar holds it", Starting, seen{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"it is opened when the policy says so", Active, seen{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true}, Unsealing, SendShare},
		{"it is opened when the keys changed", Held, seen{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true, Released: true}, Unsealing, SendShare},
		{"keys that changed to nothing good end the hold too", Held, seen{Vault: AnswerSealed, SealedByHand: true, HoldSeals: true, Released: true}, NoKey, Wait},
		{"it is opened when Vault is a new process", Held, seen{Vault: AnswerSealed, Keys: KeysUsable, HoldSeals: true}, Unsealing, SendShare},
		{"a held Vault that somebody unseals is on its way to serve", Held, seen{Vault: AnswerUnsealed, HoldSeals: true}, Activating, Wait},
		{"a held Vault that goes away is unreachable", Held, seen{Vault: AnswerRefused, SealedByHand: true, HoldSeals: true}, Unreachable, Wait},

		{"an unsealed Vault has to say yet that it serves", Unsealing, seen{Vault: AnswerUnsealed}, Activating, Wait},
		{"neither active nor standby is not serving", Activating, seen{Vault: AnswerNotYetActive}, Activating, Wait},
		{"somebody else's unseal ends ours", UnsealHanging, seen{Vault: AnswerUnsealed, Sending: true, SendingOverdue: true}, Activating, Wait},
		{"a standby serves, and its storage is the active one's affair", Activating, seen{Vault: AnswerStandby}, Standby, Wait},

		{"an active Vault has to read its storage before anybody is told", Activating, seen{Vault: AnswerActive}, Activating, CheckStorage},
		{"also when it was silent before", Unresponsive, seen{Vault: AnswerActive}, Activating, CheckStorage},
		{"active, and storage was read: it serves", Activating, seen{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
		{"a Vault that serves goes on serving", Active, seen{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
		{"while storage is looked at again it serves still", Active, seen{Vault: AnswerActive}, Active, CheckStorage},
		{"a standby that becomes active serves while its storage is looked at", Standby, seen{Vault: AnswerActive}, Standby, CheckStorage},
		{"a lookup that is not answered is storage that hangs", Active, seen{Vault: AnswerActive, Storage: StorageSilent}, StorageHanging, Wait},
		{"storage that hangs from the start too", Activating, seen{Vault: AnswerActive, Storage: StorageSilent}, StorageHanging, Wait},
		{"storage goes on hanging until it was read", StorageHanging, seen{Vault: AnswerActive}, StorageHanging, CheckStorage},
		{"storage that was read hangs no more", StorageHanging, seen{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
		{"a lookup answered by an error is a failing Vault", Active, seen{Vault: AnswerActive, Storage: StorageErrors}, Failing, CheckStorage},
		{"it fails until storage was read", Failing, seen{Vault: AnswerActive}, Failing, CheckStorage},
		{"then it serves", Failing, seen{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			next, action := Next(row.phase, row.seen)
			assert.Equal(t, row.next.String(), next.String())
			assert.Equal(t, row.action, action)
		})
	}
}

// everyObservation calls f with each combination of facts, and a few values
// that do not exist.
func everyObservation(f func(Observation)) {
	flags := []bool{false, true}
	for v := NoAnswer; v <= AnswerActive+1; v++ {
		for k := KeysUnusable; k <= KeysRejected+1; k++ {
			for s := StorageUnknown; s <= StorageErrors+1; s++ {
				for bits := range 64 {
					is := func(bit int) bool { return flags[bits>>bit&1] }
					f(Observation{
						Vault: v, Keys: k, Storage: s, SealedByHand: is(0), HoldSeals: is(1), Released: is(2),
						Sending: is(3), SendingOverdue: is(4), SendingFails: is(5),
					})
				}
			}
		}
	}
}

func TestNextHoldsItsPromisesForWhateverIsSeen(t *testing.T) {
	for p := Starting; p <= Active+1; p++ {
		everyObservation(func(o Observation) {
			next, action := Next(p, o)
			held := o.SealedByHand && o.HoldSeals && !o.Released
			answered := o.Vault > NoAnswer && o.Vault <= AnswerActive

			promise := func(kept bool, what string) {
				if !kept {
					require.Fail(t, what, "from %s, seeing %+v, to %s and action %d", p, o, next, action)
				}
			}
			promise(!next.Serving() || o.Vault == AnswerStandby || o.Vault == AnswerActive || !answered,
				"it serves only when Vault says that it is active or standby")
			promise(next != Active || o.Storage == StorageServes || p == Active || !answered,
				"it becomes active only after storage was read")
			promise(action != SendShare || o.Vault == AnswerSealed, "a share goes to a sealed Vault only")
			promise(action != SendShare || !o.Sending, "one share at a time")
			promise(action != SendShare || !held, "no share goes to a Vault that is held")
			promise(action != SendShare || o.Keys != KeysRejected, "a refused key is not sent")
			promise(action != SendShare || o.Keys != KeysUnusable, "a key that cannot be right is not sent")
			promise(action != SendShare || next == Unsealing || next == Failing, "a share is sent while the phase says so")
			promise(action != CheckStorage || o.Vault == AnswerActive, "storage is read through an active Vault only")
			promise(next != Held || o.Vault == AnswerSealed && held || !answered, "held means sealed by hand")
			promise(next != KeyRejected || o.Vault == AnswerSealed && o.Keys == KeysRejected || !answered, "locked means refused")
			promise(next != UnsealHanging || o.Sending || !answered, "an unseal that hangs is on its way")
			promise(next != Starting || !answered, "it starts once")

			again, _ := Next(next, o)
			promise(again == next, "the same facts lead no further")
			_, _ = next.String(), next.Serving()
		})
	}
}

func TestPhases(t *testing.T) {
	seen := map[string]bool{}
	for n, p := range Phases() {
		assert.Equal(t, Phase(n), p)
		assert.NotEmpty(t, p.String())
		assert.False(t, seen[p.String()], "two phases are called %s", p)
		seen[p.String()] = true
		text, err := p.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, p.String(), string(text))
		assert.NotEmpty(t, phases[p].Message, "nothing is said of %s", p)
	}
	assert.Len(t, Phases(), int(Active)+1)
	assert.Len(t, phases, int(Active)+1)
	assert.Equal(t, "unknown", (Active + 1).String())
	assert.True(t, Active.Serving())
	assert.True(t, Standby.Serving())
	assert.False(t, StorageHanging.Serving())
	assert.False(t, Phase(200).Serving())
}
