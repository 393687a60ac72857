package eso

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/hashicorp/go-hclog"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// Recovery is what may be done to ESO.
type Recovery string

// The ways to recover ESO.
const (
	RecoveryOff     Recovery = "off"
	RecoveryNudge   Recovery = "nudge"              // annotate what failed
	RecoveryRestart Recovery = "restart"            // evict ESO's controller
	RecoveryBoth    Recovery = "nudge-then-restart" // evict it when annotating did not help
)

// Recoveries lists them, the default first.
func Recoveries() []Recovery {
	return []Recovery{RecoveryBoth, RecoveryNudge, RecoveryRestart, RecoveryOff}
}

// Config says what is to be done for which stores.
type Config struct {
	Recovery            Recovery
	Stores              []StoreName // empty: all that may use the Vault beside us
	ControllerNamespace string      // where ESO's pods are
	Deployment          string      // of ESO's controller; empty: its pods have ControllerLabel
	Pod, Namespace      string      // our own pod, which Vault's Services lead to
	ClusterDomain       string      // of this cluster's Services; cluster.local always is one
	Log                 hclog.Logger
	Meter               kube.Meter                   // may be nil
	Memory              Memory                       // may be nil
	Report              func(status.ExternalSecrets) // is called with every news; must not block; may be nil
}

// Rights are those that the sidecar is granted.
func (c Config) Rights() kube.Rights {
	return kube.Rights{Namespace: c.Namespace, Pod: c.Pod, ESONamespace: c.ControllerNamespace, ESODeployment: c.Deployment}
}

const (
	// resyncInterval is how often a store is annotated again, and firstResync how soon at
	// first, for a Service leads to Vault some seconds after that is active. ESO's only
	// worker can sit in a request to a Vault that hung for a minute.
	resyncInterval = 15 * time.Second
	firstResync    = 500 * time.Millisecond
	// evictAfter is how long a store is annotated at that pace; then ESO is evicted,
	// once, and the store is annotated ever more rarely.
	evictAfter        = 2 * time.Minute
	maxResyncInterval = 10 * time.Minute
)

// httpAnswer is found in ESO's words where an open Vault has answered it by an HTTP
// error, which another controller would be answered too (vault/api,
// ResponseError). 502 to 504 are the words of the outage itself. Not every version
// of ESO repeats that in a store's condition.
var httpAnswer = regexp.MustCompile(`\bCode: (40[0345]|500)\b`)

// namespaceSealed is found there where OpenBao 2.6 has answered of a namespace that is
// sealed while the root is open (sdk/helper/consts, ErrNamespaceSealed). "Vault is
// sealed" is what all said in the outage.
var namespaceSealed = regexp.MustCompile(`(?i)\bnamespace is sealed\b`)

// resyncAfter is the interval at which a store is annotated that has been down for
// so long, in a pod that has been Ready for so long.
func resyncAfter(down, ready time.Duration) time.Duration {
	if recent := min(down, ready); recent < resyncInterval {
		return max(firstResync, recent)
	}
	if down < evictAfter {
		return resyncInterval
	}
	return min(max(down/2, time.Minute), maxResyncInterval)
}

// reconcileStore annotates a store, or evicts ESO because of it, and returns after how
// long to do so again.
func (n *Controller) reconcileStore(ctx context.Context, p *storeState, now time.Time) time.Duration {
	name, down := p.StoreName, p.downSince
	pace := resyncAfter(now.Sub(down), now.Sub(n.readySince))
	next := kube.Jittered(pace)
	hope := time.Duration(0)
	if n.config.Recovery != RecoveryRestart {
		hope = evictAfter
		var err error
		n.unlocked(func() { err = annotateForceSync(ctx, n.storeAPI(name), name.Name) })
		if ctx.Err() != nil || kube.ReadyMeanwhile(err) {
			return next
		}
		p.resyncErrors.Log(n.log, "annotating "+p.String(), kube.GrantsStores, err)
		if err == nil {
			p.failures = 0
			n.log.Touched(p.kind())
		} else { // ESO's webhook, for one, comes up after its stores do
			p.failures++
			next = min(next, kube.RetryAfter(p.failures, pace, err))
		}
		if !n.isDown(p, down) {
			return next
		}
	}
	if now.Sub(down) < hope {
		return next
	}
	if n.evictsFor(p) && n.mayEvict() && p.evictedPods == "" {
		n.maybeEvict(ctx, p)
	}
	if n.isDown(p, down) && now.Sub(down) >= evictAfter+time.Minute && p.failureReported == "" {
		advice := adviceFor(p.Store)
		text := fmt.Sprintf("%s stays not Ready although Vault is active: %s: %s; %s", p, p.Reason, p.Message, advice)
		p.failureReported = safetext.Line(podstatus.Sentence(text), kube.MaxOwnText)
		n.log.Warn(msgNotReady, keyStore, p.String(), keyReason, p.Reason, keyError, p.Message, keyAdvice, advice)
		n.pod.RecordEvent(podstatus.Event{Reason: podstatus.EventNotRecovering, Warning: true, Message: p.failureReported})
	}
	return next
}

// evictsFor reports whether evicting ESO may mend a store. One of a namespace may be down
// because that is sealed, which most versions of ESO do not repeat: it has ESO evicted only
// where nothing else is done for it.
func (n *Controller) evictsFor(p *storeState) bool {
	wanted := n.config.Recovery == RecoveryRestart || n.config.Recovery == RecoveryBoth && !p.Namespaced
	return wanted && !p.readyAfterOutage && !httpAnswer.MatchString(p.Message) && !namespaceSealed.MatchString(p.Message)
}

// adviceFor says where to look for what a store's message reports.
func adviceFor(s Store) string {
	advice := "its Events hold the answer that External Secrets received"
	code := httpAnswer.FindStringSubmatch(s.Message)
	switch {
	case code != nil:
	case namespaceSealed.MatchString(s.Message):
		return "its namespace of Vault is sealed: unseal that; " + advice
	case s.Namespaced:
		return "its namespace of Vault may be sealed, which Vault's own status does not show: unseal that; " + advice
	default:
		return advice
	}
	return "Vault answered " + code[1] + ": see " + map[string]string{
		"400": "the store's role, and the auth method's mount",
		"403": "the auth method, its token reviewer first, and the policy of the store's role",
		"404": "the store's path, and the auth method's mount",
		"405": "the store's server, which may be no Vault",
		"500": "Vault's log and storage",
	}[code[1]] + "; " + advice
}

func (n *Controller) storeAPI(name StoreName) dynamic.ResourceInterface {
	if name.Namespace == "" {
		return n.api.Resource(ClusterStores)
	}
	return n.api.Resource(NamespaceStores).Namespace(name.Namespace)
}
