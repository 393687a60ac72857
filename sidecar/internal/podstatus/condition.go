package podstatus

import (
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// SecretsCondition is the type of the condition that reports how ESO is. It is no
// gate: Vault serves whether or not ESO does.
const SecretsCondition = "vault-unseal-sidecar/external-secrets"

// RestrictedCondition is the type of the condition that reports whether admission
// policies restrict what the manifests grant. It is no gate either.
const RestrictedCondition = "vault-unseal-sidecar/restricted"

// gateCondition is what a state means for the readiness gate of type kind. Its
// message changes only when something happened: it holds no running times. It
// is the zero condition, which is not written, while nothing is known.
func gateCondition(kind string, s unseal.Snapshot) kube.Condition {
	if kind == "" || s.Phase == unseal.Starting {
		return kube.Condition{}
	}
	c := kube.Condition{Type: kind, Status: kube.False, Reason: s.Phase.Info().Reason}
	if s.Phase.Serving() {
		c.Status = kube.True
	}
	c.Message = Sentence(s.Message)
	for _, more := range []string{s.Reason, s.Advice} {
		if more != "" {
			c.Message += " " + Sentence(more)
		}
	}
	if c.Status == kube.True && s.Last != nil && wasUnsealed(s.Last) {
		c.Message += fmt.Sprintf(recoveredIn+"%s at %s: %s.",
			kube.Short(s.Last.Took), s.Last.Began.Add(s.Last.Took).UTC().Format(time.RFC3339), s.Last)
	}
	return c
}

const recoveredIn = " Recovered in "

// equivalent reports whether a condition that is there already says what c does. Once
// the sidecar was started again it knows no more of the last recovery, which is no
// reason to have it forgotten.
func equivalent(there, c kube.Condition) bool {
	there.Since = ""
	if there.Status == kube.True && strings.HasPrefix(there.Message, c.Message+recoveredIn) {
		there.Message = c.Message
	}
	return c == there
}

// wasUnsealed reports whether it took a key to end the recovery: it did not
// when the sidecar alone was started again.
func wasUnsealed(r *unseal.Recovery) bool {
	for _, step := range r.Steps {
		if step.Phase == unseal.Unsealing || step.Phase == unseal.UnsealHanging {
			return true
		}
	}
	return false
}

// Sentence makes one of a log message.
func Sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.TrimSuffix(safetext.Capital(s), ".") + "."
}
