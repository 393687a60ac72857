package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"

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

// restriction tries that the policies bind us, at the start and then daily, and
// tells by a condition, a line of the log and a metric.
type restriction struct {
	trial  trial
	pod    *pod // nil without a pod's name
	log    telemetry
	states map[string]string // by component
	on     map[string]string // what let it through that a policy has to refuse, by component
	said   string            // in the log
	told
}

func newRestriction(c Config, api dynamic.Interface, p *pod) *restriction {
	return &restriction{trial: trial{api, c}, pod: p, log: newTelemetry(c), states: map[string]string{}, on: map[string]string{}}
}

func (r *restriction) run(ctx context.Context) {
	name := ""
	if r.pod != nil {
		name = r.pod.name
		select { // the API answers
		case <-ctx.Done():
		case <-r.pod.known:
		case <-time.After(time.Minute):
		}
	}
	wait, failures, sure := tryFirst, 0, false
	for sleep(ctx, wait) {
		n := r.trial.run(ctx, name)
		if ctx.Err() != nil {
			return
		}
		open := slices.ContainsFunc(components, func(c string) bool { return n.open[c] })
		if open && !sure {
			wait, sure = trySurely, true
			continue
		}
		wait, sure = jittered(tryEvery), open
		failures++
		switch err := n.failure(); {
		case open:
			wait = tryAgain
		case err != nil:
			wait = retryAfter(failures, tryAgain, err)
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
func (n narrowing) failure() error {
	for _, c := range components {
		if err := n.unseen[c]; err != nil && !errors.Is(err, errNothing) {
			return err
		}
	}
	return nil
}

// take keeps what is known. That it could not be tried once more is no news.
func (r *restriction) take(n narrowing) {
	for _, c := range components {
		state := n.state(c)
		before := r.states[c]
		if state == policyUnknown && (before == policyEnforced || before == policyMissing) {
			continue
		}
		r.states[c], r.on[c] = state, n.on[c]
		r.log.Policy(c, state)
	}
}

// in lists the manifests whose policy is in a state.
func (r *restriction) in(state string) (out []string) {
	for _, c := range components {
		if r.states[c] == state {
			out = append(out, c)
		}
	}
	return out
}

// condition is what is known of the policies.
func (r *restriction) condition(n narrowing) condition {
	enforced, missing, unknownOnes := r.in(policyEnforced), r.in(policyMissing), r.in(policyUnknown)
	tells := func(status, reason, message string) condition {
		return condition{RestrictedCondition, status, reason, safetext.Line(message, maxOurs)}
	}
	switch {
	case len(missing) > 0:
		text := fmt.Sprintf("No admission policy restricts what is granted by %s: "+
			"apply these manifests, which takes Kubernetes 1.30 or later.", manifests(missing))
		if on := r.letThrough(); on != "" {
			text += " A dry run was let through on " + on + "."
		}
		return tells(no, "PolicyMissing", text)
	case len(enforced) == 0 && len(unknownOnes) == 0:
		return tells(yes, "NothingGranted", "None of the rights is granted that a policy would restrict.")
	case len(enforced) == 0:
		text := "There was nothing to try it on."
		if err := n.failure(); err != nil {
			text = "The dry runs failed."
		}
		return tells(unknown, "NotTried", fmt.Sprintf("Whether a policy restricts what is granted by %s is not known. %s",
			manifests(unknownOnes), text))
	case len(unknownOnes) > 0:
		return tells(yes, "PoliciesEnforced", fmt.Sprintf("Admission policies restrict what is granted by %s; %s could not be tried.",
			manifests(enforced), manifests(unknownOnes)))
	}
	return tells(yes, "PoliciesEnforced", fmt.Sprintf("Admission policies restrict what is granted by %s.", manifests(enforced)))
}

// letThrough names the objects on which it was seen.
func (r *restriction) letThrough() string {
	var on []string
	for _, c := range r.in(policyMissing) {
		if r.on[c] != "" {
			on = append(on, r.on[c])
		}
	}
	return theirs(strings.Join(on, "; "))
}

func manifests(components []string) string {
	return "manifests/" + strings.Join(components, ", manifests/")
}

// tell logs what is new, and writes the condition. It is written by itself: a
// policy that is older than it refuses it, and must not refuse the gate with it.
func (r *restriction) tell(ctx context.Context, n narrowing) (written bool) {
	c := r.condition(n)
	if said := c.Status + c.Message; said != r.said {
		r.said = said
		switch c.Status {
		case no:
			args := []any{keyManifests, manifests(r.in(policyMissing)),
				keyAdvice, "apply them, which takes Kubernetes 1.30 or later; check says more"}
			if on := r.letThrough(); on != "" {
				args = append(args, keyOn, on)
			}
			r.log.Warn(msgUnrestricted, args...)
		case yes:
			r.log.Info(msgRestricted, keyManifests, manifests(r.in(policyEnforced)))
		}
	}
	if r.pod == nil {
		return true
	}
	if seen := r.pod.seen.Load(); seen != nil && c.saidBy(seen.conditions[c.Type].condition) {
		return true
	}
	err := r.pod.write(ctx, []condition{c})
	if ctx.Err() == nil {
		r.logError(r.log, "writing the condition "+c.Type, grantsGate, err)
	}
	return err == nil
}
