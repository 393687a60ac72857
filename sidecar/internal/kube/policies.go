package kube

import (
	"cmp"
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// components are the manifests whose rights a policy restricts.
var components = []string{"gate", "stores", "externalsecrets", "more", "eviction"}

// guarded are ESO's kinds that a policy guards, by what grants them.
var guarded = []struct {
	component string
	resource  schema.GroupVersionResource
}{
	{"stores", clusterStores}, {"stores", namespaceStores}, {"externalsecrets", secrets},
	{"more", clusterSecrets}, {"more", pushSecrets},
}

// forbiddenStatus and forbiddenLabel are what no policy of ours lets through.
const (
	forbiddenStatus = `{"status":{"message":"a dry run of the sidecar"}}`
	forbiddenLabel  = `{"metadata":{"labels":{"vault-unseal-sidecar/check":"dry-run"}}}`
)

// nobodysPod is of no pod, so that nothing is evicted whatever comes of it.
const nobodysPod = "vault-unseal-sidecar-check"

// errNothing is why a policy was not tried that has nothing to be tried on.
var errNothing = errors.New("there is no object of its kinds yet")

var dryRun = []string{metav1.DryRunAll}

// narrowing is what was seen of the policies, by component.
type narrowing struct {
	open   map[string]bool   // whether nothing narrows what it grants
	unseen map[string]error  // why that is not known
	why    string            // what is said of one that is open
	on     map[string]string // what of one that is open let it through
}

// tried takes what came of a dry run that a policy has to refuse. One that was
// refused for want of a right says nothing: there is nothing to narrow.
func (n narrowing) tried(component, policy string, through bool, err error) {
	switch {
	case through || refusedBy(policy, err):
		n.open[component] = n.open[component] || through
	case !lacksRight(err):
		n.unseen[component] = plainly(err)
	}
}

// byPolicy reports a refusal that is no role's.
func byPolicy(err error) bool {
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
}

// refusedBy reports a refusal by a policy of ours, which may have a prefix.
func refusedBy(policy string, err error) bool {
	return byPolicy(err) && strings.Contains(err.Error(), ownName+"-"+policy)
}

// lacksRight reports a refusal by the authorizer; admission webhooks forbid too.
func lacksRight(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "forbidden: User ")
}

// notReadyOnly is in the words of the policies that refuse to have synced what
// is Ready.
const notReadyOnly = "not Ready may be annotated"

// readyMeanwhile reports that a policy refused because ESO was sooner.
func readyMeanwhile(err error) bool {
	return byPolicy(err) && strings.Contains(err.Error(), notReadyOnly)
}

// trial tries the policies.
type trial struct {
	api    dynamic.Interface
	config Config
}

// run does, as dry runs that change nothing, what RBAC alone would allow and a
// policy has to refuse. Nobody grants us to read the policies, and this shows
// that they bind us.
func (t trial) run(ctx context.Context, pod string) narrowing {
	const why = "a dry run of what its policy has to refuse was let through"
	n := narrowing{map[string]bool{}, map[string]error{}, why, map[string]string{}}
	if pod != "" {
		api := t.api.Resource(pods).Namespace(t.config.Namespace)
		err := t.patch(ctx, api, pod, types.StrategicMergePatchType, forbiddenStatus, "status")
		n.tried("gate", "gate", err == nil, err)
		err = t.event(ctx, pod)
		n.tried("gate", "events", err == nil, err)
	}
	for _, g := range guarded {
		objects, err := t.some(ctx, g.resource)
		switch {
		case err == nil:
			on, err := t.label(ctx, g.resource, g.component, objects)
			if n.tried(g.component, g.component, err == nil, err); err == nil {
				n.on[g.component] = on
			}
		case !missing(err):
			n.unseen[g.component] = plainly(err)
		}
	}
	n.forget(errNothing)
	err := t.evict(ctx, nobodysPod)
	// The policies come first, and then it is found that there is no such pod
	// (pkg/registry/core/pod/storage/eviction.go).
	n.tried("eviction", "eviction", apierrors.IsNotFound(err) && strings.Contains(err.Error(), nobodysPod), err)
	return n
}

// forget leaves out that one kind gave this reason where another of the same
// policy came to a verdict.
func (n narrowing) forget(reason error) {
	for component := range n.open {
		if errors.Is(n.unseen[component], reason) {
			delete(n.unseen, component)
		}
	}
}

func (t trial) patch(ctx context.Context, api dynamic.ResourceInterface, name string, kind types.PatchType, body string,
	subresources ...string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := api.Patch(ctx, name, kind, []byte(body), metav1.PatchOptions{DryRun: dryRun, FieldManager: fieldManager}, subresources...)
	return err
}

// event asks for an Event under a name that none of ours has.
func (t trial) event(ctx context.Context, pod string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	e := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Event",
		"metadata":       map[string]any{"name": nobodysPod, "namespace": t.config.Namespace},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": t.config.Namespace},
	}}
	_, err := t.api.Resource(events).Namespace(t.config.Namespace).
		Create(ctx, e, metav1.CreateOptions{DryRun: dryRun, FieldManager: fieldManager})
	return err
}

// evict asks for the eviction of a pod.
func (t trial) evict(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := t.api.Resource(pods).Namespace(t.config.ESONamespace).
		Create(ctx, evictionOf(name, t.config.ESONamespace), metav1.CreateOptions{DryRun: dryRun, FieldManager: fieldManager}, "eviction")
	return err
}

// triedIn is in how many namespaces a policy is tried.
const triedIn = 3

// label tries a policy on objects of a kind, and names them where each lets it
// through. Who may grant rights in a namespace can have the policy spare us there,
// so that one refusal is enough.
func (t trial) label(ctx context.Context, r schema.GroupVersionResource, policy string,
	objects []*unstructured.Unstructured) (on string, err error) {
	var names []string
	var lacking error
	for _, o := range objects {
		api, name := t.api.Resource(r).Namespace(o.GetNamespace()), o.GetName()
		denied := t.patch(ctx, api, name, types.MergePatchType, forbiddenLabel)
		if refusedBy(policy, denied) {
			return "", denied
		}
		if lacksRight(denied) { // it may be granted in another
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

// some returns objects of a kind, each of another namespace.
func (t trial) some(ctx context.Context, r schema.GroupVersionResource) (out []*unstructured.Unstructured, err error) {
	var others []string
	for len(out) < triedIn {
		o, err := t.first(ctx, r, strings.Join(others, ","))
		if errors.Is(err, errNothing) && len(out) > 0 {
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

// first returns any object of a kind that a field selector lets through.
func (t trial) first(ctx context.Context, r schema.GroupVersionResource, selector string) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := t.api.Resource(r).List(ctx, metav1.ListOptions{Limit: 1, FieldSelector: selector})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, errNothing
	}
	return &list.Items[0], nil
}

// The states of the policy for what a manifest grants.
const (
	policyEnforced = "enforced"
	policyMissing  = "missing"
	policyUnknown  = "unknown"
	policyIdle     = "not-granted"
)

// state returns one of them.
func (n narrowing) state(component string) string {
	isOpen, known := n.open[component]
	switch {
	case isOpen:
		return policyMissing
	case n.unseen[component] != nil:
		return policyUnknown
	case known:
		return policyEnforced
	}
	return policyIdle
}
