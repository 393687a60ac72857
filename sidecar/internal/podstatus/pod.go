// Package podstatus reports on our own pod how Vault is: it keeps conditions there, of
// which one is the readiness gate, and writes Events. All of it is tried again, and
// nothing of it is in Vault's way. It must not know External Secrets.
package podstatus

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	// debounceDelay is how long a condition has to stay before a change of its words
	// alone is written. A change of status is written at once.
	debounceDelay = 500 * time.Millisecond
	// initialReadTimeout is how long a write waits for the first look at the pod, for
	// one that says the same already is not written to. It does not wait for a
	// look that was refused.
	initialReadTimeout = 3 * time.Second
	// A Vault that flaps may have a condition written writeBurst times at once, then once
	// in each writeInterval. Each condition has a limiter of its own: a tenant's store
	// changes that of External Secrets.
	writeInterval = 2 * time.Second
	writeBurst    = 10
	// maxWriteRetry bounds the wait between tries to write a condition.
	maxWriteRetry = 10 * time.Second
)

// Config says which pod is ours, and what is written there.
type Config struct {
	Name, Namespace string // of our pod; empty: it is not known
	Gate            string // condition type of the readiness gate; empty: none is written
	Rights          kube.Rights
	Log             hclog.Logger
	Meter           kube.Meter      // may be nil
	OnImage         func(id string) // receives which image our container runs; may be nil
	OnReady         func()          // is called when the pod turns Ready; must not block; may be nil
}

// Pod keeps our conditions on our own pod as they should be, and writes Events
// there. A nil one does nothing.
type Pod struct {
	Config
	api     dynamic.ResourceInterface
	phase   unseal.Phase // the newest; Publish's
	log     kube.Telemetry
	limiter *rate.Limiter // of what WriteCondition writes
	known   chan struct{} // closed once something was seen
	refused chan struct{} // closed once we may not look
	refuse  sync.Once

	watching kube.ErrorLog

	eventAPI      dynamic.ResourceInterface
	events        chan Event // to be recorded
	writingEvents kube.ErrorLog

	mu            sync.Mutex // guards what follows
	gate, secrets keptCondition
	opening       struct{ message, unreadySince string } // of the gate, and since when the pod was not Ready then; empty: it was
	observed      observedPod
}

// keptCondition is a condition that is to be kept, unless it is the zero one.
type keptCondition struct {
	kube.Condition
	limiter *rate.Limiter
	wake    chan struct{}
	writing kube.ErrorLog
}

func newKeptCondition() keptCondition {
	return keptCondition{limiter: newLimiter(), wake: make(chan struct{}, 1)}
}

func newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(writeInterval), writeBurst) }

// observedPod is what was last seen of the pod; the zero value before that.
type observedPod struct {
	version    uint64
	uid        string
	Conditions map[string]kube.Condition
}

// New returns nil when it is not known which pod is ours.
func New(c Config, api dynamic.Interface) *Pod {
	if c.Name == "" || c.Namespace == "" {
		return nil
	}
	return &Pod{
		Config: c, api: api.Resource(kube.Pods).Namespace(c.Namespace), log: kube.NewTelemetry(c.Log, c.Meter, c.Rights),
		limiter:  newLimiter(),
		gate:     newKeptCondition(),
		secrets:  newKeptCondition(),
		known:    make(chan struct{}),
		refused:  make(chan struct{}),
		eventAPI: api.Resource(kube.Events).Namespace(c.Namespace),
		events:   make(chan Event, 16),
	}
}

// Publish takes the core's newest state. It does not block.
func (p *Pod) Publish(s unseal.Snapshot) {
	if p == nil {
		return
	}
	p.SetCondition(gateCondition(p.Gate, s))
	if s.Phase != p.phase {
		p.phase = s.Phase
		p.recordPhase(s)
	}
}

// Run starts what it takes with start.
func (p *Pod) Run(ctx context.Context, start func(func())) {
	if p == nil {
		return
	}
	start(func() { p.watch(ctx) })
	start(func() { p.writeCondition(ctx, &p.gate) })
	start(func() { p.writeCondition(ctx, &p.secrets) })
	start(func() { p.writeEvents(ctx) })
}

// SetCondition sets a condition that is to be kept from now on. The zero one is
// ignored.
func (p *Pod) SetCondition(c kube.Condition) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := &p.gate
	if c.Type == SecretsCondition {
		slot = &p.secrets
	}
	c.Message = safetext.Line(c.Message, kube.MaxOwnText)
	if c.Type == "" || slot.Condition == c {
		return
	}
	slot.Condition = c
	kube.Notify(slot.wake)
}

// watch observes changes of the pod by others.
func (p *Pod) watch(ctx context.Context) {
	self := metav1.ListOptions{FieldSelector: "metadata.name=" + p.Name}
	f := kube.Reflector{
		API:     p.api,
		Options: self,
		List: func(ctx context.Context) (string, error) {
			return kube.EachObject(ctx, p.api, self, func(o *unstructured.Unstructured) bool {
				p.observe(o)
				return true
			})
		},
		Update: func(o *unstructured.Unstructured, gone bool) {
			if !gone {
				p.observe(o)
			}
		},
		OnError: func(err error) {
			p.watching.Log(p.log, "watching our own pod", kube.GrantsGate, err)
			if err != nil && kube.IsForbiddenOrNotFound(err) {
				p.refuse.Do(func() { close(p.refused) })
			}
		},
		MissingRetry: 30 * time.Second,
	}
	f.Run(ctx)
}

// observe takes the pod as the server told it, unless something newer is known.
// The first pod of our name is ours; one that follows it is another's.
func (p *Pod) observe(o *unstructured.Unstructured) {
	version, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	next := observedPod{version: version, uid: string(o.GetUID()), Conditions: map[string]kube.Condition{}}
	for _, c := range kube.ConditionsOf(o) {
		next.Conditions[c.Type] = c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.observed.Conditions == nil
	if !first && (p.observed.uid != next.uid || version < p.observed.version) {
		return
	}
	turnsReady := next.Conditions["Ready"].Status == kube.True && p.observed.Conditions["Ready"].Status != kube.True
	p.observed = next
	if turnsReady && p.OnReady != nil {
		p.OnReady()
	}
	if id := imageOf(o); id != "" && p.OnImage != nil {
		p.OnImage(id)
	}
	if first {
		close(p.known)
	}
	kube.Notify(p.gate.wake)
	kube.Notify(p.secrets.wake)
}

func (p *Pod) seen() observedPod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.observed
}

// AwaitObserved waits until the pod was seen, or for at most so long.
func (p *Pod) AwaitObserved(ctx context.Context, limit time.Duration) {
	if p == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-p.known:
	case <-time.After(limit):
	}
}

// imageOf returns what the pod runs in our container: the image's name and
// digest, or what the runtime calls it; "" when the pod does not tell.
func imageOf(o *unstructured.Unstructured) string {
	for _, field := range []string{"containerStatuses", "initContainerStatuses"} {
		for _, m := range kube.Entries(o.Object, "status", field) {
			if m["name"] == kube.Name {
				id, _ := m["imageID"].(string)
				return kube.SafeText(id)
			}
		}
	}
	return ""
}
