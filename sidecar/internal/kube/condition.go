package kube

import (
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// SecretsCondition is the type of the condition that tells of ESO. It is no
// gate: Vault serves whether or not ESO does.
const SecretsCondition = "vault-unseal-sidecar/external-secrets"

// RestrictedCondition is the type of the condition that tells whether admission
// policies restrict what the manifests grant. It is no gate either.
const RestrictedCondition = "vault-unseal-sidecar/restricted"

// The statuses of a condition.
const (
	yes     = "True"
	no      = "False"
	unknown = "Unknown"
)

// condition is one of a pod's, without its times.
type condition struct {
	Type    string
	Status  string
	Reason  string
	Message string
}

// gateCondition is what a state means for the readiness gate of type kind. Its
// message changes only when something happened: it holds no running times. It
// is the zero condition, which is not written, while nothing is known.
func gateCondition(kind string, s unseal.State) condition {
	if kind == "" || s.Phase == unseal.Starting {
		return condition{}
	}
	c := condition{Type: kind, Status: no, Reason: s.Phase.Info().Reason}
	if s.Phase.Serving() {
		c.Status = yes
	}
	c.Message = sentence(s.Message)
	for _, more := range []string{s.Reason, s.Advice} {
		if more != "" {
			c.Message += " " + sentence(more)
		}
	}
	if c.Status == yes && s.Last != nil && unsealedIn(s.Last) {
		c.Message += fmt.Sprintf(recoveredIn+"%s at %s: %s.",
			short(s.Last.Took), s.Last.Began.Add(s.Last.Took).UTC().Format(time.RFC3339), s.Last)
	}
	return c
}

const recoveredIn = " Recovered in "

// saidBy reports whether there already says what c does. Once the sidecar was
// started again it knows no more of the last recovery, which is no reason to
// have it forgotten.
func (c condition) saidBy(there condition) bool {
	if there.Status == yes && strings.HasPrefix(there.Message, c.Message+recoveredIn) {
		there.Message = c.Message
	}
	return c == there
}

// unsealedIn reports whether it took a key to end the recovery: it did not
// when the sidecar alone was started again.
func unsealedIn(r *unseal.Recovery) bool {
	for _, step := range r.Steps {
		if step.Phase == unseal.Unsealing || step.Phase == unseal.UnsealHanging {
			return true
		}
	}
	return false
}

// sentence makes one of a log message.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
