package unseal

// Answer is what Vault was last seen to say.
type Answer uint8

const (
	NoAnswer            Answer = iota // none yet, and none overdue
	AnswerRefused                     // the connection was refused or broke
	AnswerOverdue                     // a probe has waited longer than overdueAfter
	AnswerError                       // an HTTP error, or no Vault at all
	AnswerUninitialized               // initialized=false
	AnswerNotOurs                     // a seal that shares cannot or must not open
	AnswerSealed                      // sealed=true, Shamir; of health: 501, 503 or 530, whatever the seal
	AnswerUnsealed                    // sealed=false, health not asked yet
	AnswerStandby                     // health 429, and 472 to 474: unsealed, not the active one
	AnswerActive                      // health 200
)

func (a Answer) unsealed() bool { return a >= AnswerUnsealed && a <= AnswerActive }

// KeyState is what the mounted shares are good for at Vault's threshold.
type KeyState uint8

const (
	KeysUnusable KeyState = iota // missing, malformed, or too few
	KeysUsable                   // a combination is left to try
	KeysRejected                 // every combination was refused
)

// StorageState is what the last lookup of a made-up token showed.
type StorageState uint8

const (
	StorageUnknown StorageState = iota // not looked at since Vault came back, or due again
	StorageServes                      // it was read
	StorageSilent                      // a lookup has waited longer than overdueAfter
	StorageErrors                      // the lookup was answered by an error
)

// Observation is everything that decides the next phase. It holds facts only:
// no time, no error, no key.
type Observation struct {
	Vault   Answer
	Keys    KeyState
	Storage StorageState

	SealedByHand bool // this very process was unsealed before
	HoldSeals    bool // the operator's policy is hold
	Released     bool // the keys changed since the seal was held

	Sending        bool // an unseal is in flight
	SendingOverdue bool // for longer than overdueAfter
	SendingFails   bool // the last attempt ended in an error that was no verdict on the key
	Rechecking     bool // a key that was refused is sent again
}

// Action is what the loop does next, besides probing at the phase's pace.
type Action uint8

const (
	Wait         Action = iota
	SendShare           // send the next share of the current combination
	CheckStorage        // look a made-up token up
)

// Next is the whole decision: from the phase and what is seen now to the next
// phase and the one thing to do. It is total and has no memory of its own.
func Next(p Phase, o Observation) (Phase, Action) {
	switch o.Vault {
	case AnswerRefused:
		return Unreachable, Wait
	case AnswerOverdue:
		if o.Sending {
			return UnsealHanging, Wait
		}
		return Unresponsive, Wait
	case AnswerError:
		return Failing, Wait
	case AnswerUninitialized:
		return Uninitialized, Wait
	case AnswerNotOurs:
		return LeftAlone, Wait
	case AnswerSealed:
		return nextSealed(p, o)
	case AnswerUnsealed:
		return Activating, Wait
	case AnswerStandby:
		return Standby, Wait
	case AnswerActive:
		return nextActive(p, o)
	default: // NoAnswer
		return p, Wait
	}
}

func nextSealed(p Phase, o Observation) (Phase, Action) {
	switch {
	case o.Sending && o.SendingOverdue:
		return UnsealHanging, Wait
	case o.Sending && p == Failing && o.SendingFails:
		return Failing, Wait // a retry is no news until it ends differently
	case o.Sending && p == KeyRejected && o.Rechecking:
		return KeyRejected, Wait
	case o.Sending:
		return Unsealing, Wait
	case o.SealedByHand && o.HoldSeals && !o.Released:
		return Held, Wait
	case o.Keys == KeysUnusable:
		return NoKey, Wait
	case o.Keys == KeysRejected:
		return KeyRejected, Wait
	case o.SendingFails:
		return Failing, SendShare
	case p == KeyRejected && o.Rechecking:
		return KeyRejected, SendShare
	default:
		return Unsealing, SendShare
	}
}

func nextActive(p Phase, o Observation) (Phase, Action) {
	switch o.Storage {
	case StorageServes:
		return Active, Wait
	case StorageSilent:
		return StorageHanging, Wait
	case StorageErrors:
		return Failing, CheckStorage
	default: // StorageUnknown
		if p.Serving() || p == StorageHanging || p == Failing {
			return p, CheckStorage
		}
		return Activating, CheckStorage
	}
}
