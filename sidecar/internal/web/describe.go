package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// warn is the severity of a Vault that serves while something else is wrong.
const warn unseal.Severity = "warn"

// words are how the status is told at one glance.
func (s Status) words() unseal.PhaseInfo {
	w := s.Phase.Info()
	switch {
	case s.Stuck > 0:
		return unseal.PhaseInfo{Severity: unseal.SeverityAct, Title: "Stuck",
			Waits: "the sidecar is about to end itself and be started again; until then nobody knows how Vault is"}
	case w.Severity == unseal.SeverityGood && (s.keyTrouble() || s.secretsTrouble()):
		w.Severity = warn
	}
	return w
}

// keyTrouble reports whether the mounted key would not open Vault, as far as
// is known.
func (s Status) keyTrouble() bool {
	return s.KeyError != "" || s.KeyProof != nil && s.KeyProof.Result == unseal.ProofInvalid
}

// secretsTrouble reports whether External Secrets is down and does not come
// back by itself.
func (s Status) secretsTrouble() bool {
	return s.ExternalSecrets != nil && s.ExternalSecrets.Status == "False" && s.ExternalSecrets.Reason != "Recovering"
}

// row is a text with a label.
type row struct{ label, text string }

// toDo is the label of the advice.
const toDo = "What to do"

// why is what there is to say of the phase.
func (s Status) why() (rows []row) {
	advice := s.Advice
	if advice == "" && s.words().Severity == unseal.SeverityBusy {
		advice = "nothing; if it lasts for minutes, look at Vault's pod and its volume"
	}
	for _, r := range []row{{"Why", s.Reason}, {toDo, advice}, {"Waiting", s.words().Waits}} {
		if r.text != "" {
			rows = append(rows, row{r.label, capital(r.text)})
		}
	}
	return rows
}

// sentence is what is the matter, without times: it changes when something
// happened.
func (s Status) sentence() string {
	text := s.Message
	if text == "" {
		text = s.Phase.String()
	}
	text = capital(strings.ReplaceAll(text, "vault", "Vault"))
	if s.Stuck > 0 {
		text = "The sidecar itself is stuck; it last said: " + text
	}
	return text
}

// headline is the sentence with its times, and what else is wrong.
func (s Status) headline(now time.Time) string {
	if s.Stuck > 0 {
		return s.sentence() + ", " + span(s.Stuck) + " ago."
	}
	text := s.sentence() + ", for " + span(s.Seconds)
	if s.Serving && len(s.Recoveries) > 0 {
		r := s.Recoveries[0]
		text += fmt.Sprintf("; recovered in %s at %s", short(r.Seconds), clock(r.ended(), now))
	}
	if s.Serving && s.keyTrouble() {
		text += "; but the mounted key would not open it again"
	}
	if s.Serving && s.secretsTrouble() {
		text += "; but External Secrets has not recovered"
	}
	return text + "."
}

// key tells of the mounted key, in one or more sentences.
func (s Status) key(now time.Time) []string {
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

// verdict is how External Secrets is, in a word or two; empty when that is not
// known, for which there is a message.
func (e ExternalSecrets) verdict() string {
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

// down are the stores that are not ready, each with what ESO says of it.
func (e ExternalSecrets) down() (out []string) {
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

// left are the objects that are not synced.
func (e ExternalSecrets) left() []string {
	if more := e.LeftCount - len(e.Left); more > 0 {
		return append(e.Left[:len(e.Left):len(e.Left)], fmt.Sprintf("and %d more", more))
	}
	return e.Left
}

func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
