// Package kube tells Kubernetes how Vault is, and wakes External Secrets
// Operator (ESO) when Vault is back: a condition and Events on our own pod,
// and an annotation on what ESO failed to sync. It is the only user of
// client-go, and of that only the dynamic client: typed clients, informers
// and event recorders would double the binary and the memory.
//
// Everything here is tried again, and nothing of it is in Vault's way: the
// core publishes its state and does not wait. It must not know Vault's API,
// nor anything of a key.
package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Config says who we are and what is to be done. The zero value of a field
// switches off what needs it, Log excepted.
type Config struct {
	Kubeconfig string // path; empty: the pod's own service account
	Pod        string // our pod's name
	Namespace  string // our pod's namespace
	Gate       string // condition type of the readiness gate
	Version    string // for the User-Agent

	Recovery     Recovery
	Stores       []StoreName // empty: all that may use the Vault beside us
	ESONamespace string      // where ESO's pods are
	Log          hclog.Logger
	Meter        Meter        // may be nil
	Report       func(Report) // is called with every news, from any goroutine; must not block; may be nil

	// Of a check alone.
	PlainHTTP bool    // the key goes to Vault over plain HTTP
	VaultUID  *uint32 // whose processes get the key; nil: whoever listens
}

// Kube does what Config says, from the newest published state.
type Kube struct {
	config      Config
	pod         *pod        // nil without a pod's name
	events      *recorder   // nil without a pod's name
	controller  *controller // nil with RecoveryOff
	restriction *restriction
	phase       atomic.Uint32
	epochs      atomic.Int64 // how often Vault became active

	reporting sync.Mutex
	report    Report
}

// New returns a Kube that has not connected yet. It fails when there are no
// credentials, or they cannot be read.
func New(c Config) (*Kube, error) {
	api, err := open(c, bound)
	if err != nil {
		return nil, err
	}
	k := &Kube{config: c}
	if c.Pod != "" && c.Namespace != "" {
		k.pod = newPod(c, api)
		k.pod.sawImage = func(id string) { k.tell(func(r *Report) { r.Image = id }) }
		k.events = newRecorder(c, api, k.pod)
	}
	k.restriction = newRestriction(c, api, k.pod)
	if c.Recovery != RecoveryOff {
		k.controller = newController(c, api, k)
	}
	return k, nil
}

// open returns a client that has not connected yet.
func open(c Config, bound transport.WrapperFunc) (dynamic.Interface, error) {
	silence(c.Log)
	connection, err := connect(c)
	if err != nil {
		return nil, fmt.Errorf("preparing to speak to the Kubernetes API: %w", err)
	}
	connection.Wrap(bound)
	api, err := dynamic.NewForConfig(connection)
	if err != nil {
		return nil, fmt.Errorf("preparing to speak to the Kubernetes API: %w", err)
	}
	return api, nil
}

func connect(c Config) (*rest.Config, error) {
	var connection *rest.Config
	var err error
	if c.Kubeconfig == "" {
		if connection, err = rest.InClusterConfig(); err == nil {
			connection.Proxy = noProxy
		}
	} else {
		connection, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	}
	if err != nil {
		return nil, err
	}
	connection.UserAgent = "vault-unseal-sidecar/" + c.Version
	connection.QPS = -1 // each kind of write has a limiter of its own
	// The only warnings so far are of deprecations, which a person who runs
	// this cannot do anything about.
	connection.WarningHandler = rest.NoWarnings{}
	return connection, nil
}

// noProxy is for the pod, whose environment may name a proxy that is meant for
// Vault: the API server is beside it, and its calls are nobody else's business.
func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// Publish takes the core's newest state. It does not block.
func (k *Kube) Publish(s unseal.State) {
	before := unseal.Phase(k.phase.Swap(uint32(s.Phase)))
	if k.pod != nil {
		k.pod.want(gateCondition(k.config.Gate, s))
		if before != s.Phase {
			k.events.phase(s)
		}
	}
	if s.Phase == unseal.Active && before != s.Phase {
		k.epochs.Add(1)
	}
	if k.controller != nil && before != s.Phase {
		notify(k.controller.vault)
	}
}

// Run works until ctx is done, or until some part of it panics, which it returns.
func (k *Kube) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := group{end: cancel}
	if k.pod != nil {
		parts.Go(func() { k.pod.watch(ctx) })
		parts.Go(func() { k.pod.keep(ctx) })
		parts.Go(func() { k.events.run(ctx) })
	}
	if k.restriction != nil {
		parts.Go(func() { k.restriction.run(ctx) })
	}
	if k.controller != nil {
		parts.Go(func() { k.controller.run(ctx, parts.Go) })
	}
	parts.Wait()
	<-ctx.Done() // there may be nothing to do
	return context.Cause(ctx)
}
