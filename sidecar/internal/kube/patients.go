package kube

import (
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

func (n *nurse) follower(kind string, api dynamic.ResourceInterface, send func(func())) *follower {
	return &follower{
		api:     api,
		missing: rarely,
		all: func(found []unstructured.Unstructured) {
			var all []store
			for i := range found {
				all = append(all, storeOf(&found[i]))
			}
			send(func() { n.sawAll(kind, all) })
		},
		one: func(o *unstructured.Unstructured, gone bool) {
			s := storeOf(o)
			send(func() { n.saw(s, gone) })
		},
		failed: func(err error) { send(func() { n.cannotWatch(kind, err) }) },
	}
}

func (n *nurse) cannotWatch(kind string, err error) {
	w := n.watching[kind]
	if err == nil {
		w.trouble(n.log, "watching "+kind+"s", grantsStores, nil)
		w.absent = false
		return
	}
	w.answered = w.answered || missing(err)
	if !apierrors.IsNotFound(err) {
		w.trouble(n.log, "watching "+kind+"s", grantsStores, err)
		if apierrors.IsForbidden(err) {
			n.tell(unknown, "Forbidden", "The stores of External Secrets cannot be seen: apply "+grantsStores+".")
		}
		return
	}
	if !n.watching[kindClusterStore].absent && !n.watching[kindStore].absent {
		n.log.Warn(msgNoESO, keyWhat, kind+"s of "+esoGroup+"/v1",
			keyAdvice, "ESO 0.16 or later serves that; with none to come, set --eso-recovery off")
		n.tell(unknown, "NotFound", "External Secrets Operator, 0.16 or later, with the API external-secrets.io/v1, is not installed.")
	}
	w.absent = true
}

// cares tells whether a store is one that we look after.
func (n *nurse) cares(s store) bool {
	if len(n.config.Stores) == 0 {
		return s.vault
	}
	return n.named(s.StoreName)
}

func (n *nurse) named(name StoreName) bool {
	for _, s := range n.config.Stores {
		if s == name {
			return true
		}
	}
	return false
}

// sawAll takes a whole kind of stores; those that are not among them are gone.
func (n *nurse) sawAll(kind string, all []store) {
	n.watching[kind].answered = true
	there := map[StoreName]bool{}
	for _, s := range all {
		there[s.StoreName] = true
		n.saw(s, false)
	}
	for name := range n.patients {
		if name.kind() == kind && !there[name] {
			delete(n.patients, name)
		}
	}
	for _, name := range n.config.Stores {
		if name.kind() == kind && !there[name] {
			n.log.Warn(msgUnknownName, keyStore, name.String())
		}
	}
}

func (n *nurse) saw(s store, gone bool) {
	p := n.patients[s.StoreName]
	if gone || !n.cares(s) {
		delete(n.patients, s.StoreName)
		return
	}
	if p == nil || p.uid != s.uid {
		p = &patient{}
		n.patients[s.StoreName] = p
	}
	recovered := s.ready() && !p.ready()
	p.store = s
	if !recovered {
		return
	}
	if !p.downSince.IsZero() {
		n.log.Info(msgStoreUp, keyStore, s.String(), keyTook, short(time.Since(p.downSince)))
	}
	*p = patient{store: s}
	n.sweepDue = true
}
