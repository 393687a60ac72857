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

// said names rights, those of one object together.
func said(rights []Right) string {
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
	return list(objects)
}

// Answer is what Kubernetes says of a right.
type Answer struct {
	Allowed bool
	Err     error // why it did not say
}

// Home is where the sidecar is, and what it is to do there.
type Home struct {
	Namespace    string // our pod's
	Pod          string
	ESONamespace string
	Gated        bool // our pod declares the readiness gate
	Wakes        bool // what External Secrets failed to sync
	Evicts       bool // External Secrets' controller
}

// Need is what one component of the manifests grants.
type Need struct {
	Component string // of manifests/
	For       string // what does not work without
	Rights    []Right
	Level     Level  // of one that is missing
	Also      string // to be applied, in an advice's words
}

// wildcard is RBAC's word for all there are.
const wildcard = "*"

const (
	esoGroup  = "external-secrets.io"
	appsGroup = "apps"
	rbacGroup = "rbac.authorization.k8s.io"
	hookGroup = "admissionregistration.k8s.io"
)

// eventReasons are the last part of the names of our Events.
var eventReasons = []string{"unsealed", "heldbyoperator", "keyrejected", "externalsecretsrecovered", "externalsecretsnotrecovering"}

// Needs lists the rights that the sidecar uses in such a home.
func (h Home) Needs() []Need {
	gate := Need{Component: "gate", For: "the readiness gate and the Events are not written", Level: Warning}
	if h.Gated {
		gate.For, gate.Level = "a pod that declares the readiness gate is then never Ready", Failure
	}
	for _, verb := range []string{"get", "list", "watch"} {
		gate.Rights = append(gate.Rights, Right{Verb: verb, Resource: "pods", Namespace: h.Namespace, Name: h.Pod})
	}
	gate.Rights = append(gate.Rights, Right{Verb: "patch", Resource: "pods", Subresource: "status", Namespace: h.Namespace, Name: h.Pod})
	events := Need{Component: "gate", For: "Events are not written", Level: Warning,
		Rights: []Right{{Verb: "create", Resource: "events", Namespace: h.Namespace}}}
	for _, reason := range eventReasons {
		events.Rights = append(events.Rights, Right{Verb: "patch", Resource: "events", Namespace: h.Namespace,
			Name: h.Pod + ".vault-unseal-sidecar." + reason})
	}
	if !strings.HasSuffix(h.Pod, "-0") {
		gate.Also = " and, for a second and a third replica, manifests/replicas"
		events.Also = gate.Also
	}
	needs := []Need{gate, events}
	if h.Wakes {
		needs = append(needs,
			Need{"stores", "a store that is down is not seen and not woken", esoRights("clustersecretstores", "secretstores"), Warning, ""},
			Need{"externalsecrets", "what failed to sync is not woken", esoRights("externalsecrets"), Warning, ""},
			Need{"more", "ClusterExternalSecrets and PushSecrets are not woken", esoRights("clusterexternalsecrets", "pushsecrets"), Warning, ""})
	}
	if h.Evicts {
		needs = append(needs, Need{"eviction", "External Secrets' controller is not restarted when waking does not help", []Right{
			{Verb: "list", Resource: "pods", Namespace: h.ESONamespace},
			{Verb: "create", Resource: "pods", Subresource: "eviction", Namespace: h.ESONamespace},
			{Verb: "list", Resource: "services", Namespace: h.Namespace},
		}, Warning, ""})
	}
	return needs
}

func esoRights(resources ...string) (out []Right) {
	for _, resource := range resources {
		for _, verb := range []string{"list", "watch", "patch"} {
			out = append(out, Right{Verb: verb, Group: esoGroup, Resource: resource})
		}
	}
	return out
}

// JudgeNeeds tells what who lacks of what is needed.
func JudgeNeeds(needs []Need, who string, answers map[Right]Answer) []Finding {
	var out []Finding
	for _, n := range needs {
		if f, fine := n.judge(who, answers); !fine {
			out = append(out, f)
		}
	}
	if held := Held(needs, answers); len(held) > 0 {
		out = append(out, Finding{AboutRights, OK, fmt.Sprintf("%s has what is needed of %s", who, strings.Join(held, ", ")), ""})
	}
	return out
}

// Held returns the components of which all that is needed is there.
func Held(needs []Need, answers map[Right]Answer) (out []string) {
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

// judge tells whether who has what this component grants.
func (n Need) judge(who string, answers map[Right]Answer) (f Finding, fine bool) {
	f = Finding{About: AboutRights, Level: n.Level}
	var lacks []Right
	for _, r := range n.Rights {
		switch a := answers[r]; {
		case a.Err != nil:
			f.Level = Unknown
			f.Text = fmt.Sprintf("whether %s has what manifests/%s grants cannot be asked: %v", who, n.Component, a.Err)
			return f, false
		case !a.Allowed:
			lacks = append(lacks, r)
		}
	}
	f.Text = fmt.Sprintf("%s may not %s: %s", who, said(lacks), n.For)
	f.Advice = "apply manifests/" + n.Component + n.Also
	return f, len(lacks) == 0
}

// risk is what nobody who unseals needs, and what it would let him do.
type risk struct {
	verbs, group, resource string // verbs and resources with blanks between
	means                  string
}

var risks = []risk{
	{"get list watch", "", "secrets", "read Secrets"},
	{"create update patch delete", "", "secrets", "write Secrets"},
	{"create update patch delete", "", "pods", "run or change pods, and so take what any of them mounts (Vault's own service registration asks for patch: give it a Role for its pods alone)"},
	{"create get", "", "pods/exec pods/attach pods/portforward", "get into pods"},
	{"update patch", "", "pods/ephemeralcontainers", "get into pods"},
	{"create update patch", appsGroup, "statefulsets deployments daemonsets replicasets", "run anything through a workload"},
	{"create update patch", "batch", "jobs cronjobs", "run anything through a job"},
	{"create", "", "serviceaccounts/token", "become another ServiceAccount"},
	{"create update patch", rbacGroup, "rolebindings roles", "grant itself more"},
	{"bind escalate", rbacGroup, "roles clusterroles", "grant itself more"},
}

// widely are those that are of no namespace.
var widely = []risk{
	{"create update patch", rbacGroup, "clusterrolebindings clusterroles", "grant itself more"},
	{"impersonate", "", "users groups serviceaccounts", "act as somebody else"},
	{"get create", "", "nodes/proxy", "get into every pod of a node"},
	{"update patch delete", hookGroup, "validatingadmissionpolicies validatingadmissionpolicybindings", "take away what narrows its rights"},
	{"create update patch", hookGroup, "mutatingwebhookconfigurations", "change what others write"},
}

// everything is what a cluster's administrator has.
var everything = Right{Verb: wildcard, Group: wildcard, Resource: wildcard}

// rights spells out what a risk consists of in a namespace; "" is all of them.
func (r risk) rights(namespace string) (out []Right) {
	for verb := range strings.FieldsSeq(r.verbs) {
		for resource := range strings.FieldsSeq(r.resource) {
			resource, sub, _ := strings.Cut(resource, "/")
			out = append(out, Right{Verb: verb, Group: r.group, Resource: resource, Subresource: sub, Namespace: namespace})
		}
	}
	return out
}

// Risks lists the rights that the sidecar should not have in such a home.
func (h Home) Risks() []Right {
	out := []Right{everything}
	for _, r := range widely {
		out = append(out, r.rights("")...)
	}
	for _, r := range risks {
		for _, namespace := range h.namespaces() {
			out = append(out, r.rights(namespace)...)
		}
	}
	return out
}

// namespaces are all at once, our own, and External Secrets'.
func (h Home) namespaces() []string {
	out := []string{"", h.Namespace}
	if h.ESONamespace != "" && h.ESONamespace != h.Namespace {
		out = append(out, h.ESONamespace)
	}
	return out
}

// JudgeRisks tells what who may do and should not.
func (h Home) JudgeRisks(who string, answers map[Right]Answer) []Finding {
	const advice = "take it away: kubectl get clusterrolebindings,rolebindings -A -o wide names what binds it; the manifests grant none of it"
	if answers[everything].Allowed {
		return []Finding{{AboutRights, Failure, who + " may do everything in the cluster", advice}}
	}
	var out []Finding
	unasked := 0
	var why error
	judge := func(r risk, namespaces []string) {
		held := map[Right]bool{} // everywhere, so that it is not told again
		for _, namespace := range namespaces {
			var may []Right
			for _, right := range r.rights(namespace) {
				a := answers[right]
				if a.Err != nil {
					unasked, why = unasked+1, a.Err
				}
				wide := right
				wide.Namespace = ""
				if !a.Allowed || namespace != "" && held[wide] {
					continue
				}
				held[right] = true
				may = append(may, right)
			}
			if len(may) > 0 {
				out = append(out, Finding{AboutRights, Failure, fmt.Sprintf("%s may %s: it could %s", who, said(may), r.means), advice})
			}
		}
	}
	for _, r := range widely {
		judge(r, []string{""})
	}
	for _, r := range risks {
		judge(r, h.namespaces())
	}
	switch {
	case unasked > 0:
		out = append(out, Finding{AboutRights, Unknown,
			fmt.Sprintf("whether %s has rights that it should not have cannot be asked: %v", who, why), ""})
	case len(out) == 0:
		out = append(out, Finding{AboutRights, OK,
			fmt.Sprintf("%s has none of the %d rights that were looked for and that it should not have", who, len(h.Risks())), ""})
	}
	return out
}
