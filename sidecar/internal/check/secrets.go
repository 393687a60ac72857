package check

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// secretsFinding is one about External Secrets.
func secretsFinding(level Level, text, advice string) Finding {
	return Finding{About: AboutSecrets, Level: level, Text: text, Advice: advice}
}

// checkSecrets looks whether External Secrets is there, well, and one whose
// objects can be resynced.
func (c *Checker) checkSecrets(ctx context.Context, home Scope) []Finding {
	switch {
	case home.KubernetesOff:
		return []Finding{secretsFinding(OK, "is not managed: --kubernetes is off", "")}
	case !home.WatchesStores:
		return []Finding{secretsFinding(OK, "is not managed: --eso-recovery is off", "")}
	}
	stores, alone, err := c.stores(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return []Finding{c.noStores(ctx)}
	case err != nil:
		return []Finding{c.notVisible(AboutSecrets, "the stores", kube.GrantsStores, err), c.checkController(ctx, home)}
	}
	out := append(c.evaluateStores(stores, alone), c.checkController(ctx, home))
	return append(out, c.checkSynced(ctx, home, stores))
}

// stores returns those that are managed, and those that are ignored. It
// fails as not found when neither kind is served.
func (c *Checker) stores(ctx context.Context) (found, alone []eso.Store, err error) {
	var absent []error
	for _, kind := range []schema.GroupVersionResource{eso.ClusterStores, eso.NamespaceStores} {
		ours, others := eso.StoreLimit{}, eso.StoreLimit{} // the rest is not followed either
		err := c.each(ctx, c.api.Resource(kind), metav1.ListOptions{}, func(o *unstructured.Unstructured) {
			switch s := eso.StoreOf(o); {
			case c.manages(s) && ours.Admit(s.Namespace):
				found = append(found, s)
			case c.config.ESO.Ignores(s) && others.Admit(s.Namespace):
				alone = append(alone, s)
			}
		})
		if apierrors.IsNotFound(err) {
			absent = append(absent, err)
		} else if err != nil {
			return nil, nil, err
		}
	}
	if len(absent) == 2 {
		return nil, nil, absent[0]
	}
	return found, alone, nil
}

func (c *Checker) manages(s eso.Store) bool { return c.config.ESO.Manages(s) }

// noStores reports why no store is served.
func (c *Checker) noStores(ctx context.Context) Finding {
	older := eso.ClusterStores
	older.Version = "v1beta1"
	err := c.each(ctx, c.api.Resource(older), metav1.ListOptions{}, func(*unstructured.Unstructured) {})
	if err == nil {
		return secretsFinding(Warning, "the Kubernetes API serves its kinds only as v1beta1: it is older than 0.16, and nothing is resynced",
			"install External Secrets 0.16 or later")
	}
	return secretsFinding(Warning, "it is not installed: the Kubernetes API serves no stores of "+kube.ESOGroup+"/v1",
		"install External Secrets 0.16 or later; with none to come, set --eso-recovery off")
}

func (c *Checker) evaluateStores(stores, alone []eso.Store) []Finding {
	var out []Finding
	for _, s := range alone {
		out = append(out, secretsFinding(Unknown, s.String()+" is ignored: its server is a Service of another namespace", eso.AdviceElsewhere))
	}
	ready := 0
	for _, s := range stores {
		switch {
		case s.Ready():
			ready++
		case s.Status == "":
			out = append(out, secretsFinding(Unknown, s.String()+" has not been validated by External Secrets yet", ""))
		default:
			out = append(out, secretsFinding(Failure, fmt.Sprintf("%s is not Ready: %s: %s", s, s.Reason, quote(s.Message)),
				"fix what it reports; what uses it is not synced until it is Ready"))
		}
	}
	for _, name := range c.config.ESO.Stores {
		if !slices.ContainsFunc(stores, func(s eso.Store) bool { return s.StoreName == name }) {
			out = append(out, secretsFinding(Failure, name.String()+" does not exist", "correct --eso-stores"))
		}
	}
	switch {
	case len(stores) == 0 && len(out) == 0:
		out = append(out, secretsFinding(OK, "no store uses Vault: there is nothing to resync", ""))
	case ready > 0:
		out = append(out, secretsFinding(OK, fmt.Sprintf("stores that use Vault and are Ready: %d of %d", ready, len(stores)), ""))
	}
	return out
}

// checkController looks for the pods that would be evicted.
func (c *Checker) checkController(ctx context.Context, home Scope) Finding {
	var there []string
	err := c.each(ctx, c.api.Resource(kube.Pods).Namespace(c.config.ESO.ControllerNamespace), metav1.ListOptions{LabelSelector: eso.ControllerLabel},
		func(o *unstructured.Unstructured) { there = append(there, o.GetName()) })
	switch {
	case err != nil:
		return c.notVisible(AboutSecrets, "the pods in "+c.config.ESO.ControllerNamespace, grantHint(home.Evicts, kube.GrantsEviction), err)
	case len(there) == 0:
		return secretsFinding(Warning, fmt.Sprintf("no pod in %s has the label %s: the controller is not there", c.config.ESO.ControllerNamespace, eso.ControllerLabel),
			"start it, or name its namespace with --eso-namespace")
	}
	// Only the pod itself is bound by the policy.
	if !c.outside && home.Evicts && kube.ByPolicy(policy.NewTrial(c.api, c.config.policies()).TryEviction(ctx, there[0])) {
		return secretsFinding(Warning, fmt.Sprintf("the policy refuses the eviction of %s: the controller is not restarted when a resync does not help", there[0]),
			"put the name of its Deployment into manifests/eviction/policy.yaml, or set --eso-recovery nudge")
	}
	return secretsFinding(OK, fmt.Sprintf("pods of its controller in %s: %d", c.config.ESO.ControllerNamespace, len(there)), "")
}

// checkSynced counts the ExternalSecrets that are not synced, of those that use
// the stores.
func (c *Checker) checkSynced(ctx context.Context, home Scope, stores []eso.Store) Finding {
	is := func(name eso.StoreName) bool {
		return slices.ContainsFunc(stores, func(s eso.Store) bool { return s.StoreName == name })
	}
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
		return c.notVisible(AboutSecrets, "the ExternalSecrets", grantHint(home.Resyncs, kube.GrantsSecrets), err)
	case failed > 0:
		return secretsFinding(Warning, fmt.Sprintf("%d of %d ExternalSecrets are not synced, one is %s", failed, total, one),
			"kubectl get externalsecrets -A lists them; fix what their conditions report")
	}
	return secretsFinding(OK, fmt.Sprintf("ExternalSecrets that failed to sync: none of %d", total), "")
}

// maxTheirWords bounds what is repeated of ESO's own words, in characters.
const maxTheirWords = 200

// quote keeps what another program says short and on one line.
func quote(s string) string { return safetext.Line(s, maxTheirWords) }
