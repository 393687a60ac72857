// Package check holds every check of what the next recovery depends on, and how
// findings are shown: of what the sidecar's container sees (Container), and of what
// Kubernetes shows (Checker). A check changes nothing.
package check

import (
	"cmp"
	"slices"
)

// Level is how bad a finding is, in rising order.
type Level uint8

// The levels.
const (
	OK      Level = iota
	Unknown       // it could not be seen, which is no fault by itself
	Warning       // works now, and will not in some case that is likely
	Failure       // the next recovery fails, or somebody can do what nobody should
)

// levels has the names of each level, and what it means where it is the worst. That
// something could not be seen is no reason to fail: in the container it is so by design.
// The other exit codes are 1, the check could not run, and 2, bad usage.
var levels = [...]struct {
	name, plural string
	exitCode     int
	verdict      string
}{
	OK:      {"ok", "ok", 0, "The next reboot would recover."},
	Unknown: {"unknown", "unknown", 0, "As far as can be seen from here, the next reboot would recover."},
	Warning: {"warning", "warnings", 3, "The next reboot would recover, but see the warnings."},
	Failure: {"failure", "failures", 4, "See the failures: do not count on the next recovery."},
}

// String returns the level's name as it is shown.
func (l Level) String() string { return levels[l].name }

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is one thing that was looked at.
type Finding struct {
	About  string `json:"about"` // the part: one of the constants below
	Level  Level  `json:"level"`
	Text   string `json:"text"`             // what was found, in a sentence's words; holds nothing of a key
	Advice string `json:"advice,omitempty"` // what to do; required above Unknown
}

// The parts that are looked at.
const (
	AboutKey      = "key"
	AboutVault    = "vault"
	AboutRecovery = "recovery"
	AboutAPI      = "kubernetes"
	AboutPod      = "pod"
	AboutRights   = "rights"
	AboutServices = "services"
	AboutSecrets  = "external-secrets"
)

// Worst returns the level of the worst finding; OK when there is none.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		worst = max(worst, f.Level)
	}
	return worst
}

// ExitCode is what the worst finding comes to.
func ExitCode(worst Level) int { return levels[worst].exitCode }

// Sort puts the worst first, and leaves those of one level as they were found.
func Sort(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(b.Level, a.Level) })
}
