package check

import (
	"fmt"
	"slices"
	"strings"
)

const (
	wildcard  = "*" // RBAC's word for all there are
	appsGroup = "apps"
	rbacGroup = "rbac.authorization.k8s.io"
	hookGroup = "admissionregistration.k8s.io"
)

// excessPermission is a permission that unsealing does not need, and what it would allow.
type excessPermission struct {
	verbs, group, resource string // verbs and resources with blanks between
	impact                 string
}

var excessInNamespace = []excessPermission{
	{"get list watch", "", "secrets", "read Secrets"},
	{"create update patch delete", "", "secrets", "write Secrets"},
	{"create update patch delete", "", "pods", "run or change pods, and so take what any of them mounts (Vault's own service registration asks for patch: give it a Role for its pods alone)"},
	{"create get", "", "pods/exec pods/attach pods/portforward", "get into pods"},
	{"update patch", "", "pods/ephemeralcontainers", "get into pods"},
	{"create update patch", appsGroup, "statefulsets deployments daemonsets replicasets", "run anything through a workload"},
	{"delete", appsGroup, "statefulsets deployments daemonsets replicasets", "take a workload away"},
	{"create update patch", "batch", "jobs cronjobs", "run anything through a job"},
	{"create", "", "serviceaccounts/token", "become another ServiceAccount"},
	{"impersonate", "", "serviceaccounts", "act as somebody else"},
	{"create update patch", rbacGroup, "rolebindings roles", "grant itself more"},
	{"bind escalate", rbacGroup, "roles clusterroles", "grant itself more"},
}

// excessInCluster are those that are of no namespace.
var excessInCluster = []excessPermission{
	{"create update patch", rbacGroup, "clusterrolebindings clusterroles", "grant itself more"},
	{"impersonate", "", "users groups", "act as somebody else"},
	{"get create", "", "nodes/proxy", "get into every pod of a node"},
	{"update patch delete", hookGroup, "validatingadmissionpolicies validatingadmissionpolicybindings", "take away what narrows its rights"},
	{"create update patch", hookGroup, "mutatingwebhookconfigurations", "change what others write"},
}

// administratorRight is what a cluster's administrator has.
var administratorRight = Right{Verb: wildcard, Group: wildcard, Resource: wildcard}

// resourceNames are of the objects that a right would be granted for by resourceNames:
// to a question without a name the answer is then no. The pod itself is not
// among them: Vault's service registration patches it.
func (h Scope) resourceNames(namespace, resource string) []string {
	const ours, controller = "vault-unseal-sidecar", "external-secrets" // of the manifests, and of ESO's chart
	type place struct{ namespace, resource string }
	set := h.Pod[:max(0, strings.LastIndex(h.Pod, "-"))]
	policies := []string{ours + "-gate", ours + "-events", ours + "-stores", ours + "-externalsecrets", ours + "-more", ours + "-eviction"}
	names := map[place][]string{
		{h.Namespace, "secrets"}:                  h.Secrets,
		{h.Namespace, "statefulsets"}:             {set},
		{h.Namespace, "pods/exec"}:                {h.Pod},
		{h.Namespace, "pods/attach"}:              {h.Pod},
		{h.Namespace, "pods/portforward"}:         {h.Pod},
		{h.Namespace, "pods/ephemeralcontainers"}: {h.Pod},
		{h.Namespace, "roles"}:                    {ours},
		{h.Namespace, "rolebindings"}:             {ours},
		{h.Namespace, "clusterroles"}:             {"cluster-admin"},
		{h.ESONamespace, "deployments"}:           {controller},
		{h.ESONamespace, "serviceaccounts"}:       {controller},
		{h.ESONamespace, "serviceaccounts/token"}: {controller},
		{"", "clusterroles"}:                      {"cluster-admin"},
		{"", "groups"}:                            {"system:masters"},
		{"", "nodes/proxy"}:                       {h.Node},
		{"", "validatingadmissionpolicies"}:       policies,
		{"", "validatingadmissionpolicybindings"}: policies,
	}[place{namespace, resource}]
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
}

// rights spells out what a risk consists of in a namespace; "" is all of them.
func (r excessPermission) rights(h Scope, namespace string) (out []Right) {
	for verb := range strings.FieldsSeq(r.verbs) {
		for what := range strings.FieldsSeq(r.resource) {
			resource, sub, _ := strings.Cut(what, "/")
			right := Right{Verb: verb, Group: r.group, Resource: resource, Subresource: sub, Namespace: namespace}
			out = append(out, right)
			for _, name := range h.resourceNames(namespace, what) {
				right.Name = name
				out = append(out, right)
			}
		}
	}
	return out
}

// coveredBy reports whether a right is held with a wider one.
func (r Right) coveredBy(held map[Right]bool) bool {
	for _, namespace := range []string{r.Namespace, ""} {
		for _, name := range []string{r.Name, ""} {
			wider := r
			wider.Namespace, wider.Name = namespace, name
			if held[wider] {
				return true
			}
		}
	}
	return false
}

// excessPermissions lists the rights that the sidecar should not have in such a home.
func (h Scope) excessPermissions() []Right {
	out := []Right{administratorRight}
	for _, r := range excessInCluster {
		out = append(out, r.rights(h, "")...)
	}
	for _, r := range excessInNamespace {
		for _, namespace := range h.namespaces() {
			out = append(out, r.rights(h, namespace)...)
		}
	}
	return out
}

// namespaces are all at once, our own, and External Secrets'.
func (h Scope) namespaces() []string {
	out := []string{"", h.Namespace}
	if h.ESONamespace != "" && h.ESONamespace != h.Namespace {
		out = append(out, h.ESONamespace)
	}
	return out
}

// isAdministrator reports whether who was asked about may do everything.
func (h Scope) isAdministrator(answers map[Right]Answer) bool {
	return answers[administratorRight].Allowed
}

// evaluateExcess reports what who may do and should not.
func (h Scope) evaluateExcess(who string, answers map[Right]Answer) []Finding {
	const advice = "take it away: kubectl get clusterrolebindings,rolebindings -A -o wide names what binds it; the manifests grant none of it"
	if h.isAdministrator(answers) {
		return []Finding{{AboutRights, Failure, who + " may do everything in the cluster", advice}}
	}
	var out []Finding
	unasked := 0
	var why error
	judge := func(r excessPermission, namespaces []string) {
		held := map[Right]bool{} // so that what is held more widely is not reported again
		for _, namespace := range namespaces {
			var may []Right
			for _, right := range r.rights(h, namespace) {
				a := answers[right]
				if a.Err != nil {
					unasked, why = unasked+1, a.Err
				}
				if !a.Allowed || right.coveredBy(held) {
					continue
				}
				held[right] = true
				may = append(may, right)
			}
			if len(may) > 0 {
				out = append(out, Finding{AboutRights, Failure, fmt.Sprintf("%s may %s: it could %s", who, describeRights(may), r.impact), advice})
			}
		}
	}
	for _, r := range excessInCluster {
		judge(r, []string{""})
	}
	for _, r := range excessInNamespace {
		judge(r, h.namespaces())
	}
	switch {
	case unasked > 0:
		out = append(out, Finding{AboutRights, Unknown,
			fmt.Sprintf("whether %s has excess rights is not known: %v", who, why), ""})
	case len(out) == 0:
		out = append(out, Finding{AboutRights, OK,
			fmt.Sprintf("%s has none of the %d excess rights that were checked", who, len(h.excessPermissions())), ""})
	}
	return out
}
