// Package policy finds out whether the admission policies of the manifests restrict
// what the sidecar is granted: by dry runs of what they have to refuse.
package policy

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
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

// guardedKinds are ESO's kinds that a policy guards, by what grants them.
var guardedKinds = []struct {
	component string
	resource  schema.GroupVersionResource
}{
	{"stores", eso.ClusterStores}, {"stores", eso.NamespaceStores}, {"externalsecrets", eso.ExternalSecrets},
	{"more", eso.ClusterSecrets}, {"more", eso.PushSecrets},
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

// UnusedName returns a name that no object has, nor can be given before it is asked
// for: what is found under it is not made up by others.
func UnusedName() string { return kube.Name + "-check-" + strings.ToLower(rand.Text()) }

// ErrNothing is why a policy was not tried that has nothing to be tried on.
var ErrNothing = errors.New("there is no object of its kinds yet")

var dryRun = []string{metav1.DryRunAll}

// Verdicts is what was seen of the policies, by component.
type Verdicts struct {
	Missing  map[string]bool   // whether nothing narrows what it grants
	Unknown  map[string]error  // why that is not known
	Why      string            // what is said of one that is open
	Admitted map[string]string // what of one that is open let it through
}

// record takes what came of a dry run that a policy has to refuse. One that was
// refused for want of a right says nothing: there is nothing to narrow.
func (n Verdicts) record(component, policy string, through bool, err error) {
	switch {
	case through || refusedBy(policy, err):
		n.Missing[component] = n.Missing[component] || through
	case !kube.LacksRight(err):
		n.Unknown[component] = kube.DescribeError(err)
	}
}

// refusedBy reports a refusal by a policy of ours, which may have a prefix.
func refusedBy(policy string, err error) bool {
	return kube.ByPolicy(err) && strings.Contains(err.Error(), kube.Name+"-"+policy)
}

// Config says where the policies are tried.
type Config struct {
	Namespace           string // of our pod
	ControllerNamespace string // where ESO's pods are
	Log                 hclog.Logger
	Meter               kube.Meter // may be nil
}

// Trial tries the policies.
type Trial struct {
	api    dynamic.Interface
	config Config
}

// NewTrial returns what tries the policies on behalf of whoever the client speaks for.
func NewTrial(api dynamic.Interface, c Config) Trial { return Trial{api, c} }

// Run does, as dry runs that change nothing, what RBAC alone would allow and a
// policy has to refuse. Nobody grants us to read the policies, and this shows
// that they bind us.
func (t Trial) Run(ctx context.Context, pod string) Verdicts {
	const why = "a dry run that its policy has to deny was admitted"
	n := Verdicts{map[string]bool{}, map[string]error{}, why, map[string]string{}}
	if pod != "" {
		api := t.api.Resource(kube.Pods).Namespace(t.config.Namespace)
		err := t.tryPatch(ctx, api, pod, types.StrategicMergePatchType, forbiddenStatus, "status")
		n.record("gate", "gate", err == nil, err)
		err = t.tryEvent(ctx, pod)
		n.record("gate", "events", err == nil, err)
	}
	for _, g := range guardedKinds {
		objects, err := t.objects(ctx, g.resource)
		switch {
		case err == nil:
			on, err := t.tryLabel(ctx, g.resource, g.component, objects)
			if n.record(g.component, g.component, err == nil, err); err == nil {
				n.Admitted[g.component] = on
			}
		case !kube.IsForbiddenOrNotFound(err):
			n.Unknown[g.component] = kube.DescribeError(err)
		}
	}
	n.dropReason(ErrNothing)
	noPod := UnusedName() // so that nothing is evicted whatever comes of it
	err := t.TryEviction(ctx, noPod)
	// The policies come first, and then it is found that there is no such pod
	// (pkg/registry/core/pod/storage/eviction.go).
	n.record("eviction", "eviction", apierrors.IsNotFound(err) && strings.Contains(err.Error(), noPod), err)
	return n
}

// RunTwice is Run, once more after a while where a policy seems to be missing: one that
// was just applied is in force a moment later.
func (t Trial) RunTwice(ctx context.Context, pod string, after time.Duration) Verdicts {
	n := t.Run(ctx, pod)
	if n.anyMissing() && kube.Sleep(ctx, after) {
		return t.Run(ctx, pod)
	}
	return n
}

func (n Verdicts) anyMissing() bool {
	return slices.ContainsFunc(Components, func(c string) bool { return n.Missing[c] })
}

// dropReason leaves out that one kind gave this reason where another of the same
// policy came to a verdict.
func (n Verdicts) dropReason(reason error) {
	for component := range n.Missing {
		if errors.Is(n.Unknown[component], reason) {
			delete(n.Unknown, component)
		}
	}
}

func (t Trial) tryPatch(ctx context.Context, api dynamic.ResourceInterface, name string, kind types.PatchType, body string,
	subresources ...string) error {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	_, err := api.Patch(ctx, name, kind, []byte(body), metav1.PatchOptions{DryRun: dryRun, FieldManager: kube.Name}, subresources...)
	return err
}

// tryEvent asks for an Event under a name that none of ours has.
func (t Trial) tryEvent(ctx context.Context, pod string) error {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	e := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Event",
		"metadata":       map[string]any{"name": UnusedName(), "namespace": t.config.Namespace},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": t.config.Namespace},
	}}
	_, err := t.api.Resource(kube.Events).Namespace(t.config.Namespace).
		Create(ctx, e, metav1.CreateOptions{DryRun: dryRun, FieldManager: kube.Name})
	return err
}

// TryEviction asks for the eviction of a pod.
func (t Trial) TryEviction(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	_, err := t.api.Resource(kube.Pods).Namespace(t.config.ControllerNamespace).
		Create(ctx, eso.EvictionOf(name, t.config.ControllerNamespace), metav1.CreateOptions{DryRun: dryRun, FieldManager: kube.Name}, "eviction")
	return err
}

// triedNamespaces is in how many namespaces a policy is tried.
const triedNamespaces = 3

// tryLabel tries a policy on objects of a kind, and names them where each lets it
// through. Who may grant rights in a namespace can have the policy spare us there,
// so that one refusal is enough.
func (t Trial) tryLabel(ctx context.Context, r schema.GroupVersionResource, policy string,
	objects []*unstructured.Unstructured) (on string, err error) {
	var names []string
	var lacking error
	for _, o := range objects {
		api, name := t.api.Resource(r).Namespace(o.GetNamespace()), o.GetName()
		denied := t.tryPatch(ctx, api, name, types.MergePatchType, forbiddenLabel)
		if refusedBy(policy, denied) {
			return "", denied
		}
		if kube.LacksRight(denied) { // it may be granted in another
			lacking = denied
			continue
		}
		err = cmp.Or(err, denied)
		names = append(names, strings.TrimPrefix(o.GetNamespace()+"/"+name, "/"))
	}
	if len(names) == 0 {
		return "", lacking
	}
	return r.Resource + " " + strings.Join(names, ", "), err
}

// objects returns objects of a kind, each of another namespace.
func (t Trial) objects(ctx context.Context, r schema.GroupVersionResource) (out []*unstructured.Unstructured, err error) {
	var others []string
	for len(out) < triedNamespaces {
		o, err := t.firstObject(ctx, r, strings.Join(others, ","))
		if errors.Is(err, ErrNothing) && len(out) > 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		out = append(out, o)
		if o.GetNamespace() == "" {
			break
		}
		others = append(others, "metadata.namespace!="+o.GetNamespace())
	}
	return out, nil
}

// firstObject returns any object of a kind that a field selector lets through.
func (t Trial) firstObject(ctx context.Context, r schema.GroupVersionResource, selector string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, kube.ShortTimeout)
	defer cancel()
	list, err := t.api.Resource(r).List(ctx, metav1.ListOptions{Limit: 1, FieldSelector: selector})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, ErrNothing
	}
	return &list.Items[0], nil
}

// The states of the policy for what a manifest grants.
const (
	Enforced   = "enforced"
	Missing    = "missing"
	Unknown    = "unknown"
	NotGranted = "not-granted"
)

// State returns one of them.
func (n Verdicts) State(component string) string {
	isOpen, known := n.Missing[component]
	switch {
	case isOpen:
		return Missing
	case n.Unknown[component] != nil:
		return Unknown
	case known:
		return Enforced
	}
	return NotGranted
}
