package kube

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
)

// Tenants make stores, and each that is followed takes memory. So many of a kind
// and in a namespace are.
const (
	maxStores   = 1000
	maxStoresIn = 100
)

// crowd counts the stores of a kind, by their namespaces.
type crowd map[string]int

// takes counts one more, unless there is no room for it.
func (c crowd) takes(namespace string) bool {
	const all = "/" // no namespace is called so
	if c[all] >= maxStores || namespace != "" && c[namespace] >= maxStoresIn {
		return false
	}
	c[all]++
	c[namespace]++
	return true
}

func (n *controller) reflector(ctx context.Context, kind string, api dynamic.ResourceInterface,
	send func(func())) *reflector[store] {
	var left *StoreName // out of the newest list
	return &reflector[store]{
		api:     api,
		missing: rarely,
		read:    storeOf,
		wanted: func() func(store) bool {
			ours, others := crowd{}, crowd{}
			left = nil
			return func(s store) bool {
				if !n.config.manages(s) {
					return n.config.ignores(s) && others.takes(s.Namespace)
				}
				room := len(n.config.Stores) > 0 || ours.takes(s.Namespace)
				if !room && left == nil {
					left = &s.StoreName
				}
				return room
			}
		},
		all: func(all []store) {
			first := left
			send(func() {
				n.sawAll(kind, all)
				if first != nil {
					n.tooMany(*first)
				}
			})
		},
		one: func(s store, gone bool) { send(func() { n.saw(s, gone) }) },
		failed: func(err error) {
			older := apierrors.IsNotFound(err) && n.olderAPI(ctx)
			send(func() { n.couldWatch(kind, err, older) })
		},
	}
}

// couldWatch takes whether a kind of stores is seen.
func (n *controller) couldWatch(kind string, err error, olderAPI bool) {
	w, unseen := n.watching[kind], n.watching[kind].unseen()
	if err == nil || missing(err) {
		w.answered, w.absent, w.forbidden = true, apierrors.IsNotFound(err), apierrors.IsForbidden(err)
	}
	if !apierrors.IsNotFound(err) {
		w.logError(n.log, "watching "+kind+"s", grantsStores, err)
	}
	if err == nil && unseen { // what is told of them is not true any more
		n.sweepDue, n.noESO = true, ""
	}
	if n.watching[kindClusterStore].absent && n.watching[kindStore].absent && n.noESO == "" {
		n.noESO = "the Kubernetes API serves neither ClusterSecretStores nor SecretStores of " + esoGroup + "/v1"
		if olderAPI {
			n.noESO += ", only of v1beta1: ESO is older than 0.16"
		}
		n.log.Warn(msgNoESO, keyReason, n.noESO, keyAdvice, "install ESO 0.16 or later; with none to come, set --eso-recovery off")
	}
}

// olderAPI tells whether ESO is there, but too old.
func (n *controller) olderAPI(ctx context.Context) bool {
	ctx, cancel := withRequestTimeout(ctx)
	defer cancel()
	older := clusterStores
	older.Version = "v1beta1"
	_, err := n.api.Resource(older).List(ctx, metav1.ListOptions{Limit: 1})
	return err == nil
}

// sawAll takes a whole kind of stores; those that are not among them are gone.
func (n *controller) sawAll(kind string, all []store) {
	n.watching[kind].answered = true
	there := map[StoreName]bool{}
	for _, s := range all {
		there[s.StoreName] = true
		n.saw(s, false)
	}
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
}

// tooMany says once that a store is not followed for want of room.
func (n *controller) tooMany(name StoreName) {
	if !n.crowded {
		n.crowded = true
		n.log.Warn(msgTooMany, keyStore, name.String(),
			keyAdvice, "name those that are to be looked after in --eso-stores")
	}
}

// hasRoom tells whether one more store can be followed. For those that were named
// there always is.
func (n *controller) hasRoom(name StoreName) bool {
	if len(n.config.Stores) > 0 {
		return true
	}
	there := crowd{}
	for other := range n.tracked {
		if other.kind() == name.kind() {
			there.takes(other.Namespace)
		}
	}
	return there.takes(name.Namespace)
}

func (n *controller) saw(s store, gone bool) {
	p := n.tracked[s.StoreName]
	if !gone && n.config.ignores(s) && !n.leftAlone[s.StoreName] && len(n.leftAlone) < maxStores {
		n.leftAlone[s.StoreName] = true
		n.log.Info(msgElsewhere, keyStore, s.String(), keyAdvice, adviceElsewhere)
	}
	if gone || !n.config.manages(s) {
		delete(n.tracked, s.StoreName)
		return
	}
	if p == nil && !n.hasRoom(s.StoreName) {
		n.tooMany(s.StoreName)
		return
	}
	if p == nil || p.uid != s.uid {
		p = &storeState{}
		n.tracked[s.StoreName] = p
	}
	recovered := s.ready() && !p.ready()
	p.store = s
	if !recovered {
		return
	}
	works := p.works
	if !p.downSince.IsZero() {
		works = n.epoch
		took := time.Since(p.downSince)
		n.log.Info(msgStoreUp, keyStore, s.String(), keyTook, short(took))
		if p.failureReported == "" { // else it took a person
			n.log.Reached(stepStore, took)
			n.slowest = max(n.slowest, took)
		}
	}
	*p = storeState{store: s, works: works}
	n.sweepDue = true
}
