package unseal

import (
	"slices"
	"strings"
	"time"
)

// maxSteps bounds a recovery's list: a Vault that flaps for a week must not
// fill the memory. Later steps are added to the last one.
const maxSteps = 48

// Step is one phase of a recovery.
type Step struct {
	Phase Phase         `json:"phase"`
	At    time.Time     `json:"at"`   // when it began
	Took  time.Duration `json:"took"` // until the next one; for the last of a recovery that goes on, until now
}

// Recovery is the way from Vault not serving to serving.
type Recovery struct {
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took"`
	Done  bool          `json:"done"`
	Steps []Step        `json:"steps"`
}

// Snapshot is what the rest of the program may know: one immutable snapshot for
// each change.
type Snapshot struct {
	Phase    Phase
	Since    time.Time
	Message  string   // the phase in words
	Reason   string   // what is special about the phase; may be empty
	Advice   string   // what a person should do about it; may be empty
	KeyError string   // why the mounted key would not do, whatever the phase
	Shares   int      // mounted and well-formed; with a KeyError they are too few, or 0
	Remarks  []Remark // on what is mounted beside them
	Keys     string   // names the mounted keys, salted; others have another name
	Process  string   // names Vault's process as of the newest answer; may be empty
	Current  *Recovery
	Last     *Recovery
	// History are the recoveries that are done, the newest first, over restarts
	// of the sidecar. A start beside a Vault that serves is none of them.
	History []*Recovery

	// UnsealedAt is when the mounted key last opened Vault; zero: not since the
	// pod or its node started. KeyChanged reports whether another key is mounted since.
	UnsealedAt time.Time
	KeyChanged bool
}

// timeline records recoveries as the phases pass.
type timeline struct {
	current *Recovery // each step makes a new one: they are published
	last    *Recovery
}

// enter notes that phase p begins at t. It returns the recovery that ends with
// it, if Vault was away.
func (l *timeline) enter(p Phase, t time.Time) (over *Recovery) {
	if l.current != nil {
		c := *l.current
		c.Steps = slices.Clone(c.Steps)
		last := &c.Steps[len(c.Steps)-1]
		last.Took = t.Sub(last.At)
		c.Took = t.Sub(c.Began)
		l.current = &c
	}
	switch {
	case p.Serving() && l.current != nil:
		l.current.Done = true
		l.last, l.current = l.current, nil
		// It was not away when the sidecar alone was started, and had to look first.
		away := func(s Step) bool { return s.Phase != Starting && s.Phase != Activating }
		if slices.ContainsFunc(l.last.Steps, away) {
			return l.last
		}
	case p.Serving():
	case l.current == nil:
		l.current = &Recovery{Began: t, Steps: []Step{{Phase: p, At: t}}}
	case len(l.current.Steps) < maxSteps:
		l.current.Steps = append(l.current.Steps, Step{Phase: p, At: t})
	}
	return nil
}

// String lists the steps: "unreachable 41.2s, unsealing 52ms".
func (r *Recovery) String() string {
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.Phase.String()+" "+round(s.Took).String())
	}
	return strings.Join(steps, ", ")
}

// round keeps three digits or so: what a person reads.
func round(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond)
	default:
		return d.Round(10 * time.Microsecond)
	}
}
