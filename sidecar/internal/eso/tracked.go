package eso

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Tenants make stores, and each that is followed takes memory. So many of a kind
// and in a namespace are.
const (
	maxStores   = 1000
	maxStoresIn = 100
)

// StoreLimit counts the stores of a kind, by their namespaces.
type StoreLimit map[string]int

// Admit counts one more, unless there is no room for it.
func (c StoreLimit) Admit(namespace string) bool {
	const all = "/" // no namespace is called so
	if c[all] >= maxStores || namespace != "" && c[namespace] >= maxStoresIn {
		return false
	}
	c[all]++
	c[namespace]++
	return true
}

func (n *Controller) reflector(ctx context.Context, kind string, api dynamic.ResourceInterface) *kube.Reflector {
	return &kube.Reflector{
		API:          api,
		MissingRetry: kube.MissingKindRetry,
		List:         func(ctx context.Context) (string, error) { return n.listStores(ctx, kind, api) },
		Update: func(o *unstructured.Unstructured, gone bool) {
			n.handle(func() { n.updateStore(StoreOf(o), gone) })
		},
		OnError: func(err error) {
			older := apierrors.IsNotFound(err) && n.olderAPI(ctx)
			n.handle(func() { n.handleWatchResult(kind, err, older) })
		},
	}
}

// listStores takes a whole kind of stores; those that are not among them are gone.
func (n *Controller) listStores(ctx context.Context, kind string, api dynamic.ResourceInterface) (version string, err error) {
	there := map[StoreName]bool{} // that are tracked
	version, err = kube.EachObject(ctx, api, metav1.ListOptions{}, func(o *unstructured.Unstructured) bool {
		s := StoreOf(o)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.syncPhase()
		if n.updateStore(s, false) {
			there[s.StoreName] = true
		}
		return true
	})
	if err != nil {
		return "", err
	}
	n.handle(func() {
		for name := range n.tracked {
			if name.kind() == kind && !there[name] {
				delete(n.tracked, name)
			}
		}
		for _, name := range n.config.Stores {
			if name.kind() == kind && !there[name] {
				n.log.Warn(msgUnknownName, keyStore, name.String())
			}
		}
	})
	return version, nil
}

// handleWatchResult takes whether a kind of stores is seen.
func (n *Controller) handleWatchResult(kind string, err error, olderAPI bool) {
	w, unseen := n.watching[kind], n.watching[kind].refusal != nil
	if err == nil || kube.IsForbiddenOrNotFound(err) {
		w.answered, w.refusal = true, err
	}
	if !apierrors.IsNotFound(err) {
		w.Log(n.log, "watching "+kind+"s", kube.GrantsStores, err)
	}
	if err == nil && unseen { // what was logged of them is outdated
		n.requestResync("")
		n.noESO = ""
	}
	absent := apierrors.IsNotFound(n.watching[kindClusterStore].refusal) && apierrors.IsNotFound(n.watching[kindStore].refusal)
	if absent && n.noESO == "" {
		n.noESO = "the Kubernetes API serves neither ClusterSecretStores nor SecretStores of " + kube.ESOGroup + "/v1"
		if olderAPI {
			n.noESO += ", only of v1beta1: ESO is older than 0.16"
		}
		n.log.Warn(msgNoESO, keyReason, n.noESO, keyAdvice, "install ESO 0.16 or later; with none to come, set --eso-recovery off")
	}
}

// olderAPI reports whether ESO is there, but too old.
func (n *Controller) olderAPI(ctx context.Context) bool {
	ctx, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	older := ClusterStores
	older.Version = "v1beta1"
	_, err := n.api.Resource(older).List(ctx, metav1.ListOptions{Limit: 1})
	return err == nil
}

// hasRoom reports whether one more store can be followed. For those that were named
// there always is.
func (n *Controller) hasRoom(name StoreName) bool {
	if len(n.config.Stores) > 0 {
		return true
	}
	there := StoreLimit{}
	for other := range n.tracked {
		if other.kind() == name.kind() {
			there.Admit(other.Namespace)
		}
	}
	return there.Admit(name.Namespace)
}

// updateStore takes a store that is there, or gone, and reports whether it is tracked.
func (n *Controller) updateStore(s Store, gone bool) (tracked bool) {
	p := n.tracked[s.StoreName]
	if !gone && n.config.Ignores(s) && !n.ignoredLogged[s.StoreName] && n.ignoredCount.Admit(s.Namespace) {
		n.ignoredLogged[s.StoreName] = true
		n.log.Info(msgElsewhere, keyStore, s.String(), keyAdvice, AdviceElsewhere)
	}
	if gone || !n.config.Manages(s) {
		delete(n.tracked, s.StoreName)
		return false
	}
	if p == nil && !n.hasRoom(s.StoreName) {
		if !n.limitLogged {
			n.limitLogged = true
			n.log.Warn(msgTooMany, keyStore, s.String(), keyAdvice, "name those to manage in --eso-stores")
		}
		return false
	}
	if p == nil || p.uid != s.uid {
		p = &storeState{}
		n.tracked[s.StoreName] = p
	}
	recovered, fails := s.Ready() && !p.Ready(), s.Down() && p.Ready()
	p.readyAfterOutage = p.readyAfterOutage || fails && n.outageIsOver()
	p.Store = s
	if !recovered {
		if s.Down() && n.phase == unseal.Active {
			n.queue.Add(s.StoreName)
		}
		return true
	}
	works := p.workedInOutage
	if !p.downSince.IsZero() {
		works = n.outageID
		took := time.Since(p.downSince)
		n.log.Log(n.changeLevel(s.StoreName), msgStoreUp, keyStore, s.String(), keyTook, kube.Short(took))
		if p.failureReported == "" { // else it took a person
			n.log.Reached(kube.StepStore, took)
			n.slowestStore = max(n.slowestStore, took)
		}
	}
	*p = storeState{Store: s, due: true, workedInOutage: works, resyncErrors: p.resyncErrors}
	n.requestResync(s.requester())
	return true
}
