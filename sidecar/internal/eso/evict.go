package eso

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

const (
	// maxNames bounds what is remembered of the Services beside us, in bytes.
	maxNames = 1 << 20
	// maxControllers bounds how many pods of ESO's controller are evicted.
	maxControllers = 100
)

// ControllerLabel is on ESO's controller pods and on neither its webhook's
// nor its cert-controller's (ESO, deploy/charts/external-secrets).
const ControllerLabel = "app.kubernetes.io/name=external-secrets"

// evictor restarts ESO's controller by evicting its pods. To patch its
// Deployment would take the right to run anything as ESO.
type evictor struct {
	api    dynamic.Interface
	config Config
}

// isOurVault returns what reports whether a store's Vault is the one beside us. The
// Vault of a store named in the options is.
func (e *evictor) isOurVault(ctx context.Context) (func(Store) bool, error) {
	if len(e.config.Stores) > 0 {
		return func(s Store) bool { return slices.Contains(e.config.Stores, s.StoreName) }, nil
	}
	if e.config.Namespace == "" {
		return func(Store) bool { return false }, nil
	}
	names, err := e.vaultHosts(ctx)
	if err != nil {
		return nil, err
	}
	return func(s Store) bool {
		u, err := url.Parse(s.Server)
		return err == nil && slices.Contains(names, strings.TrimSuffix(strings.ToLower(u.Hostname()), "."))
	}, nil
}

// vaultHosts returns the names and the addresses by which our pod is reached
// through the Services that select it.
func (e *evictor) vaultHosts(ctx context.Context) ([]string, error) {
	within, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	self, err := e.api.Resource(kube.Pods).Namespace(e.config.Namespace).Get(within, e.config.Pod, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading our own pod: %w", err)
	}
	var names []string
	room := maxNames
	_, err = kube.EachObject(ctx, e.api.Resource(kube.Services).Namespace(e.config.Namespace), metav1.ListOptions{}, func(o *unstructured.Unstructured) bool {
		for _, name := range ServiceHosts(o, self) {
			if room -= len(name) + kube.EntryCost; room < 0 {
				return false
			}
			names = append(names, name)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("listing the Services beside us: %w", err)
	}
	return names, nil
}

// ServiceHosts returns those of one Service; none when it does not select the pod.
func ServiceHosts(service, pod *unstructured.Unstructured) []string {
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	labels := pod.GetLabels()
	for key, value := range selector {
		if labels[key] != value {
			return nil
		}
	}
	if len(selector) == 0 {
		return nil
	}
	domain := service.GetName() + "." + service.GetNamespace()
	addresses, _, _ := unstructured.NestedStringSlice(service.Object, "spec", "clusterIPs")
	names := []string{service.GetName(), domain, domain + ".svc", domain + ".svc.cluster.local"}
	names = append(names, pod.GetName()+"."+domain+".svc", pod.GetName()+"."+domain+".svc.cluster.local", pod.GetName()+"."+domain)
	return append(names, slices.DeleteFunc(addresses, func(a string) bool { return a == "None" })...)
}

// evict asks for the eviction of ESO's controller pods, and returns the names
// of those for which it was not refused, with an error as well. One that was not
// answered may have been done.
func (e *evictor) evict(ctx context.Context) ([]string, error) {
	api := e.api.Resource(kube.Pods).Namespace(e.config.ControllerNamespace)
	var found []string
	_, err := kube.EachObject(ctx, api, metav1.ListOptions{LabelSelector: ControllerLabel}, func(o *unstructured.Unstructured) bool {
		if o.GetDeletionTimestamp() == nil {
			found = append(found, o.GetName())
		}
		return len(found) < maxControllers
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of external-secrets: %w", err)
	}
	if len(found) == 0 {
		return nil, errors.New("no pod in " + e.config.ControllerNamespace + " has the label " + ControllerLabel)
	}
	var evicted []string
	for _, name := range found {
		within, cancel := kube.WithRequestTimeout(ctx)
		_, err := api.Create(within, EvictionOf(name, e.config.ControllerNamespace), metav1.CreateOptions{FieldManager: kube.Name}, "eviction")
		cancel()
		if err != nil && apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
			return evicted, fmt.Errorf("evicting %s: %w", name, err)
		}
		evicted = append(evicted, name)
	}
	return evicted, nil
}

func EvictionOf(pod, namespace string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]any{"name": pod, "namespace": namespace},
	}}
}

// Eviction is what a restart of the sidecar alone must not lose: ESO's controller was
// evicted in the outage that goes on, and a second time would help no more.
type Eviction struct {
	At time.Time `json:"at,omitzero"` // zero: it was not
}

// Memory keeps an Eviction. Losing it costs one eviction more.
type Memory interface {
	Load(into any) error
	Save(of any) error
}

// loadEviction takes over what an earlier run of ours did.
func (n *Controller) loadEviction() {
	if n.config.Memory == nil {
		return
	}
	if err := n.config.Memory.Load(&n.saved); err != nil {
		n.log.Debug(msgMemoryFails, keyError, err)
	}
	n.evicted = !n.saved.At.IsZero()
}

// saveEviction keeps when the controller was evicted; the zero time once the outage
// is over, which may be long before Vault is away again.
func (n *Controller) saveEviction(at time.Time) {
	if n.config.Memory == nil || n.saved.At.Equal(at) {
		return
	}
	n.saved.At = at
	if err := n.config.Memory.Save(n.saved); err != nil {
		n.log.Debug(msgMemoryFails, keyError, err)
	}
}
