// Package unseal is the story of one Vault: what it is seen to do, what that
// means, and what is done about it. It holds the phases, the pure transition
// between them, the bookkeeping of key shares, and the loop that owns it all.
//
// It knows no wire and no disk: Vault, the mounted key, the process table and
// the state file come in through the small interfaces of deps.go.
package unseal

import (
	"fmt"
	"slices"
)

// Phase is what is known of Vault now. The zero Phase is Starting.
type Phase uint8

// The phases, from the furthest from serving to the nearest.
const (
	Starting       Phase = iota // nothing has been seen yet
	Unreachable                 // connections are refused, or break
	Unresponsive                // connections are accepted and never answered
	Failing                     // answers are errors
	Uninitialized               // vault operator init has not been run
	LeftAlone                   // not Shamir, in migration, or out of its cluster
	NoKey                       // sealed, and the mounted key cannot be used
	Unsealing                   // sealed, shares are being sent
	UnsealHanging               // an unseal is sent and its answer is overdue
	KeyRejected                 // every combination of the shares was refused
	Held                        // sealed on purpose and left so
	Activating                  // unsealed, not yet known to serve
	StorageHanging              // active, and its storage does not answer
	Standby                     // unsealed, another replica is active
	Active                      // unsealed, active, storage was read
)

// Phases lists every phase in order.
func Phases() []Phase {
	all := make([]Phase, len(phases))
	for i := range all {
		all[i] = Phase(i)
	}
	return all
}

// String returns the phase's name as logs and /status show it.
func (p Phase) String() string { return p.Info().Name }

// Info returns what is fixed of the phase.
func (p Phase) Info() PhaseInfo {
	if int(p) < len(phases) {
		return phases[p]
	}
	return PhaseInfo{Name: "unknown", State: "unknown"}
}

// MarshalText implements encoding.TextMarshaler.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Phase) UnmarshalText(text []byte) error {
	i := slices.IndexFunc(phases[:], func(p PhaseInfo) bool { return p.Name == string(text) })
	if i < 0 {
		return fmt.Errorf("%q is no phase", text)
	}
	*p = Phase(i)
	return nil
}

// Serving reports whether Vault is unsealed and known to do its work.
func (p Phase) Serving() bool { return p == Active || p == Standby }

// unsealed reports whether sys/health is the question to ask next. Elsewhere
// it is sys/seal-status, which tells threshold and progress.
func (p Phase) unsealed() bool { return p == Activating || p == StorageHanging || p.Serving() }
