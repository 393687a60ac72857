package eso

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// maxControllers bounds how many pods of ESO's controller are evicted.
const maxControllers = 100

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
			n.log.Warn(msgForeign, keyStore, p.String(), keyAdvice,
				"name it in --eso-stores if it is this one's; the host of an Ingress or an HTTPRoute is known with the component routes")
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
