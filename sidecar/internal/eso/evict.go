package eso

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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

// podOf is what a Deployment puts after its name to call its pods
// (k8s.io/apimachinery/pkg/util/rand, alphanums).
var podOf = regexp.MustCompile(`^-[bcdfghjklmnpqrstvwxz2456789]{1,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$`)

// ControllerPods returns how the pods of ESO's controller are listed, which of them are its, and
// what they are looked for by.
func (c Config) ControllerPods() (list metav1.ListOptions, is func(name string) bool, by string) {
	if c.Deployment == "" {
		return metav1.ListOptions{LabelSelector: ControllerLabel}, func(string) bool { return true }, "has the label " + ControllerLabel
	}
	return metav1.ListOptions{}, func(name string) bool {
		rest, ours := strings.CutPrefix(name, c.Deployment)
		return ours && podOf.MatchString(rest)
	}, "is of the Deployment " + c.Deployment
}

// maybeEvict evicts ESO's controller because of a store, unless that would not help.
func (n *Controller) maybeEvict(ctx context.Context, p *storeState) {
	if n.evicting || n.hasWorked(n.sparedFor) || time.Now().Before(n.nextEviction) {
		return
	}
	n.evicting = true
	defer func() { n.evicting = false }()
	down := p.downSince
	ours := n.isOurs
	var err error
	if ours == nil || time.Since(n.isOursAt) >= time.Minute { // broken stores of others ask often
		n.unlocked(func() { ours, err = n.isOurVault(ctx) })
		n.isOurs, n.isOursAt = ours, time.Now()
	}
	if !n.isDown(p, down) {
		return
	}
	if err != nil {
		n.postponeEviction(err)
		return
	}
	if !ours(p.Store) {
		if !p.otherVaultLogged {
			p.otherVaultLogged = true
			n.log.Warn(msgForeign, keyStore, p.String(), keyAdvice, "name it in --eso-stores if it is this one's")
		}
		return
	}
	works, err := n.workingStore(ctx, p, ours)
	if err != nil {
		n.log.Debug(msgNotEvicted, keyStore, p.String(), keyError, kube.SafeError(err))
		n.waitForEviction() // it is asked again
		return
	}
	if works != (StoreName{}) {
		if n.sparedFor == (StoreName{}) {
			n.log.Warn(msgSpared, keyStore, p.String(), keyReady, works.String())
		}
		n.sparedFor = works
		return
	}
	if !n.isDown(p, down) {
		return
	}
	var evicted []string
	n.unlocked(func() { evicted, err = n.evict(ctx) })
	if err != nil {
		n.postponeEviction(err)
	} else {
		n.evictionErrors.Log(n.log, whatEviction, kube.GrantsEviction, nil)
	}
	if len(evicted) == 0 {
		return
	}
	n.saveEviction(Eviction{At: time.Now().UTC()})
	n.evicted, p.evictedPods = true, strings.Join(evicted, ", ")
	for _, name := range evicted {
		n.log.Evicted()
		n.log.Warn(msgEvicted, keyPod, name, keyStore, p.String())
	}
}

// isOurVault returns what reports whether a store's Vault is the one beside us. The
// Vault of a store named in the options is.
func (n *Controller) isOurVault(ctx context.Context) (func(Store) bool, error) {
	var names []string
	if len(n.config.Stores) == 0 && n.config.Namespace != "" {
		var err error
		if names, err = n.vaultHosts(ctx); err != nil {
			return nil, err
		}
	}
	return func(s Store) bool {
		u, err := url.Parse(s.Server)
		return slices.Contains(n.config.Stores, s.StoreName) ||
			err == nil && slices.Contains(names, canonicalHost(u.Hostname()))
	}, nil
}

// vaultHosts returns the names and the addresses by which our pod is reached
// through the Services that select it.
func (n *Controller) vaultHosts(ctx context.Context) ([]string, error) {
	within, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	self, err := n.api.Resource(kube.Pods).Namespace(n.config.Namespace).Get(within, n.config.Pod, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading our own pod: %w", err)
	}
	var names []string
	room := maxNames
	services := n.api.Resource(kube.Services).Namespace(n.config.Namespace)
	_, err = kube.EachObject(ctx, services, metav1.ListOptions{}, func(o *unstructured.Unstructured) bool {
		for _, name := range ServiceHosts(o, self, n.config.ControllerNamespace) {
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

// ServiceHosts returns the names and the addresses of one Service, as a pod in that
// namespace finds it; none when it does not select ours.
func ServiceHosts(service, pod *unstructured.Unstructured, from string) []string {
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
	names := []string{domain, domain + ".svc", pod.GetName() + "." + domain, pod.GetName() + "." + domain + ".svc"}
	if service.GetNamespace() == from {
		names = append(names, service.GetName(), pod.GetName()+"."+service.GetName())
	}
	for _, field := range []string{"clusterIPs", "externalIPs"} {
		addresses, _, _ := unstructured.NestedStringSlice(service.Object, "spec", field)
		names = append(names, addresses...)
	}
	balancers, _, _ := unstructured.NestedSlice(service.Object, "status", "loadBalancer", "ingress")
	for _, balancer := range balancers {
		balancer, _ := balancer.(map[string]any)
		for _, field := range []string{"ip", "hostname"} {
			name, _, _ := unstructured.NestedString(balancer, field)
			names = append(names, name)
		}
	}
	for i := range names {
		names[i] = canonicalHost(names[i])
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" || name == "none" }) // no cluster address
}

// evict asks for the eviction of ESO's controller pods, and returns the names
// of those for which it was not refused, with an error as well. One that was not
// answered may have been done. To patch the Deployment instead would take the right to
// run anything as ESO.
func (n *Controller) evict(ctx context.Context) ([]string, error) {
	api := n.api.Resource(kube.Pods).Namespace(n.config.ControllerNamespace)
	var found []string
	list, is, by := n.config.ControllerPods()
	_, err := kube.EachObject(ctx, api, list, func(o *unstructured.Unstructured) bool {
		if o.GetDeletionTimestamp() == nil && is(o.GetName()) {
			found = append(found, o.GetName())
		}
		return len(found) < maxControllers
	})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of external-secrets: %w", err)
	}
	if len(found) == 0 {
		return nil, errors.New("no pod in " + n.config.ControllerNamespace + " " + by)
	}
	var evicted []string
	for _, name := range found {
		within, cancel := kube.WithRequestTimeout(ctx)
		_, err := api.Create(within, EvictionOf(name, n.config.ControllerNamespace), metav1.CreateOptions{FieldManager: kube.Name}, "eviction")
		cancel()
		if err != nil && apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
			return evicted, refusal(name, err)
		}
		evicted = append(evicted, name)
	}
	return evicted, nil
}

// refusal adds to why an eviction was refused what to do about it, where no right is missing.
func refusal(pod string, err error) error {
	if apierrors.IsTooManyRequests(err) && strings.Contains(err.Error(), "disruption budget") { // (pkg/registry/core/pod, createTooManyRequestsError)
		return fmt.Errorf("evicting %s: %w Give the controller a second replica, or take away its PodDisruptionBudget", pod, err)
	}
	return fmt.Errorf("evicting %s: %w", pod, err)
}

func EvictionOf(pod, namespace string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]any{"name": pod, "namespace": namespace},
	}}
}
