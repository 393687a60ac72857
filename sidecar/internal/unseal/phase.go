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

	"github.com/hashicorp/go-hclog"
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
func Phases() (all []Phase) {
	for i := range phases {
		all = append(all, Phase(i))
	}
	return all
}

func (p Phase) String() string               { return p.Info().Name }
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p Phase) Info() PhaseInfo {
	if int(p) < len(phases) {
		return phases[p]
	}
	return PhaseInfo{Name: "unknown", State: "unknown"}
}

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
// it is sys/seal-status, which has threshold and progress.
func (p Phase) unsealed() bool { return p == Activating || p == StorageHanging || p.Serving() }

// Severity is how urgent a phase is for a person.
type Severity string

const (
	SeverityGood Severity = "good" // all is well
	SeverityBusy Severity = "busy" // it goes on by itself
	SeverityHold Severity = "hold" // somebody wanted it so
	SeverityAct  Severity = "act"  // it takes a person
)

// PhaseInfo is all that is fixed of a phase.
type PhaseInfo struct {
	Name     string   // in logs, the status and the state file
	Reason   string   // of the readiness gate's condition
	State    string   // Vault's, in the metrics
	Severity Severity // on the page
	Level    hclog.Level
	Message  string // in the log and in the condition
	Advice   string // what a person should do; empty: nothing
	Title    string // on the page: the state at one glance
	Waits    string // who waits for what; empty: nobody
	Step     string // what happens in such a step of a recovery
}

// VaultStates lists the states of Vault that PhaseInfo has.
func VaultStates() []string {
	return []string{"active", "standby", "unsealed", "sealed", "uninitialized", "unknown"}
}

var phases = [...]PhaseInfo{
	Starting: {
		Name: "starting", Reason: "Starting", State: "unknown", Severity: SeverityBusy,
		Level: hclog.Info, Message: "starting",
		Title: "Starting",
		Waits: "the sidecar waits for Vault's first answer",
		Step:  "the sidecar takes its first look",
	},
	Unreachable: {
		Name: "unreachable", Reason: "WaitingForVault", State: "unknown", Severity: SeverityBusy,
		Level: hclog.Info, Message: "waiting, vault does not accept connections",
		Title: "Waiting",
		Waits: "the sidecar waits for Vault to listen, and Vault for its storage or its container",
		Step:  "Vault does not listen",
	},
	Unresponsive: {
		Name: "unresponsive", Reason: "WaitingForVault", State: "unknown", Severity: SeverityBusy,
		Level: hclog.Info, Message: "waiting, vault accepts connections but does not answer",
		Title: "Waiting",
		Waits: "the sidecar waits for Vault's answer, and Vault for its storage, or it was stopped",
		Step:  "Vault listens and does not answer",
	},
	Failing: {
		Name: "failing", Reason: "VaultFails", State: "unknown", Severity: SeverityAct,
		Level: hclog.Warn, Message: "vault answers with errors",
		Advice: "look at vault's own log; it is tried again without end",
		Title:  "Failing",
		Waits:  "the sidecar tries again without end; Vault waits for what the reason names",
		Step:   "Vault answers with errors",
	},
	Uninitialized: {
		Name: "uninitialized", Reason: "NotInitialized", State: "uninitialized", Severity: SeverityAct,
		Level: hclog.Warn, Message: "vault is not initialized",
		Advice: "run vault operator init and put the key shares into the Secret",
		Title:  "Not initialized",
		Waits:  "Vault waits to be initialized, and the sidecar for that",
		Step:   "Vault is not initialized",
	},
	LeftAlone: {
		Name: "left-alone", Reason: "LeftAlone", State: "sealed", Severity: SeverityAct,
		Level: hclog.Warn, Message: "vault is left alone",
		Advice: "unseal it in its own way, or take the sidecar out",
		Title:  "Left alone",
		Waits:  "Vault waits for what the reason names",
		Step:   "shares cannot open Vault",
	},
	NoKey: {
		Name: "no-key", Reason: "NoKey", State: "sealed", Severity: SeverityAct,
		Level: hclog.Error, Message: "vault is sealed and there is no usable key",
		Advice: "mend the Secret; the change is seen without a restart",
		Title:  "Sealed",
		Waits:  "Vault waits for its key, and the sidecar for the Secret to be mended",
		Step:   "no usable key is mounted",
	},
	Unsealing: {
		Name: "unsealing", Reason: "Sealed", State: "sealed", Severity: SeverityBusy,
		Level: hclog.Info, Message: "vault is sealed, sending key shares",
		Title: "Unsealing",
		Waits: "the sidecar waits for Vault to take the key",
		Step:  "the sidecar sends the key",
	},
	UnsealHanging: {
		Name: "unseal-hanging", Reason: "WaitingForStorage", State: "sealed", Severity: SeverityBusy,
		Level: hclog.Warn, Message: "the unseal hangs until storage serves",
		Advice: "nothing; it completes when the storage does",
		Title:  "Waiting",
		Waits:  "Vault has the key and waits for its storage",
		Step:   "Vault has the key and waits for its storage",
	},
	KeyRejected: {
		Name: "key-rejected", Reason: "KeyRejected", State: "sealed", Severity: SeverityAct,
		Level: hclog.Error, Message: "vault rejected the key",
		Advice: "put the right key into the Secret, or unseal by hand: vault operator unseal",
		Title:  "Sealed",
		Waits:  "Vault waits for its key, and the sidecar for another one in the Secret",
		Step:   "the mounted key is wrong",
	},
	Held: {
		Name: "held", Reason: "HeldByOperator", State: "sealed", Severity: SeverityHold,
		Level: hclog.Warn, Message: "vault was sealed manually and stays sealed",
		Advice: "to end it: vault operator unseal, or delete the pod, or change the Secret",
		Title:  "Held sealed",
		Waits:  "Vault waits for a person, and so does the sidecar",
		Step:   "sealed on purpose",
	},
	Activating: {
		Name: "activating", Reason: "WaitingForVault", State: "unsealed", Severity: SeverityBusy,
		Level: hclog.Info, Message: "vault is unsealed, waiting until it serves",
		Title: "Opening",
		Waits: "the sidecar waits for Vault to be active or standby and to have read its storage",
		Step:  "Vault sets itself up",
	},
	StorageHanging: {
		Name: "storage-hanging", Reason: "WaitingForStorage", State: "unsealed", Severity: SeverityAct,
		Level: hclog.Error, Message: "storage hangs under an unsealed vault",
		Advice: "look at the volume; vault answers from memory only",
		Title:  "Storage hangs",
		Waits:  "Vault waits for its storage",
		Step:   "Vault's storage does not answer",
	},
	Standby: {
		Name: "standby", Reason: "Unsealed", State: "standby", Severity: SeverityGood,
		Level: hclog.Info, Message: "vault is unsealed, standby",
		Title: "Unsealed",
	},
	Active: {
		Name: "active", Reason: "Unsealed", State: "active", Severity: SeverityGood,
		Level: hclog.Info, Message: "vault is unsealed, active",
		Title: "Unsealed",
	},
}
