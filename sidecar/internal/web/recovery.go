package web

import (
	"fmt"
	"time"
)

// shown is the recovery that is worth a picture: the one that goes on, or the
// last that ended an outage.
func (s Status) shown() *Recovery {
	switch {
	case s.Recovery != nil && !s.Recovery.Done:
		return s.Recovery
	case len(s.Recoveries) > 0:
		return &s.Recoveries[0]
	}
	return nil
}

func (r Recovery) ended() time.Time { return r.Began.Add(seconds(r.Seconds)) }

// noRecovery stands in the place of the first.
const noRecovery = "No recovery yet: Vault has not been away since the pod or its node started."

func (r Recovery) title() string {
	if r.Done {
		return fmt.Sprintf("Last recovery: %s to %s, %s", dated(r.Began), clock(r.ended(), r.Began), short(r.Seconds))
	}
	return fmt.Sprintf("Not serving since %s, %s so far", dated(r.Began), short(r.Seconds))
}

// before are the recoveries that were done before the one that is shown.
func (s Status) before() []Recovery {
	if shown := s.shown(); shown != nil && shown.Done {
		return s.Recoveries[1:]
	}
	return s.Recoveries
}

// mostly names the step that took most of it.
func (r Recovery) mostly() string {
	l := r.longest()
	return fmt.Sprintf("mostly %s, %s", l.Name, short(l.Seconds))
}

// longest is the step that took most of it.
func (r Recovery) longest() Step {
	var longest Step
	for i, s := range r.Steps {
		if i == 0 || s.Seconds > longest.Seconds {
			longest = s
		}
	}
	return longest
}

// maxShown bounds the steps that are shown: a Vault that flaps has many.
const maxShown = 12

// newest returns the last steps, and how many came before them.
func (r Recovery) newest() (earlier int, steps []Step) {
	earlier = max(0, len(r.Steps)-maxShown)
	return earlier, r.Steps[earlier:]
}

// place is where a step lies in the steps that are shown: its beginning and
// its end as parts of the whole.
func place(s Step, steps []Step) (from, to float64) {
	first, last := steps[0], steps[len(steps)-1]
	whole := last.Began.Sub(first.Began).Seconds() + last.Seconds
	if whole <= 0 {
		return 0, 1
	}
	from = s.Began.Sub(first.Began).Seconds() / whole
	return min(1, max(0, from)), min(1, max(0, from+s.Seconds/whole))
}
