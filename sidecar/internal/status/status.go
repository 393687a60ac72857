// Package status is what is known of Vault, of the key and of External Secrets: as
// data, which /status serves, and as words for a person, on the page and in a
// terminal.
package status

import (
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Status is the JSON of /status. Times are RFC 3339, durations seconds.
type Status struct {
	Version string `json:"version"`
	Image   string `json:"image,omitempty"` // with its digest, as the pod tells it
	// Stuck is how long the sidecar itself has been stuck; all else is as old.
	Stuck float64 `json:"stuck_seconds,omitempty"`

	Phase   unseal.Phase `json:"phase"`
	Since   time.Time    `json:"since"`
	Seconds float64      `json:"seconds"` // in this phase
	Serving bool         `json:"serving"`
	Message string       `json:"message,omitempty"` // the phase in words
	Reason  string       `json:"reason,omitempty"`
	Advice  string       `json:"advice,omitempty"`

	KeyError string `json:"key_error,omitempty"`
	Shares   int    `json:"key_shares"` // mounted and well-formed
	// Remarks name what is mounted beside them, and what it looks like.
	Remarks []string `json:"key_remarks,omitempty"`
	// UnsealedAt is when the mounted key last opened Vault, and KeyChanged
	// whether another one is mounted since.
	UnsealedAt time.Time `json:"unsealed_at,omitzero"`
	KeyChanged bool      `json:"key_changed"`
	KeyProof   *KeyProof `json:"key_proof,omitempty"`

	// Recovery is the one that goes on, or else the last one.
	Recovery *Recovery `json:"recovery,omitempty"`
	// Recoveries are those that are done, the newest first.
	Recoveries []Recovery `json:"recoveries,omitempty"`

	ExternalSecrets *ExternalSecrets `json:"external_secrets,omitempty"`
}

// Recovery is the way from Vault not serving to serving.
type Recovery struct {
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Done    bool      `json:"done"`
	Steps   []Step    `json:"steps"`
}

// Step is one phase of a recovery.
type Step struct {
	Name    unseal.Phase `json:"name"`
	Began   time.Time    `json:"began"`
	Seconds float64      `json:"seconds"`
}

// KeyProof is the last answer to whether the mounted key still opens Vault.
type KeyProof struct {
	At     time.Time          `json:"at"`
	Result unseal.ProofResult `json:"result"`
	Reason string             `json:"reason,omitempty"`
}

// ExternalSecrets is how External Secrets is. Status, Reason and Message are
// those of the pod's condition.
type ExternalSecrets struct {
	Status    string   `json:"status"`
	Reason    string   `json:"reason,omitempty"`
	Message   string   `json:"message,omitempty"`
	Stores    []Store  `json:"stores,omitempty"`
	LeftCount int      `json:"left_count"`     // objects that are not synced
	Left      []string `json:"left,omitempty"` // the first of them, each with ESO's own error
}

// Store is a store of External Secrets and what ESO says of it.
type Store struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Known is what was published last.
type Known struct {
	Version string
	State   unseal.Snapshot
	Proof   unseal.Proof  // without a result: there was none
	Image   string        // of our container, with its digest; "" unknown
	Stuck   time.Duration // how long the loop has been; 0: it is not

	Secrets         ExternalSecrets // bounded; without a status: nothing is known of them
	Ready, NotReady int             // all stores, also those that Secrets leaves out
}

// Status puts it together, as of now.
func (k Known) Status(now time.Time) Status {
	s := k.State
	out := Status{
		Version: k.Version, Image: bounded(k.Image), Stuck: k.Stuck.Seconds(),
		Phase: s.Phase, Since: s.Since.UTC(), Seconds: now.Sub(s.Since).Seconds(), Serving: s.Phase.Serving(),
		Message: line(s.Message), Reason: line(s.Reason), Advice: line(s.Advice),
		KeyError: line(s.KeyError), Shares: s.Shares, KeyChanged: s.KeyChanged,
	}
	for _, r := range s.Remarks {
		out.Remarks = append(out.Remarks, line(r.String()))
	}
	if !s.UnsealedAt.IsZero() {
		out.UnsealedAt = s.UnsealedAt.UTC()
	}
	if p := k.Proof; p.Result != "" {
		out.KeyProof = &KeyProof{p.At.UTC(), p.Result, bounded(p.Reason)}
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
	for _, r := range s.History {
		out.Recoveries = append(out.Recoveries, *recoveryOf(*r))
	}
	if k.Secrets.Status != "" {
		out.ExternalSecrets = &k.Secrets
	}
	return out
}

func recoveryOf(r unseal.Recovery) *Recovery {
	out := &Recovery{Began: r.Began.UTC(), Seconds: r.Took.Seconds(), Done: r.Done}
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, Step{s.Phase, s.At.UTC(), s.Took.Seconds()})
	}
	return out
}
