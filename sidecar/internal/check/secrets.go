package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// checkSecrets looks whether External Secrets is there, well, and one whose
// objects can be resynced.
func (c *Checker) checkSecrets(ctx context.Context) {
	switch {
	case c.KubernetesOff:
		c.ok("is not managed: --kubernetes is off")
		return
	case !c.uses("stores"):
		c.ok("is not managed: --eso-recovery is off")
		return
	}
	stores, ignored, err := c.stores(ctx)
	switch {
	case apierrors.IsNotFound(err):
		c.noStores(ctx)
		return
	case err != nil:
		c.notVisible("the stores", "stores", err)
	default:
		c.evaluateStores(stores, ignored)
	}
	c.checkController(ctx)
	if err == nil {
		c.checkSynced(ctx, stores)
	}
}

// stores returns those that are managed, and those that are ignored. It
// fails as not found when neither kind is served.
func (c *Checker) stores(ctx context.Context) (found, ignored []eso.Store, err error) {
	missing := false // one of the two
	for _, kind := range []schema.GroupVersionResource{eso.ClusterStores, eso.NamespaceStores} {
		ours, others := eso.StoreLimit{}, eso.StoreLimit{} // the rest is not followed either
		err := c.each(ctx, c.api.Resource(kind), metav1.ListOptions{}, func(o *unstructured.Unstructured) {
			s := eso.StoreOf(o)
			s.Message = quote(s.Message) // of thousands it would take much
			switch {
			case c.ESO.Manages(s) && ours.Admit(s.Namespace):
				found = append(found, s)
			case c.ESO.Ignores(s) && others.Admit(s.Namespace):
				ignored = append(ignored, s)
			}
		})
		if apierrors.IsNotFound(err) && !missing {
			missing = true
		} else if err != nil {
			return nil, nil, err
		}
	}
	return found, ignored, nil
}

// noStores reports why no store is served.
func (c *Checker) noStores(ctx context.Context) {
	older := eso.ClusterStores
	older.Version = "v1beta1"
	if err := c.each(ctx, c.api.Resource(older), metav1.ListOptions{}, func(*unstructured.Unstructured) {}); err == nil {
		c.warn("the Kubernetes API serves its kinds only as v1beta1: it is older than 0.16, and nothing is resynced",
			"install External Secrets 0.16 or later")
		return
	}
	c.warn("it is not installed: the Kubernetes API serves no stores of "+kube.ESOGroup+"/v1",
		"install External Secrets 0.16 or later; with none to come, set --eso-recovery off")
}

// maxNamedStores bounds how many stores are named that have the same trouble: anybody may make
// some, and their findings are not to bury all others.
const maxNamedStores = 5

// eachNamed calls name with the first few stores, and returns how many are left.
func eachNamed(stores []eso.Store, name func(eso.Store)) (more int) {
	named := min(len(stores), maxNamedStores)
	for _, s := range stores[:named] {
		name(s)
	}
	return len(stores) - named
}

func (c *Checker) evaluateStores(stores, ignored []eso.Store) {
	const list = "kubectl get clustersecretstores,secretstores -A lists them"
	if more := eachNamed(ignored, func(s eso.Store) {
		c.unknown(s.String()+" is ignored: its server is a Service of another namespace", eso.AdviceElsewhere)
	}); more > 0 {
		c.unknown(fmt.Sprintf("more stores that are ignored, of other namespaces' Services: %d", more), list)
	}
	ready := 0
	var broken, unvalidated []eso.Store
	for _, s := range stores {
		switch {
		case s.Ready():
			ready++
		case s.Status == "":
			unvalidated = append(unvalidated, s)
		default:
			broken = append(broken, s)
		}
	}
	if more := eachNamed(unvalidated, func(s eso.Store) {
		c.unknown(s.String()+" has no Ready condition: no External Secrets controller has validated it",
			"see whether its spec.controller, or the controller's options processClusterStore and processSecretStore, exclude it")
	}); more > 0 {
		c.unknown(fmt.Sprintf("more stores without a Ready condition: %d", more), list)
	}
	if more := eachNamed(broken, func(s eso.Store) {
		c.fail(fmt.Sprintf("%s is not Ready: %s: %s", s, s.Reason, quote(s.Message)),
			"fix what it reports; what uses it is not synced until it is Ready")
	}); more > 0 {
		c.fail(fmt.Sprintf("more stores that are not Ready: %d", more), list)
	}
	for _, name := range c.ESO.Stores {
		if !slices.ContainsFunc(stores, func(s eso.Store) bool { return s.StoreName == name }) {
			c.fail(name.String()+" does not exist", "correct --eso-stores")
		}
	}
	switch {
	case ready > 0:
		c.ok(fmt.Sprintf("stores that use Vault and are Ready: %d of %d", ready, len(stores)))
	case len(stores)+len(ignored)+len(c.ESO.Stores) == 0:
		c.ok("no store uses Vault: there is nothing to resync")
	}
}

// checkController looks for the pods that would be evicted.
func (c *Checker) checkController(ctx context.Context) {
	namespace := c.ESO.ControllerNamespace
	var pods []string
	list, is, by := c.ESO.ControllerPods()
	err := c.each(ctx, c.api.Resource(kube.Pods).Namespace(namespace), list, func(o *unstructured.Unstructured) {
		if is(o.GetName()) {
			pods = append(pods, o.GetName())
		}
	})
	switch {
	case err != nil:
		c.notVisible("the pods in "+namespace, "eviction", err)
	case len(pods) == 0:
		c.warn(fmt.Sprintf("no pod in %s %s: the controller is not there", namespace, by),
			"start it, or name its namespace with --eso-namespace, its Deployment with --eso-deployment")
	// Only the pod itself is bound by the policy.
	case !c.outside && c.uses("eviction") && kube.ByPolicy(c.trial().TryEviction(ctx, pods[0])):
		c.warn(fmt.Sprintf("the policy refuses the eviction of %s: the controller is not restarted when a resync does not help", pods[0]),
			c.evictable(pods[0]).Apply(kube.GrantsEviction)+"; or set ESO_RECOVERY=nudge")
	default:
		c.ok(fmt.Sprintf("pods of its controller in %s: %d", namespace, len(pods)))
	}
}

// evictable are the names of the rights with the Deployment of a pod, which is called
// DEPLOYMENT-HASH-SUFFIX.
func (c *Checker) evictable(pod string) kube.Rights {
	names := c.names()
	parts := strings.Split(pod, "-")
	names.ESODeployment = strings.Join(parts[:max(0, len(parts)-2)], "-")
	return names
}

// checkSynced counts the ExternalSecrets that are not synced, of those that use the stores.
func (c *Checker) checkSynced(ctx context.Context, stores []eso.Store) {
	used := map[eso.StoreName]bool{eso.NoStore: true}
	for _, s := range stores {
		used[s.StoreName] = true
	}
	is := func(name eso.StoreName) bool { return used[name] }
	total, failed := 0, 0
	var one string
	err := c.each(ctx, c.api.Resource(eso.ExternalSecrets), metav1.ListOptions{}, func(o *unstructured.Unstructured) {
		if !eso.Uses(o, is) {
			return
		}
		total++
		if eso.FailedSync(o) {
			if failed++; failed == 1 {
				one = fmt.Sprintf("%s/%s (%s)", o.GetNamespace(), o.GetName(), quote(eso.ReadyOf(o).Message))
			}
		}
	})
	switch {
	case err != nil:
		c.notVisible("the ExternalSecrets", "externalsecrets", err)
	case failed > 0:
		c.warn(fmt.Sprintf("%d of %d ExternalSecrets are not synced, one is %s", failed, total, one),
			"kubectl get externalsecrets -A lists them; fix what their conditions report")
	default:
		c.ok(fmt.Sprintf("ExternalSecrets that failed to sync: none of %d", total))
	}
}

// maxTheirWords bounds what is repeated of ESO's own words, in characters.
const maxTheirWords = 200

// quote keeps what another program says short and on one line.
func quote(s string) string { return safetext.Line(s, maxTheirWords) }
