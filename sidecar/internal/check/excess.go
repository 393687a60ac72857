package check

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

const (
	wildcard  = "*" // RBAC's word for all there are
	rbacGroup = "rbac.authorization.k8s.io"
	hookGroup = "admissionregistration.k8s.io"
)

// excessPermission is a permission that unsealing does not need, and what it would allow.
type excessPermission struct {
	namespaced             bool   // it is asked for in our namespace and in External Secrets' too
	verbs, group, resource string // verbs and resources with blanks between
	impact                 string
}

var excess = []excessPermission{
	{false, "create update patch", rbacGroup, "clusterrolebindings clusterroles", "grant itself more"},
	{false, "impersonate", "", "users groups", "act as somebody else"},
	{false, "get create", "", "nodes/proxy", "get into every pod of a node"},
	{false, "update patch delete", hookGroup, "validatingadmissionpolicies validatingadmissionpolicybindings", "take away what narrows its rights"},
	{false, "create update patch", hookGroup, "mutatingwebhookconfigurations", "change what others write"},
	{true, "get list watch", "", "secrets", "read Secrets"},
	{true, "create update patch delete", "", "secrets", "write Secrets"},
	{true, "create update patch delete", "", "pods", "run or change pods, and so take what any of them mounts (Vault's own service registration asks for patch: give it a Role for its pods alone)"},
	{true, "create get", "", "pods/exec pods/attach pods/portforward", "get into pods"},
	{true, "update patch", "", "pods/ephemeralcontainers", "get into pods"},
	{true, "create update patch", "apps", "statefulsets deployments daemonsets replicasets", "run anything through a workload"},
	{true, "delete", "apps", "statefulsets deployments daemonsets replicasets", "take a workload away"},
	{true, "create update patch", "batch", "jobs cronjobs", "run anything through a job"},
	{true, "create", "", "serviceaccounts/token", "become another ServiceAccount"},
	{true, "impersonate", "", "serviceaccounts", "act as somebody else"},
	{true, "create update patch", rbacGroup, "rolebindings roles", "grant itself more"},
	{true, "bind escalate", rbacGroup, "roles clusterroles", "grant itself more"},
}

// administratorRight is what a cluster's administrator has.
var administratorRight = Right{Verb: wildcard, Group: wildcard, Resource: wildcard}

// resourceNames are of the objects that a right would be granted for by resourceNames:
// to a question without a name the answer is then no. The pod itself is not
// among them: Vault's service registration patches it.
func (c *Checker) resourceNames(namespace, resource string) []string {
	const ours = kube.Name // of the manifests
	controller := cmp.Or(c.ESO.Deployment, "external-secrets")
	type place struct{ namespace, resource string }
	set := c.Pod[:max(0, strings.LastIndex(c.Pod, "-"))]
	var policies []string
	for _, component := range []string{"gate", "events", "stores", "externalsecrets", "more", "eviction"} {
		policies = append(policies, ours+"-"+component+"."+c.Namespace)
	}
	local, ofESO := []string{ours, ours + "-services", ours + "-replicas", ours + "-routes"}, []string{ours + "-eviction." + c.Namespace}
	if c.ESO.ControllerNamespace == c.Namespace {
		local = append(local, ofESO...)
		ofESO = local
	}
	var cluster []string
	for _, component := range []string{"stores", "externalsecrets", "more"} {
		cluster = append(cluster, ours+"-"+component+"."+c.Namespace)
	}
	secrets, node := []string{keySecret}, ""
	if c.pod != nil {
		secrets, node = c.pod.secrets(), c.pod.Spec.NodeName
	}
	names := map[place][]string{
		{c.Namespace, "secrets"}:                             secrets,
		{c.Namespace, "statefulsets"}:                        {set},
		{c.Namespace, "pods/exec"}:                           {c.Pod},
		{c.Namespace, "pods/attach"}:                         {c.Pod},
		{c.Namespace, "pods/portforward"}:                    {c.Pod},
		{c.Namespace, "pods/ephemeralcontainers"}:            {c.Pod},
		{c.Namespace, "roles"}:                               local,
		{c.Namespace, "rolebindings"}:                        local,
		{c.ESO.ControllerNamespace, "roles"}:                 ofESO,
		{c.ESO.ControllerNamespace, "rolebindings"}:          ofESO,
		{c.Namespace, "clusterroles"}:                        {"cluster-admin"},
		{c.ESO.ControllerNamespace, "deployments"}:           {controller},
		{c.ESO.ControllerNamespace, "serviceaccounts"}:       {controller},
		{c.ESO.ControllerNamespace, "serviceaccounts/token"}: {controller},
		{"", "clusterroles"}:                                 append([]string{"cluster-admin"}, cluster...),
		{"", "clusterrolebindings"}:                          cluster,
		{"", "groups"}:                                       {"system:masters"},
		{"", "nodes/proxy"}:                                  {node},
		{"", "validatingadmissionpolicies"}:                  policies,
		{"", "validatingadmissionpolicybindings"}:            policies,
	}[place{namespace, resource}]
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
}

// excessRights yields the rights that the sidecar should not have, with what they would
// allow: those of one permission in one namespace after the other, the widest first.
func (c *Checker) excessRights() iter.Seq2[string, []Right] {
	return func(yield func(string, []Right) bool) {
		for _, p := range excess {
			namespaces := []string{""}
			if p.namespaced {
				namespaces = slices.Compact([]string{"", c.Namespace, c.ESO.ControllerNamespace})
			}
			for _, namespace := range namespaces {
				if !yield(p.impact, c.spellOut(p, namespace)) {
					return
				}
			}
		}
	}
}

// spellOut lists what a permission consists of in a namespace; "" is all of them.
func (c *Checker) spellOut(p excessPermission, namespace string) (out []Right) {
	for verb := range strings.FieldsSeq(p.verbs) {
		for resource := range strings.FieldsSeq(p.resource) {
			names := append([]string{""}, c.resourceNames(namespace, resource)...)
			out = append(out, spell(verb, p.group, resource, namespace, names...)...)
		}
	}
	return out
}

// within reports whether a wider right includes this one.
func (r Right) within(wide Right) bool {
	if wide.Namespace == "" {
		r.Namespace = ""
	}
	if wide.Name == "" {
		r.Name = ""
	}
	return r == wide
}

// evaluateExcess reports what is granted and should not be.
func (c *Checker) evaluateExcess(answers map[Right]Answer) {
	const advice = "take it away: kubectl get clusterrolebindings,rolebindings -A -o wide names what binds it; the manifests grant none of it"
	if answers[administratorRight].Allowed {
		c.fail(c.who+" may do everything in the cluster", advice)
		return
	}
	before, checked := len(c.findings), 1 // the administrator's
	var unknown error
	var held []Right
	for impact, rights := range c.excessRights() {
		var may []Right
		for _, right := range rights {
			a := answers[right]
			if a.Err != nil {
				unknown = a.Err
			}
			if a.Allowed && !slices.ContainsFunc(held, right.within) { // that is reported already
				held = append(held, right)
				may = append(may, right)
			}
		}
		checked += len(rights)
		if len(may) > 0 {
			c.fail(fmt.Sprintf("%s may %s: it could %s", c.who, describeRights(may), impact), advice)
		}
	}
	switch {
	case unknown != nil:
		c.unknown(fmt.Sprintf("whether %s has excess rights is not known: %v", c.who, unknown), "")
	case len(c.findings) == before:
		c.ok(fmt.Sprintf("%s has none of the %d excess rights that were checked", c.who, checked))
	}
}
