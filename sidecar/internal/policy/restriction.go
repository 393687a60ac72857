package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

const (
	// tryEvery is how often the policies are tried, and tryAgain how soon when
	// one was missing: the alert is to end once it is there.
	tryEvery = 24 * time.Hour
	tryAgain = 10 * time.Minute
	// trySurely is the wait before a policy is said to be missing: one that was
	// just made is in force a moment later.
	trySurely = 30 * time.Second
	// tryFirst leaves the first seconds after a start to what is urgent.
	tryFirst = 10 * time.Second
)

// Restriction tries that the policies bind us, at the start and then daily, and
// tells by a condition, a line of the log and a metric.
type Restriction struct {
	trial  Trial
	pod    *podstatus.Pod // nil without a pod's name
	log    kube.Telemetry
	states map[string]string // by component
	on     map[string]string // what let it through that a policy has to refuse, by component
	said   string            // in the log
	kube.ErrorLog
}

func New(c Config, api dynamic.Interface, p *podstatus.Pod) *Restriction {
	return &Restriction{trial: Trial{api, c}, pod: p, log: kube.NewTelemetry(c.Log, c.Meter), states: map[string]string{}, on: map[string]string{}}
}

func (r *Restriction) Run(ctx context.Context) {
	name := ""
	if r.pod != nil {
		name = r.pod.Name
		r.pod.AwaitSeen(ctx, time.Minute) // then the API answers
	}
	wait, failures, sure := tryFirst, 0, false
	for kube.Sleep(ctx, wait) {
		n := r.trial.Run(ctx, name)
		if ctx.Err() != nil {
			return
		}
		open := slices.ContainsFunc(Components, func(c string) bool { return n.Missing[c] })
		if open && !sure {
			wait, sure = trySurely, true
			continue
		}
		wait, sure = kube.Jittered(tryEvery), open
		failures++
		switch err := n.failure(); {
		case open:
			wait = tryAgain
		case err != nil:
			wait = kube.RetryAfter(failures, tryAgain, err)
		default:
			failures = 0
		}
		r.take(n)
		if !r.tell(ctx, n) {
			wait = min(wait, tryAgain)
		}
	}
}

// failure returns why a try came to no verdict, where there was something to
// try it on.
func (n Verdicts) failure() error {
	for _, c := range Components {
		if err := n.Unseen[c]; err != nil && !errors.Is(err, ErrNothing) {
			return err
		}
	}
	return nil
}

// take keeps what is known. That it could not be tried once more is no news.
func (r *Restriction) take(n Verdicts) {
	for _, c := range Components {
		state := n.State(c)
		before := r.states[c]
		if state == Unknown && (before == Enforced || before == Missing) {
			continue
		}
		r.states[c], r.on[c] = state, n.On[c]
		r.log.Policy(c, state)
	}
}

// in lists the manifests whose policy is in a state.
func (r *Restriction) in(state string) (out []string) {
	for _, c := range Components {
		if r.states[c] == state {
			out = append(out, c)
		}
	}
	return out
}

// condition is what is known of the policies.
func (r *Restriction) condition(n Verdicts) kube.Condition {
	enforced, missing, unknownOnes := r.in(Enforced), r.in(Missing), r.in(Unknown)
	tells := func(status, reason, message string) kube.Condition {
		return kube.Condition{Type: podstatus.RestrictedCondition, Status: status, Reason: reason, Message: safetext.Line(message, kube.MaxOurs)}
	}
	switch {
	case len(missing) > 0:
		text := fmt.Sprintf("No admission policy restricts what is granted by %s: "+
			"apply these manifests, which takes Kubernetes 1.30 or later.", manifests(missing))
		if on := r.letThrough(); on != "" {
			text += " A dry run was let through on " + on + "."
		}
		return tells(kube.False, "PolicyMissing", text)
	case len(enforced) == 0 && len(unknownOnes) == 0:
		return tells(kube.True, "NothingGranted", "None of the rights is granted that a policy would restrict.")
	case len(enforced) == 0:
		text := "There was nothing to try it on."
		if err := n.failure(); err != nil {
			text = "The dry runs failed."
		}
		return tells(kube.Unknown, "NotTried", fmt.Sprintf("Whether a policy restricts what is granted by %s is not known. %s",
			manifests(unknownOnes), text))
	case len(unknownOnes) > 0:
		return tells(kube.True, "PoliciesEnforced", fmt.Sprintf("Admission policies restrict what is granted by %s; %s could not be tried.",
			manifests(enforced), manifests(unknownOnes)))
	}
	return tells(kube.True, "PoliciesEnforced", fmt.Sprintf("Admission policies restrict what is granted by %s.", manifests(enforced)))
}

// letThrough names the objects on which it was seen.
func (r *Restriction) letThrough() string {
	var on []string
	for _, c := range r.in(Missing) {
		if r.on[c] != "" {
			on = append(on, r.on[c])
		}
	}
	return kube.Theirs(strings.Join(on, "; "))
}

func manifests(components []string) string {
	return "manifests/" + strings.Join(components, ", manifests/")
}

// tell logs what is new, and writes the condition. It is written by itself: a
// policy that is older than it refuses it, and must not refuse the gate with it.
func (r *Restriction) tell(ctx context.Context, n Verdicts) (written bool) {
	c := r.condition(n)
	if said := c.Status + c.Message; said != r.said {
		r.said = said
		switch c.Status {
		case kube.False:
			args := []any{keyManifests, manifests(r.in(Missing)),
				keyAdvice, "apply them, which takes Kubernetes 1.30 or later; check says more"}
			if on := r.letThrough(); on != "" {
				args = append(args, keyOn, on)
			}
			r.log.Warn(msgUnrestricted, args...)
		case kube.True:
			r.log.Info(msgRestricted, keyManifests, manifests(r.in(Enforced)))
		}
	}
	err := r.pod.Write(ctx, c)
	if ctx.Err() == nil {
		r.Log(r.log, "writing the condition "+c.Type, kube.GrantsGate, err)
	}
	return err == nil
}
