package status

import (
	"fmt"
	"time"
)

// Shown is the recovery that is worth a picture: the one that goes on, or the
// last that ended an outage.
func (s Status) Shown() *Recovery {
	switch {
	case s.Recovery != nil && !s.Recovery.Done:
		return s.Recovery
	case len(s.Recoveries) > 0:
		return &s.Recoveries[0]
	}
	return nil
}

func (r Recovery) ended() time.Time { return r.Began.Add(seconds(r.Seconds)) }

// NoRecovery stands in the place of the first.
const NoRecovery = "No recovery yet: Vault has not been away since the pod or its node started."

func (r Recovery) Title() string {
	if r.Done {
		return fmt.Sprintf("Last recovery: %s to %s, %s", DateTime(r.Began), clock(r.ended(), r.Began), Short(r.Seconds))
	}
	return fmt.Sprintf("Not serving since %s, %s so far", DateTime(r.Began), Short(r.Seconds))
}

// Earlier are the recoveries that were done before the one that is shown.
func (s Status) Earlier() []Recovery {
	if shown := s.Shown(); shown != nil && shown.Done {
		return s.Recoveries[1:]
	}
	return s.Recoveries
}

// Mostly names the step that took most of it.
func (r Recovery) Mostly() string {
	var longest Step
	for i, s := range r.Steps {
		if i == 0 || s.Seconds > longest.Seconds {
			longest = s
		}
	}
	return fmt.Sprintf("mostly %s, %s", longest.Name, Short(longest.Seconds))
}

// maxShown bounds the steps that are shown: a Vault that flaps has many.
const maxShown = 12

// Newest returns the last steps, and how many came before them.
func (r Recovery) Newest() (earlier int, steps []Step) {
	earlier = max(0, len(r.Steps)-maxShown)
	return earlier, r.Steps[earlier:]
}

// Place is where a step lies in the steps that are shown: its beginning and
// its end as parts of the whole.
func Place(s Step, steps []Step) (from, to float64) {
	first, last := steps[0], steps[len(steps)-1]
	whole := last.Began.Sub(first.Began).Seconds() + last.Seconds
	if whole <= 0 {
		return 0, 1
	}
	from = s.Began.Sub(first.Began).Seconds() / whole
	return min(1, max(0, from)), min(1, max(0, from+s.Seconds/whole))
}
