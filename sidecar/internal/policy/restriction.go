package policy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

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

// Config says what is tried, and who is told.
type Config struct {
	Trial
	Rights kube.Rights
	Log    hclog.Logger
	Meter  kube.Meter // may be nil
}

// Restriction tries that the policies bind us, at the start and then daily, and
// reports it by a condition, a log line and a metric.
type Restriction struct {
	trial      Trial
	pod        *podstatus.Pod // nil without a pod's name
	log        kube.Telemetry
	known      Verdicts
	lastLogged string // in the log
	kube.ErrorLog
}

// New returns a Restriction that has tried nothing yet.
func New(c Config, p *podstatus.Pod) *Restriction {
	return &Restriction{trial: c.Trial, pod: p, log: kube.NewTelemetry(c.Log, c.Meter, c.Rights), known: Verdicts{}}
}

// Run tries until ctx is done.
func (r *Restriction) Run(ctx context.Context) {
	r.pod.AwaitObserved(ctx, time.Minute) // then the API answers
	wait, failures := firstTrialDelay, 0
	for kube.Sleep(ctx, wait) {
		n := r.trial.RunTwice(ctx, confirmDelay)
		if ctx.Err() != nil {
			return
		}
		wait = kube.Jittered(trialInterval)
		failures++
		switch unknown := n.In(Unknown); {
		case len(n.In(Missing)) > 0:
			wait = retryInterval
		case len(unknown) > 0:
			wait = kube.RetryAfter(failures, retryInterval, n[unknown[0]].Err)
		default:
			failures = 0
		}
		r.remember(n)
		if !r.report(ctx) {
			wait = min(wait, retryInterval)
		}
	}
}

// remember keeps what is known. That it could not be tried once more is no news.
func (r *Restriction) remember(n Verdicts) {
	for _, c := range Components {
		again := n[c].State == Unknown || n[c].State == Untried
		if before := r.known[c].State; again && (before == Enforced || before == Missing) {
			continue
		}
		r.known[c] = n[c]
		r.log.Policy(c, n[c].State.String())
	}
}

// condition is what is known of the policies.
func (r *Restriction) condition() kube.Condition {
	enforced, missing, unknown := r.known.In(Enforced), r.known.In(Missing), r.known.In(Unknown, Untried)
	is := func(status, reason, format string, args ...any) kube.Condition {
		return kube.Condition{Type: podstatus.RestrictedCondition, Status: status, Reason: reason,
			Message: safetext.Line(fmt.Sprintf(format, args...), kube.MaxOwnText)}
	}
	switch {
	case len(missing) > 0:
		tried := ""
		if on := r.admittedObjects(); on != "" {
			tried = " A dry run was admitted on " + on + "."
		}
		return is(kube.False, "PolicyMissing", "No admission policy restricts what is granted by %s: "+
			"%s, which takes Kubernetes 1.30 or later.%s", manifests(missing), r.log.Apply(missing...), tried)
	case len(enforced) == 0 && len(unknown) == 0:
		return is(kube.True, "NothingGranted", "No right is granted that a policy would restrict.")
	case len(enforced) == 0:
		why := "There is no object to try it on."
		if len(r.known.In(Unknown)) > 0 {
			why = "The dry runs failed."
		}
		return is(kube.Unknown, "NotTried", "Whether a policy restricts what is granted by %s is not known. %s",
			manifests(unknown), why)
	case len(unknown) > 0:
		return is(kube.True, "PoliciesEnforced", "Admission policies restrict what is granted by %s; %s could not be tried.",
			manifests(enforced), manifests(unknown))
	}
	return is(kube.True, "PoliciesEnforced", "Admission policies restrict what is granted by %s.", manifests(enforced))
}

// admittedObjects names the objects on which it was seen.
func (r *Restriction) admittedObjects() string {
	var on []string
	for _, c := range r.known.In(Missing) {
		if r.known[c].Admitted != "" {
			on = append(on, r.known[c].Admitted)
		}
	}
	return kube.SafeText(strings.Join(on, "; "))
}

func manifests(components []string) string {
	return "manifests/" + strings.Join(components, ", manifests/")
}

// report logs what is new, and writes the condition. It is written by itself: a
// policy that is older than it refuses it, and must not refuse the gate with it.
func (r *Restriction) report(ctx context.Context) (written bool) {
	c := r.condition()
	if said := c.Status + c.Message; said != r.lastLogged {
		r.lastLogged = said
		switch c.Status {
		case kube.False:
			missing := r.known.In(Missing)
			args := []any{keyManifests, manifests(missing),
				keyAdvice, r.log.Apply(missing...) + ", which takes Kubernetes 1.30 or later; check says more"}
			if on := r.admittedObjects(); on != "" {
				args = append(args, keyOn, on)
			}
			r.log.Warn(msgUnrestricted, args...)
		case kube.True:
			r.log.Info(msgRestricted, keyManifests, manifests(r.known.In(Enforced)))
		}
	}
	err := r.pod.WriteCondition(ctx, c)
	if ctx.Err() == nil {
		r.Log(r.log, "writing the condition "+c.Type, kube.GrantsGate, err)
	}
	return err == nil
}
