// Package policy finds out whether the admission policies of the manifests restrict
// what the sidecar is granted: by dry runs of what they have to refuse.
package policy

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// Components are the manifests whose rights a policy restricts.
var Components = []string{"gate", "stores", "externalsecrets", "more", "eviction"}

// guardedKinds are ESO's kinds that the policy of a component guards.
var guardedKinds = map[string][]schema.GroupVersionResource{
	"stores":          {eso.ClusterStores, eso.NamespaceStores},
	"externalsecrets": {eso.ExternalSecrets},
	"more":            {eso.PushSecrets, eso.PushSecretsV1},
}

// The verbs that the policies ask for: the first is granted with each right
// that they restrict, the second to nobody by its name.
const (
	RestrictedVerb   = kube.Name + "-restricted"
	UnrestrictedVerb = kube.Name + "-unrestricted"
)

// forbiddenStatus and forbiddenLabel are what no policy of ours lets through.
const (
	forbiddenStatus = `{"status":{"message":"a dry run of the sidecar"}}`
	forbiddenLabel  = `{"metadata":{"labels":{"vault-unseal-sidecar/check":"dry-run"}}}`
)

// UnusedName returns a name that no object has, and that nobody can know before it is
// asked for: others cannot have prepared what is found under it.
func UnusedName() string { return kube.Name + "-check-" + strings.ToLower(rand.Text()) }

// State is what is known of the policy for what a manifest grants, in rising order: of
// several dry runs for one manifest the highest counts.
type State uint8

// The states.
const (
	NotGranted State = iota
	Untried          // there is no object of its kinds yet
	Enforced
	Unknown
	Missing // nothing restricts what the manifest grants
)

// String returns the state as the metric has it.
func (s State) String() string {
	return [...]string{"not-granted", "unknown", "enforced", "unknown", "missing"}[s]
}

// Verdict is what was seen of a policy.
type Verdict struct {
	State    State
	Err      error  // why it is Unknown
	Admitted string // the objects on which a dry run was admitted, where it is Missing
}

// verdictOf is what the answer to a dry run shows that a policy has to refuse.
func verdictOf(policy string, err error) Verdict {
	switch {
	case err == nil:
		return Verdict{State: Missing}
	case strings.Contains(kube.PolicyOf(err), kube.Name+"-"+policy): // or with a prefix
		return Verdict{State: Enforced}
	case kube.LacksRight(err):
		return Verdict{} // there is nothing to restrict
	}
	return Verdict{State: Unknown, Err: kube.DescribeError(err)}
}

// Verdicts is what was seen of the policies, by component.
type Verdicts map[string]Verdict

func (n Verdicts) add(component string, v Verdict) {
	if v.State >= n[component].State {
		n[component] = v
	}
}

// In lists the components whose policies are in one of some states.
func (n Verdicts) In(states ...State) (out []string) {
	for _, c := range Components {
		if slices.Contains(states, n[c].State) {
			out = append(out, c)
		}
	}
	return out
}

// Trial tries the policies on behalf of whoever the client speaks for.
type Trial struct {
	API                 dynamic.Interface
	Pod, Namespace      string // our pod; without either it is not tried
	ControllerNamespace string // where ESO's pods are
}

// Run does, as dry runs that change nothing, what RBAC alone would allow and a policy has to
// refuse. Nobody grants us to read the policies, and this shows that they bind us.
func (t Trial) Run(ctx context.Context) Verdicts {
	n := Verdicts{}
	if t.Pod != "" && t.Namespace != "" {
		n.add("gate", verdictOf("gate",
			t.patch(ctx, kube.Pods, t.Namespace, t.Pod, types.StrategicMergePatchType, forbiddenStatus, "status")))
		n.add("gate", verdictOf("events", t.createEvent(ctx)))
	}
	for _, c := range Components {
		for _, kind := range guardedKinds[c] {
			n.add(c, t.tryKind(ctx, c, kind))
		}
	}
	n.add("eviction", verdictOf("eviction", t.TryEviction(ctx, UnusedName()))) // which is of no pod
	return n
}

// RunTwice is Run, once more after a while where a policy seems to be missing: one that
// was just applied is in force a moment later.
func (t Trial) RunTwice(ctx context.Context, after time.Duration) Verdicts {
	n := t.Run(ctx)
	if len(n.In(Missing)) > 0 && kube.Sleep(ctx, after) {
		return t.Run(ctx)
	}
	return n
}

func (t Trial) patch(ctx context.Context, r schema.GroupVersionResource, namespace, name string,
	kind types.PatchType, body string, subresources ...string) error {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	_, err := t.API.Resource(r).Namespace(namespace).Patch(ctx, name, kind, []byte(body),
		metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: kube.Name}, subresources...)
	return err
}

func (t Trial) create(ctx context.Context, r schema.GroupVersionResource, o *unstructured.Unstructured,
	subresources ...string) error {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	_, err := t.API.Resource(r).Namespace(o.GetNamespace()).Create(ctx, o,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: kube.Name}, subresources...)
	return err
}

// createEvent asks for an Event under a name that none of ours has.
func (t Trial) createEvent(ctx context.Context) error {
	return t.create(ctx, kube.Events, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Event",
		"metadata":       map[string]any{"name": UnusedName(), "namespace": t.Namespace},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Pod", "name": t.Pod, "namespace": t.Namespace},
	}})
}

// TryEviction asks for the eviction of a pod. That there is no such pod is found after
// the policies (pkg/registry/core/pod/storage/eviction.go): it is no refusal.
func (t Trial) TryEviction(ctx context.Context, name string) error {
	err := t.create(ctx, kube.Pods, eso.EvictionOf(name, t.ControllerNamespace), "eviction")
	if apierrors.IsNotFound(err) && strings.Contains(err.Error(), name) {
		return nil
	}
	return err
}

// triedNamespaces is in how many namespaces a policy is tried, and sparedNamespaces, in how many more
// in which it spares us.
const (
	triedNamespaces  = 3
	sparedNamespaces = 20
)

// errSpared is why nothing is known of a policy that is tried where others grant us too much.
var errSpared = errors.New("in each namespace that was tried somebody has granted the sidecar what the policy spares")

// tryKind tries a policy on objects of a kind, each of another namespace, so that one refusal is
// enough. Who may grant rights in a namespace can have the policy spare us there: that it does is no
// sign that it is missing.
func (t Trial) tryKind(ctx context.Context, policy string, r schema.GroupVersionResource) Verdict {
	unknown := Verdict{State: Untried}
	var admitted, others []string
	for tried, spared := 0, 0; tried < triedNamespaces && spared < sparedNamespaces; {
		o, err := t.firstObject(ctx, r, strings.Join(others, ","))
		if kube.IsForbiddenOrNotFound(err) {
			return Verdict{}
		}
		if err != nil {
			return Verdict{State: Unknown, Err: kube.DescribeError(err)}
		}
		if o == nil {
			break
		}
		namespace, name := o.GetNamespace(), o.GetName()
		v := verdictOf(policy, t.patch(ctx, r, namespace, name, types.MergePatchType, forbiddenLabel))
		switch {
		case v.State == Enforced:
			return v
		case v.State == Missing && t.spares(ctx, r, namespace, name):
			spared++
			unknown = Verdict{State: Unknown, Err: errSpared}
		case v.State == Missing:
			tried++
			admitted = append(admitted, strings.TrimPrefix(namespace+"/"+name, "/"))
		default: // the right may be granted in another namespace
			tried++
			if unknown.Err == nil {
				unknown = v
			}
		}
		if namespace == "" {
			break
		}
		others = append(others, "metadata.namespace!="+namespace)
	}
	if unknown.Err != nil && !errors.Is(unknown.Err, errSpared) || len(admitted) == 0 {
		return unknown
	}
	return Verdict{State: Missing, Admitted: r.Resource + " " + strings.Join(admitted, ", ")}
}

// spares reports whether the policies spare us with an object of a namespace, and not in all.
func (t Trial) spares(ctx context.Context, r schema.GroupVersionResource, namespace, name string) bool {
	return namespace != "" && t.mayUnrestricted(ctx, r, namespace, name) && !t.mayUnrestricted(ctx, r, "", name)
}

// mayUnrestricted asks whether a role grants us what the policies take for everything.
func (t Trial) mayUnrestricted(ctx context.Context, r schema.GroupVersionResource,
	namespace, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	answer, err := t.API.Resource(accessReviews).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": accessReviews.GroupVersion().String(), "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{
			"verb": UnrestrictedVerb, "group": r.Group, "version": r.Version, "resource": r.Resource,
			"namespace": namespace, "name": name,
		}},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false
	}
	allowed, _, _ := unstructured.NestedBool(answer.Object, "status", "allowed")
	return allowed
}

var accessReviews = schema.GroupVersionResource{
	Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews",
}

// firstObject returns an object of a kind that a field selector lets through, or nil.
func (t Trial) firstObject(ctx context.Context, r schema.GroupVersionResource, selector string) (
	*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	list, err := t.API.Resource(r).List(ctx, metav1.ListOptions{Limit: 1, FieldSelector: selector})
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	return &list.Items[0], nil
}
