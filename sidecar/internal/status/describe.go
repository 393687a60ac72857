package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// SeverityWarn is the severity of a Vault that serves while something else is wrong.
const SeverityWarn unseal.Severity = "warn"

// Words are how the status is told at one glance.
func (s Status) Words() unseal.PhaseInfo {
	w := s.Phase.Info()
	switch {
	case s.Stuck > 0:
		return unseal.PhaseInfo{Severity: unseal.SeverityAct, Title: "Stuck",
			Waits: "the sidecar is about to end itself and be started again; until then nobody knows how Vault is"}
	case w.Severity == unseal.SeverityGood && (s.KeyTrouble() || s.SecretsTrouble()):
		w.Severity = SeverityWarn
	}
	return w
}

// KeyTrouble reports whether the mounted key would not open Vault, as far as
// is known.
func (s Status) KeyTrouble() bool {
	return s.KeyError != "" || s.KeyProof != nil && s.KeyProof.Result == unseal.ProofInvalid
}

// SecretsTrouble reports whether External Secrets is down and does not come
// back by itself.
func (s Status) SecretsTrouble() bool {
	return s.ExternalSecrets != nil && s.ExternalSecrets.Status == "False" && s.ExternalSecrets.Reason != "Recovering"
}

// Row is a text with a label.
type Row struct{ Label, Text string }

// ToDo is the label of the advice.
const ToDo = "What to do"

// Why is what there is to say of the phase.
func (s Status) Why() (rows []Row) {
	advice := s.Advice
	if advice == "" && s.Words().Severity == unseal.SeverityBusy {
		advice = "nothing; if it lasts for minutes, look at Vault's pod and its volume"
	}
	for _, r := range []Row{{"Why", s.Reason}, {ToDo, advice}, {"Waiting", s.Words().Waits}} {
		if r.Text != "" {
			rows = append(rows, Row{r.Label, safetext.Capital(r.Text)})
		}
	}
	return rows
}

// Sentence is what is the matter, without times: it changes when something
// happened.
func (s Status) Sentence() string {
	text := s.Message
	if text == "" {
		text = s.Phase.String()
	}
	text = safetext.Capital(strings.ReplaceAll(text, "vault", "Vault"))
	if s.Stuck > 0 {
		text = "The sidecar itself is stuck; it last said: " + text
	}
	return text
}

// Headline is the sentence with its times, and what else is wrong.
func (s Status) Headline(now time.Time) string {
	if s.Stuck > 0 {
		return s.Sentence() + ", " + span(s.Stuck) + " ago."
	}
	text := s.Sentence() + ", for " + span(s.Seconds)
	if s.Serving && len(s.Recoveries) > 0 {
		r := s.Recoveries[0]
		text += fmt.Sprintf("; recovered in %s at %s", Short(r.Seconds), clock(r.ended(), now))
	}
	if s.Serving && s.KeyTrouble() {
		text += "; but the mounted key would not open it again"
	}
	if s.Serving && s.SecretsTrouble() {
		text += "; but External Secrets has not recovered"
	}
	return text + "."
}

// KeyLines tells of the mounted key, in one or more sentences.
func (s Status) KeyLines(now time.Time) []string {
	var out []string
	switch {
	case s.KeyError != "" && s.KeyError == s.Reason:
		out = append(out, "cannot be used")
	case s.KeyError != "":
		out = append(out, "cannot be used: "+s.KeyError)
	case s.Shares == 1:
		out = append(out, "1 share is mounted")
	default:
		out = append(out, fmt.Sprintf("%d shares are mounted", s.Shares))
	}
	if len(s.Remarks) > 0 && s.Shares > 0 { // or the error has said it
		out = append(out, "beside what is no share: "+strings.Join(s.Remarks, "; "))
	}
	switch {
	case s.UnsealedAt.IsZero():
		out = append(out, "the sidecar has not opened Vault since the pod or its node started")
	case s.KeyChanged && s.KeyProof != nil && s.KeyProof.Result == unseal.ProofValid:
		out = append(out, "it has not had to open Vault yet")
	case s.KeyChanged:
		out = append(out, "another key is mounted since Vault was last opened, at "+clock(s.UnsealedAt, now))
	default:
		out = append(out, "it last opened Vault at "+clock(s.UnsealedAt, now)+", and is unchanged since")
	}
	if p := s.KeyProof; p != nil {
		text := "proof at " + clock(p.At, now) + ": " + string(p.Result)
		if p.Result == unseal.ProofValid {
			text += ", it would open Vault"
		}
		if p.Reason != "" {
			text += ", " + p.Reason
		}
		out = append(out, text)
	}
	return out
}

// Verdict is how External Secrets is, in a word or two; empty when that is not
// known, for which there is a message.
func (e ExternalSecrets) Verdict() string {
	switch {
	case e.Status == "True":
		return "ready"
	case e.Status == "False" && e.Reason == "Recovering":
		return "recovering"
	case e.Status == "False":
		return "not recovered"
	}
	return ""
}

// NotReady are the stores that are not ready, each with what ESO says of it.
func (e ExternalSecrets) NotReady() (out []string) {
	for _, s := range e.Stores {
		if s.Ready {
			continue
		}
		text := s.Name + " is not ready"
		for _, more := range []string{s.Reason, s.Message} {
			if more != "" {
				text += ": " + more
			}
		}
		out = append(out, text)
	}
	return out
}

// LeftLines are the objects that are not synced.
func (e ExternalSecrets) LeftLines() []string {
	if more := e.LeftCount - len(e.Left); more > 0 {
		return append(e.Left[:len(e.Left):len(e.Left)], fmt.Sprintf("and %d more", more))
	}
	return e.Left
}
