// Package check holds what a preflight finds: findings, their order, and how
// they are shown. It knows nothing of what is looked at, so that every adapter
// may report in its words.
package check

// Level is how bad a finding is, in rising order.
type Level uint8

// The levels.
const (
	OK      Level = iota
	Unknown       // it could not be seen, which is no fault by itself
	Warning       // works now, and will not in some case that is likely
	Failure       // the next recovery fails, or somebody can do what nobody should
)

// Finding is one thing that was looked at.
type Finding struct {
	About  string // the part: key, vault, rights, pod, services, external-secrets, recovery
	Level  Level
	Text   string // what was found, in a sentence's words; holds nothing of a key
	Advice string // what to do; required above Unknown
}
