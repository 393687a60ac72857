package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

const (
	// trialInterval is how often the policies are tried, and retryInterval how soon when
	// one was missing: the alert is to end once it is there.
	trialInterval = 24 * time.Hour
	retryInterval = 10 * time.Minute
	// confirmDelay is the wait before a policy is reported to be missing.
	confirmDelay = 30 * time.Second
	// firstTrialDelay leaves the first seconds after a start to what is urgent.
	firstTrialDelay = 10 * time.Second
)

// Restriction tries that the policies bind us, at the start and then daily, and
// reports it by a condition, a log line and a metric.
type Restriction struct {
	trial      Trial
	pod        *podstatus.Pod // nil without a pod's name
	log        kube.Telemetry
	states     map[string]string // by component
	admitted   map[string]string // what let it through that a policy has to refuse, by component
	lastLogged string            // in the log
	kube.ErrorLog
}

// New returns a Restriction that has tried nothing yet.
func New(c Config, api dynamic.Interface, p *podstatus.Pod) *Restriction {
	return &Restriction{trial: Trial{api, c}, pod: p, log: kube.NewTelemetry(c.Log, c.Meter), states: map[string]string{}, admitted: map[string]string{}}
}

// Run tries until ctx is done.
func (r *Restriction) Run(ctx context.Context) {
	name := ""
	if r.pod != nil {
		name = r.pod.Name
		r.pod.AwaitObserved(ctx, time.Minute) // then the API answers
	}
	wait, failures := firstTrialDelay, 0
	for kube.Sleep(ctx, wait) {
		n := r.trial.RunTwice(ctx, name, confirmDelay)
		if ctx.Err() != nil {
			return
		}
		wait = kube.Jittered(trialInterval)
		failures++
		switch err := n.err(); {
		case n.anyMissing():
			wait = retryInterval
		case err != nil:
			wait = kube.RetryAfter(failures, retryInterval, err)
		default:
			failures = 0
		}
		r.remember(n)
		if !r.report(ctx, n) {
			wait = min(wait, retryInterval)
		}
	}
}

// err returns why a try came to no verdict, where there was something to
// try it on.
func (n Verdicts) err() error {
	for _, c := range Components {
		if err := n.Unknown[c]; err != nil && !errors.Is(err, ErrNothing) {
			return err
		}
	}
	return nil
}

// remember keeps what is known. That it could not be tried once more is no news.
func (r *Restriction) remember(n Verdicts) {
	for _, c := range Components {
		state := n.State(c)
		before := r.states[c]
		if state == Unknown && (before == Enforced || before == Missing) {
			continue
		}
		r.states[c], r.admitted[c] = state, n.Admitted[c]
		r.log.Policy(c, state)
	}
}

// manifestsIn lists the manifests whose policy is in a state.
func (r *Restriction) manifestsIn(state string) (out []string) {
	for _, c := range Components {
		if r.states[c] == state {
			out = append(out, c)
		}
	}
	return out
}

// condition is what is known of the policies.
func (r *Restriction) condition(n Verdicts) kube.Condition {
	enforced, missing, unknownOnes := r.manifestsIn(Enforced), r.manifestsIn(Missing), r.manifestsIn(Unknown)
	tells := func(status, reason, message string) kube.Condition {
		return kube.Condition{Type: podstatus.RestrictedCondition, Status: status, Reason: reason, Message: safetext.Line(message, kube.MaxOwnText)}
	}
	switch {
	case len(missing) > 0:
		text := fmt.Sprintf("No admission policy restricts what is granted by %s: "+
			"apply these manifests, which takes Kubernetes 1.30 or later.", manifests(missing))
		if on := r.admittedObjects(); on != "" {
			text += " A dry run was admitted on " + on + "."
		}
		return tells(kube.False, "PolicyMissing", text)
	case len(enforced) == 0 && len(unknownOnes) == 0:
		return tells(kube.True, "NothingGranted", "No right is granted that a policy would restrict.")
	case len(enforced) == 0:
		text := "There is no object to try it on."
		if err := n.err(); err != nil {
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

// admittedObjects names the objects on which it was seen.
func (r *Restriction) admittedObjects() string {
	var on []string
	for _, c := range r.manifestsIn(Missing) {
		if r.admitted[c] != "" {
			on = append(on, r.admitted[c])
		}
	}
	return kube.SafeText(strings.Join(on, "; "))
}

func manifests(components []string) string {
	return "manifests/" + strings.Join(components, ", manifests/")
}

// report logs what is new, and writes the condition. It is written by itself: a
// policy that is older than it refuses it, and must not refuse the gate with it.
func (r *Restriction) report(ctx context.Context, n Verdicts) (written bool) {
	c := r.condition(n)
	if said := c.Status + c.Message; said != r.lastLogged {
		r.lastLogged = said
		switch c.Status {
		case kube.False:
			args := []any{keyManifests, manifests(r.manifestsIn(Missing)),
				keyAdvice, "apply them, which takes Kubernetes 1.30 or later; check says more"}
			if on := r.admittedObjects(); on != "" {
				args = append(args, keyOn, on)
			}
			r.log.Warn(msgUnrestricted, args...)
		case kube.True:
			r.log.Info(msgRestricted, keyManifests, manifests(r.manifestsIn(Enforced)))
		}
	}
	err := r.pod.WriteCondition(ctx, c)
	if ctx.Err() == nil {
		r.Log(r.log, "writing the condition "+c.Type, kube.GrantsGate, err)
	}
	return err == nil
}
