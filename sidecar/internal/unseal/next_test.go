package unseal

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNext_PhaseAndAction(t *testing.T) {
	type obs = Observation
	for _, row := range []struct {
		sentence string
		phase    Phase
		observed Observation
		next     Phase
		action   Action
	}{
		{"with nothing heard yet, starting goes on", Starting, obs{}, Starting, Wait},
		{"with nothing new heard, any phase goes on", Held, obs{}, Held, Wait},

		{"a refused connection is an unreachable Vault", Starting, obs{Vault: AnswerRefused}, Unreachable, Wait},
		{"a Vault that was active and refuses is unreachable", Active, obs{Vault: AnswerRefused, Storage: StorageServes}, Unreachable, Wait},
		{"one that refuses during an unseal is unreachable", Unsealing, obs{Vault: AnswerRefused, Sending: true}, Unreachable, Wait},

		{"silence is an unresponsive Vault", Starting, obs{Vault: AnswerOverdue}, Unresponsive, Wait},
		{"an active Vault that falls silent is unresponsive", Active, obs{Vault: AnswerOverdue}, Unresponsive, Wait},
		{"silence during an unseal is the unseal that hangs: it holds Vault's lock", Unsealing, obs{Vault: AnswerOverdue, Sending: true}, UnsealHanging, Wait},

		{"an answer that is an error is a failing Vault", Starting, obs{Vault: AnswerError}, Failing, Wait},
		{"no share is sent to a Vault that answers with errors", Unsealing, obs{Vault: AnswerError, Keys: KeysUsable}, Failing, Wait},

		{"an uninitialized Vault is waited for", Starting, obs{Vault: AnswerUninitialized, Keys: KeysUsable}, Uninitialized, Wait},
		{"a seal that is not ours to open is left alone", Starting, obs{Vault: AnswerNotOurs, Keys: KeysUsable}, LeftAlone, Wait},

		{"a sealed Vault and a key: the share is sent at once", Unreachable, obs{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},
		{"after a share comes the next", Unsealing, obs{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},
		{"while one is on its way no other is sent", Unsealing, obs{Vault: AnswerSealed, Keys: KeysUsable, Sending: true}, Unsealing, Wait},
		{"an unseal that is overdue hangs, and is waited for", Unsealing, obs{Vault: AnswerSealed, Keys: KeysUsable, Sending: true, SendingOverdue: true}, UnsealHanging, Wait},
		{"one that hangs goes on hanging", UnsealHanging, obs{Vault: AnswerSealed, Keys: KeysUsable, Sending: true, SendingOverdue: true}, UnsealHanging, Wait},
		{"one that was answered is followed by the next share", UnsealHanging, obs{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},

		{"an unseal that ended in an error is tried again", Unsealing, obs{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true}, Failing, SendShare},
		{"a retry is no news until it ends differently", Failing, obs{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true, Sending: true}, Failing, Wait},
		{"a retry that hangs is", Failing, obs{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true, Sending: true, SendingOverdue: true}, UnsealHanging, Wait},
		{"a retry after a while away is an unseal", Unreachable, obs{Vault: AnswerSealed, Keys: KeysUsable, SendingFails: true, Sending: true}, Unsealing, Wait},

		{"a sealed Vault without a key waits for one", Unreachable, obs{Vault: AnswerSealed, Keys: KeysUnusable}, NoKey, Wait},
		{"a key that comes is sent", NoKey, obs{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},
		{"a key that was refused is not sent again", Unsealing, obs{Vault: AnswerSealed, Keys: KeysRejected}, KeyRejected, Wait},
		{"nor after an error", Failing, obs{Vault: AnswerSealed, Keys: KeysRejected, SendingFails: true}, KeyRejected, Wait},
		{"a refused key that changes is sent", KeyRejected, obs{Vault: AnswerSealed, Keys: KeysUsable}, Unsealing, SendShare},

		{"a seal set by hand is held", Active, obs{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"it is held with a wrong key too", Active, obs{Vault: AnswerSealed, Keys: KeysRejected, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"and without one", Active, obs{Vault: AnswerSealed, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"it stays held", Held, obs{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"a restarted sidecar holds it", Starting, obs{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true}, Held, Wait},
		{"it is unsealed when seals are not held", Active, obs{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true}, Unsealing, SendShare},
		{"it is opened when the keys changed", Held, obs{Vault: AnswerSealed, Keys: KeysUsable, SealedByHand: true, HoldSeals: true, Released: true}, Unsealing, SendShare},
		{"keys that changed to nothing good end the hold too", Held, obs{Vault: AnswerSealed, SealedByHand: true, HoldSeals: true, Released: true}, NoKey, Wait},
		{"it is opened when Vault is a new process", Held, obs{Vault: AnswerSealed, Keys: KeysUsable, HoldSeals: true}, Unsealing, SendShare},
		{"a held Vault that is unsealed manually is activating", Held, obs{Vault: AnswerUnsealed, HoldSeals: true}, Activating, Wait},
		{"a held Vault that goes away is unreachable", Held, obs{Vault: AnswerRefused, SealedByHand: true, HoldSeals: true}, Unreachable, Wait},

		{"an unsealed Vault has to say yet that it serves", Unsealing, obs{Vault: AnswerUnsealed}, Activating, Wait},
		{"one that has not said it yet goes on activating", Activating, obs{Vault: AnswerUnsealed}, Activating, Wait},
		{"another client's unseal ends ours", UnsealHanging, obs{Vault: AnswerUnsealed, Sending: true, SendingOverdue: true}, Activating, Wait},
		{"a standby serves, and its storage is the active one's affair", Activating, obs{Vault: AnswerStandby}, Standby, Wait},

		{"an active Vault has to read its storage before it is reported", Activating, obs{Vault: AnswerActive}, Activating, CheckStorage},
		{"also when it was silent before", Unresponsive, obs{Vault: AnswerActive}, Activating, CheckStorage},
		{"active, and storage was read: it serves", Activating, obs{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
		{"a Vault that serves goes on serving", Active, obs{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
		{"while storage is looked at again it serves still", Active, obs{Vault: AnswerActive}, Active, CheckStorage},
		{"a standby that becomes active serves while its storage is looked at", Standby, obs{Vault: AnswerActive}, Standby, CheckStorage},
		{"a lookup that is not answered is storage that hangs", Active, obs{Vault: AnswerActive, Storage: StorageSilent}, StorageHanging, Wait},
		{"storage that hangs from the start too", Activating, obs{Vault: AnswerActive, Storage: StorageSilent}, StorageHanging, Wait},
		{"storage goes on hanging until it was read", StorageHanging, obs{Vault: AnswerActive}, StorageHanging, CheckStorage},
		{"storage that was read hangs no more", StorageHanging, obs{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
		{"a lookup answered by an error is a failing Vault", Active, obs{Vault: AnswerActive, Storage: StorageErrors}, Failing, CheckStorage},
		{"it fails until storage was read", Failing, obs{Vault: AnswerActive}, Failing, CheckStorage},
		{"then it serves", Failing, obs{Vault: AnswerActive, Storage: StorageServes}, Active, Wait},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			next, action := Next(row.phase, row.observed)
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

func TestNext_KeepsItsInvariantsForEveryObservation(t *testing.T) {
	for p := Starting; p <= Active+1; p++ {
		everyObservation(func(o Observation) {
			next, action := Next(p, o)
			held := o.SealedByHand && o.HoldSeals && !o.Released
			answered := o.Vault > NoAnswer && o.Vault <= AnswerActive

			invariant := func(holds bool, what string) {
				if !holds {
					require.Fail(t, what, "from %s, seeing %+v, to %s and action %d", p, o, next, action)
				}
			}
			invariant(!next.Serving() || o.Vault == AnswerStandby || o.Vault == AnswerActive || !answered,
				"it serves only when Vault reports active or standby")
			invariant(next != Active || o.Storage == StorageServes || p == Active || !answered,
				"it becomes active only after storage was read")
			invariant(action != SendShare || o.Vault == AnswerSealed, "a share goes to a sealed Vault only")
			invariant(action != SendShare || !o.Sending, "one share at a time")
			invariant(action != SendShare || !held, "no share goes to a Vault that is held")
			invariant(action != SendShare || o.Keys != KeysRejected, "a refused key is not sent")
			invariant(action != SendShare || o.Keys != KeysUnusable, "a key that cannot be right is not sent")
			invariant(action != SendShare || next == Unsealing || next == Failing, "a share is sent only in a phase that sends")
			invariant(action != CheckStorage || o.Vault == AnswerActive, "storage is read through an active Vault only")
			invariant(next != Held || o.Vault == AnswerSealed && held || !answered, "held means sealed by hand")
			invariant(next != KeyRejected || o.Vault == AnswerSealed && o.Keys == KeysRejected || !answered, "locked means refused")
			invariant(next != UnsealHanging || o.Sending || !answered, "an unseal that hangs is on its way")
			invariant(next != Starting || !answered, "it starts once")

			again, _ := Next(next, o)
			invariant(again == next, "the same facts lead no further")
			_, _ = next.String(), next.Serving()
		})
	}
}

func TestPhases_EachHasANameAndAMessage(t *testing.T) {
	seen := map[string]bool{}
	for n, p := range Phases() {
		assert.Equal(t, Phase(n), p)
		assert.NotEmpty(t, p.String())
		assert.False(t, seen[p.String()], "two phases are called %s", p)
		seen[p.String()] = true
		text, err := p.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, p.String(), string(text))
		assert.NotEmpty(t, phases[p].Message, "%s has no message", p)
	}
	assert.Len(t, Phases(), int(Active)+1)
	assert.Len(t, phases, int(Active)+1)
	assert.Equal(t, "unknown", (Active + 1).String())
	assert.True(t, Active.Serving())
	assert.True(t, Standby.Serving())
	assert.False(t, StorageHanging.Serving())
	assert.False(t, Phase(200).Serving())
}
