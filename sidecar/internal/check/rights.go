package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
)

// Right is something that Kubernetes may be asked to do. An empty Namespace
// means all of them, an empty Name any.
type Right struct {
	Verb, Group, Resource, Namespace, Name string // a subresource is named as in pods/status
}

// spell lists the rights to do each verb to each resource, both with blanks between, for
// each name.
func spell(verbs, group, resources, namespace string, names ...string) (out []Right) {
	for verb := range strings.FieldsSeq(verbs) {
		for resource := range strings.FieldsSeq(resources) {
			for _, name := range names {
				out = append(out, Right{verb, group, resource, namespace, name})
			}
		}
	}
	return out
}

// object is what the right speaks of.
func (r Right) object() string {
	what := r.Resource
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

// checkRights asks for each right that the sidecar needs, and for each that it
// should not have. Everybody may ask for his own; from outside it is asked for
// the pod's ServiceAccount, and not for whoever runs this.
func (c *Checker) checkRights(ctx context.Context) {
	c.who = "the sidecar's ServiceAccount"
	if c.pod != nil {
		c.who = "the ServiceAccount " + c.Namespace + "/" + c.pod.account()
	} else if c.outside {
		c.unknown("the pod's ServiceAccount is not known, and so neither are its rights", "")
		return
	}
	whole := *c // also of what is granted and not used
	whole.KubernetesOff, whole.ESO.Recovery = false, eso.RecoveryBoth
	granted := whole.requirements()
	rights := []Right{administratorRight}
	for _, excess := range c.excessRights() {
		rights = append(rights, excess...)
	}
	for _, n := range granted {
		rights = append(rights, n.Rights...)
	}
	rights = append(rights, c.movedRights()...)
	answers := c.askAll(ctx, rights)
	c.evaluateRequirements(c.requirements(), answers)
	c.evaluateExcess(answers)
	if !answers[administratorRight].Allowed { // whom no policy binds
		c.checkPolicies(ctx, granted, answers)
	}
}

// Requirement is what one component of the manifests grants.
type Requirement struct {
	Component string // of manifests/
	Impact    string // what does not work without
	Level     Level  // of one that is missing
	Rights    []Right
}

// requirements lists the rights that the sidecar uses.
func (c *Checker) requirements() []Requirement {
	ofPod, level := "conditions and Events are not written", Warning
	if c.gated() {
		ofPod, level = "a pod that declares the readiness gate is then never Ready", Failure
	}
	pods := append([]string{c.Pod}, c.replicas...)
	pod := spell("get list watch", "", "pods", c.Namespace, pods...)
	if c.Gate != "" || c.uses("stores") { // there are conditions to write
		pod = append(pod, spell("patch", "", "pods/status", c.Namespace, pods...)...)
	}
	events := spell("create", "", "events", c.Namespace, "")
	for _, reason := range []string{"unsealed", "heldbyoperator", "keyrejected", "externalsecretsrecovered", "externalsecretsnotrecovering"} {
		for _, name := range pods {
			events = append(events, spell("patch", "", "events", c.Namespace, name+".vault-unseal-sidecar."+reason)...)
		}
	}
	ofStores, verbs := "a store that is down is not seen", "list watch"
	if c.uses("externalsecrets") {
		ofStores, verbs = "a store that is down is neither seen nor resynced", "list watch patch"
	}
	eviction := slices.Concat(
		spell("list", "", "pods", c.ESO.ControllerNamespace, ""),
		spell("create", "", "pods/eviction", c.ESO.ControllerNamespace, ""),
		spell("list", "", "services", c.Namespace, ""))
	all := []Requirement{
		{"gate", ofPod, level, pod},
		{"gate", "Events are not written", Warning, events},
		{"stores", ofStores, Warning, esoRights(verbs, "clustersecretstores", "secretstores")},
		{"externalsecrets", "what failed to sync is not resynced", Warning, esoRights(verbs, "externalsecrets")},
		{"more", "PushSecrets are not resynced", Warning, esoRights(verbs, "pushsecrets")},
		{"eviction", "External Secrets' controller is not restarted when a resync does not help", Warning, eviction},
	}
	return slices.DeleteFunc(all, func(n Requirement) bool { return !c.uses(n.Component) })
}

func esoRights(verbs string, resources ...string) (out []Right) {
	for _, resource := range resources {
		out = append(out, spell(verbs, kube.ESOGroup, resource, "", "")...)
	}
	return out
}

// movedRights are of eviction, where a namespace set above the rights has moved its Role
// to Vault.
func (c *Checker) movedRights() []Right {
	if c.ESO.ControllerNamespace == c.Namespace {
		return nil
	}
	return spell("create", "", "pods/eviction", c.Namespace, "")
}

// names are those of the rights.
func (c *Checker) names() kube.Rights {
	names := c.ESO.Rights()
	names.Namespace, names.Pod = c.Namespace, c.Pod
	if len(c.replicas) > 0 {
		names.Pod = c.replicas[0]
	}
	if c.pod != nil {
		names.Account = c.pod.account()
	}
	return names
}

// evaluateRequirements reports what is not granted as one finding: mostly it has one cause.
func (c *Checker) evaluateRequirements(needs []Requirement, answers map[Right]Answer) {
	var texts, missing []string
	worst := OK
	for _, n := range needs {
		var err error
		var lacks []Right
		for _, r := range n.Rights {
			err = cmp.Or(err, answers[r].Err)
			if !answers[r].Allowed {
				lacks = append(lacks, r)
			}
		}
		switch {
		case err != nil:
			c.unknown(fmt.Sprintf("whether %s has what manifests/%s grants is not known: %v", c.who, n.Component, err), "")
		case len(lacks) > 0:
			worst, missing = max(worst, n.Level), append(missing, n.Component)
			texts = append(texts, fmt.Sprintf("may not %s: %s", describeRights(lacks), n.Impact))
		}
	}
	if len(missing) > 0 {
		text, advice := c.who+" "+strings.Join(texts, "; "), c.names().Apply(missing...)
		moved := func(r Right) bool { return answers[r].Allowed }
		if slices.Contains(missing, "eviction") && slices.ContainsFunc(c.movedRights(), moved) {
			text += fmt.Sprintf("; the Role of manifests/eviction lies in %s, in the place of %s", c.Namespace, c.ESO.ControllerNamespace)
			advice = fmt.Sprintf("take the namespace out of the kustomization above the rights (Flux: targetNamespace), and %s; "+
				"or set ESO_NAMESPACE=%s if External Secrets is there", advice, c.Namespace)
		}
		c.add(worst, text, advice)
	}
	if held := satisfied(needs, answers); len(held) > 0 {
		c.ok(fmt.Sprintf("%s has what is needed of %s", c.who, strings.Join(held, ", ")))
	}
}

func rightsOf(needs []Requirement, component string) (out []Right) {
	for _, n := range needs {
		if n.Component == component {
			out = append(out, n.Rights...)
		}
	}
	return out
}

// satisfied returns the components of which all that is needed is there.
func satisfied(needs []Requirement, answers map[Right]Answer) (out []string) {
	for _, component := range policy.Components {
		rights := rightsOf(needs, component)
		lacks := slices.ContainsFunc(rights, func(r Right) bool { return !answers[r].Allowed })
		if len(rights) > 0 && !lacks {
			out = append(out, component)
		}
	}
	return out
}
