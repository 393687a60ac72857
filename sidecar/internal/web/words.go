package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// tone is how urgent a state is: a color and a shape on the page.
type tone string

// The tones.
const (
	good tone = "good" // all is well
	busy tone = "busy" // it goes on by itself
	hold tone = "hold" // somebody wanted it so
	warn tone = "warn" // Vault serves, and something else is wrong
	act  tone = "act"  // it takes a person
)

// wording is how a phase is told to a person, beside the message and the
// advice that it comes with.
type wording struct {
	tone  tone
	word  string // the state at one glance
	waits string // who waits for what
	step  string // what happens in a step of a recovery
}

var wordings = [...]wording{
	unseal.Starting:       {busy, "Starting", "the sidecar waits for Vault's first answer", "the sidecar takes its first look"},
	unseal.Unreachable:    {busy, "Waiting", "the sidecar waits for Vault to listen, and Vault for its storage or its container", "Vault does not listen"},
	unseal.Unresponsive:   {busy, "Waiting", "the sidecar waits for Vault's answer, and Vault for its storage, or it was stopped", "Vault listens and does not answer"},
	unseal.Failing:        {act, "Failing", "the sidecar tries again without end; Vault waits for what the reason names", "Vault answers with errors"},
	unseal.Uninitialized:  {act, "Not initialized", "Vault waits to be initialized, and the sidecar for that", "Vault is not initialized"},
	unseal.LeftAlone:      {act, "Left alone", "Vault waits for what the reason names", "shares cannot open Vault"},
	unseal.NoKey:          {act, "Sealed", "Vault waits for its key, and the sidecar for the Secret to be mended", "no usable key is mounted"},
	unseal.Unsealing:      {busy, "Unsealing", "the sidecar waits for Vault to take the key", "the sidecar sends the key"},
	unseal.UnsealHanging:  {busy, "Waiting", "Vault has the key and waits for its storage", "Vault has the key and waits for its storage"},
	unseal.KeyRejected:    {act, "Sealed", "Vault waits for its key, and the sidecar for another one in the Secret", "the mounted key is wrong"},
	unseal.Held:           {hold, "Held sealed", "Vault waits for a person, and so does the sidecar", "sealed on purpose"},
	unseal.Activating:     {busy, "Opening", "the sidecar waits for Vault to be active or standby and to have read its storage", "Vault sets itself up"},
	unseal.StorageHanging: {act, "Storage hangs", "Vault waits for its storage", "Vault's storage does not answer"},
	unseal.Standby:        {good, "Unsealed", "", ""},
	unseal.Active:         {good, "Unsealed", "", ""},
}

// words are how the status is told at one glance.
func (s Status) words() wording {
	w := wordings[s.Phase]
	switch {
	case s.Stuck > 0:
		return wording{act, "Stuck", "the sidecar is about to end itself and be started again; until then nobody knows how Vault is", ""}
	case w.tone == good && (s.keyTrouble() || s.secretsTrouble()):
		w.tone = warn
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
	if advice == "" && s.words().tone == busy {
		advice = "nothing; if it lasts for minutes, look at Vault's pod and its volume"
	}
	for _, r := range []row{{"Why", s.Reason}, {toDo, advice}, {"Waiting", s.words().waits}} {
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
