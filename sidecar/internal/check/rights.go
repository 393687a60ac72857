package check

import (
	"fmt"
	"slices"
	"strings"
)

// Right is something that Kubernetes may be asked to do. An empty Namespace
// means all of them, an empty Name any.
type Right struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
}

// String returns the right as people say it.
func (r Right) String() string { return r.Verb + " " + r.object() }

// object is what the right speaks of.
func (r Right) object() string {
	what := r.Resource
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	if r.Name != "" {
		what += " " + r.Name
	}
	if r.Namespace != "" {
		return what + " in " + r.Namespace
	}
	return what + " everywhere"
}

// describeRights names rights, those of one object together.
func describeRights(rights []Right) string {
	verbs := map[string][]string{}
	var objects []string
	for _, r := range rights {
		what := r.object()
		if verbs[what] == nil {
			objects = append(objects, what)
		}
		verbs[what] = append(verbs[what], r.Verb)
	}
	for i, what := range objects {
		objects[i] = strings.Join(verbs[what], "/") + " " + what
	}
	return enumerate(objects)
}

// Answer is what Kubernetes says of a right.
type Answer struct {
	Allowed bool
	Err     error // why it did not say
}

// Scope is where the sidecar is, and what it is to do there.
type Scope struct {
	Namespace    string // our pod's
	Pod          string
	Node         string   // the pod's; "" when it is not known
	Secrets      []string // that the pod mounts
	ESONamespace string

	Gated            bool // our pod declares the readiness gate
	KubernetesOff    bool // the sidecar does not speak to Kubernetes
	WritesConditions bool // conditions of our pod
	WatchesStores    bool // External Secrets' stores
	Resyncs          bool // what External Secrets failed to sync
	Evicts           bool // External Secrets' controller
}

// everything is the same home where everything is to be done.
func (h Scope) everything() Scope {
	h.KubernetesOff, h.WritesConditions, h.WatchesStores, h.Resyncs, h.Evicts = false, true, true, true, true
	return h
}

// Requirement is what one component of the manifests grants.
type Requirement struct {
	Component string // of manifests/
	Impact    string // what does not work without
	Rights    []Right
	Level     Level  // of one that is missing
	AlsoApply string // to be applied, in an advice's words
}

const esoGroup = "external-secrets.io"

// eventReasons are the last part of the names of our Events.
var eventReasons = []string{"unsealed", "heldbyoperator", "keyrejected", "externalsecretsrecovered", "externalsecretsnotrecovering"}

// requirements lists the rights that the sidecar uses in such a home.
func (h Scope) requirements() []Requirement {
	if h.KubernetesOff {
		return nil
	}
	gate := Requirement{Component: "gate", Impact: "conditions and Events are not written", Level: Warning}
	if h.Gated {
		gate.Impact, gate.Level = "a pod that declares the readiness gate is then never Ready", Failure
	}
	for _, verb := range []string{"get", "list", "watch"} {
		gate.Rights = append(gate.Rights, Right{Verb: verb, Resource: "pods", Namespace: h.Namespace, Name: h.Pod})
	}
	if h.WritesConditions {
		gate.Rights = append(gate.Rights, Right{Verb: "patch", Resource: "pods", Subresource: "status", Namespace: h.Namespace, Name: h.Pod})
	}
	events := Requirement{Component: "gate", Impact: "Events are not written", Level: Warning,
		Rights: []Right{{Verb: "create", Resource: "events", Namespace: h.Namespace}}}
	for _, reason := range eventReasons {
		events.Rights = append(events.Rights, Right{Verb: "patch", Resource: "events", Namespace: h.Namespace,
			Name: h.Pod + ".vault-unseal-sidecar." + reason})
	}
	if !strings.HasSuffix(h.Pod, "-0") {
		gate.AlsoApply = " and, for a second and a third replica, manifests/replicas"
		events.AlsoApply = gate.AlsoApply
	}
	needs := []Requirement{gate, events}
	switch stores := []string{"clustersecretstores", "secretstores"}; {
	case h.Resyncs:
		needs = append(needs,
			Requirement{"stores", "a store that is down is neither seen nor resynced", esoRights("list watch patch", stores...), Warning, ""},
			Requirement{"externalsecrets", "what failed to sync is not resynced", esoRights("list watch patch", "externalsecrets"), Warning, ""},
			Requirement{"more", "ClusterExternalSecrets and PushSecrets are not resynced", esoRights("list watch patch", "clusterexternalsecrets", "pushsecrets"), Warning, ""})
	case h.WatchesStores:
		needs = append(needs, Requirement{"stores", "a store that is down is not seen", esoRights("list watch", stores...), Warning, ""})
	}
	if h.Evicts {
		needs = append(needs, Requirement{"eviction", "External Secrets' controller is not restarted when a resync does not help", []Right{
			{Verb: "list", Resource: "pods", Namespace: h.ESONamespace},
			{Verb: "create", Resource: "pods", Subresource: "eviction", Namespace: h.ESONamespace},
			{Verb: "list", Resource: "services", Namespace: h.Namespace},
		}, Warning, ""})
	}
	return needs
}

func esoRights(verbs string, resources ...string) (out []Right) {
	for _, resource := range resources {
		for verb := range strings.FieldsSeq(verbs) {
			out = append(out, Right{Verb: verb, Group: esoGroup, Resource: resource})
		}
	}
	return out
}

// writeRights returns the rights of a component to change something.
func writeRights(needs []Requirement, component string) (out []Right) {
	for _, n := range needs {
		for _, r := range n.Rights {
			if n.Component == component && (r.Verb == "patch" || r.Verb == "create") {
				out = append(out, r)
			}
		}
	}
	return out
}

// evaluateRequirements reports which of the requirements who does not have.
func evaluateRequirements(needs []Requirement, who string, answers map[Right]Answer) []Finding {
	var out []Finding
	for _, n := range needs {
		if f, fine := n.evaluate(who, answers); !fine {
			out = append(out, f)
		}
	}
	if held := satisfied(needs, answers); len(held) > 0 {
		out = append(out, Finding{AboutRights, OK, fmt.Sprintf("%s has what is needed of %s", who, strings.Join(held, ", ")), ""})
	}
	return out
}

// satisfied returns the components of which all that is needed is there.
func satisfied(needs []Requirement, answers map[Right]Answer) (out []string) {
	lacks := map[string]bool{}
	for _, n := range needs {
		for _, r := range n.Rights {
			lacks[n.Component] = lacks[n.Component] || !answers[r].Allowed
		}
	}
	for _, n := range needs {
		if !lacks[n.Component] && !slices.Contains(out, n.Component) {
			out = append(out, n.Component)
		}
	}
	return out
}

// evaluate reports whether who has what this component grants.
func (n Requirement) evaluate(who string, answers map[Right]Answer) (f Finding, fine bool) {
	f = Finding{About: AboutRights, Level: n.Level}
	var lacks []Right
	for _, r := range n.Rights {
		switch a := answers[r]; {
		case a.Err != nil:
			f.Level = Unknown
			f.Text = fmt.Sprintf("whether %s has what manifests/%s grants is not known: %v", who, n.Component, a.Err)
			return f, false
		case !a.Allowed:
			lacks = append(lacks, r)
		}
	}
	f.Text = fmt.Sprintf("%s may not %s: %s", who, describeRights(lacks), n.Impact)
	f.Advice = "apply manifests/" + n.Component + n.AlsoApply
	return f, len(lacks) == 0
}
