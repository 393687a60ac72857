package web

import (
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// status is the JSON of /status. Times are RFC 3339, durations seconds.
type status struct {
	Version  string       `json:"version"`
	Phase    unseal.Phase `json:"phase"`
	Since    time.Time    `json:"since"`
	Seconds  float64      `json:"seconds"` // in this phase
	Serving  bool         `json:"serving"`
	Reason   string       `json:"reason,omitempty"`
	Advice   string       `json:"advice,omitempty"`
	KeyError string       `json:"key_error,omitempty"`
	Shares   int          `json:"key_shares"` // mounted and well-formed
	// Recovery is the one that goes on, or else the last one.
	Recovery *recovery `json:"recovery,omitempty"`
}

type recovery struct {
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Done    bool      `json:"done"`
	Steps   []step    `json:"steps"`
}

type step struct {
	Name    unseal.Phase `json:"name"`
	Began   time.Time    `json:"began"`
	Seconds float64      `json:"seconds"`
}

func statusOf(s unseal.State, version string, now time.Time) status {
	out := status{
		Version: version, Phase: s.Phase, Since: s.Since.UTC(), Seconds: now.Sub(s.Since).Seconds(),
		Serving: s.Phase.Serving(), Reason: s.Reason, Advice: s.Advice, KeyError: s.KeyError, Shares: s.Shares,
	}
	switch {
	case s.Current != nil:
		out.Recovery = recoveryOf(*s.Current)
		out.Recovery.Seconds = now.Sub(s.Current.Began).Seconds()
		last := len(out.Recovery.Steps) - 1
		out.Recovery.Steps[last].Seconds = now.Sub(s.Current.Steps[last].At).Seconds()
	case s.Last != nil:
		out.Recovery = recoveryOf(*s.Last)
	}
	return out
}

func recoveryOf(r unseal.Recovery) *recovery {
	out := &recovery{Began: r.Began.UTC(), Seconds: r.Took.Seconds(), Done: r.Done}
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, step{s.Phase, s.At.UTC(), s.Took.Seconds()})
	}
	return out
}
