package kube

import (
	"context"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

const (
	// settle is how long a condition has to stay before a change of its words
	// alone is written. A change of status is written at once.
	settle = 500 * time.Millisecond
	// blindAfter is how long a write waits for the first look at the pod, for
	// one that says the same already is not written to. It does not wait for a
	// look that was refused.
	blindAfter = 3 * time.Second
	// gateRetry bounds the wait between tries to write a condition.
	gateRetry = 10 * time.Second
)

// pod keeps our conditions on our own pod as they should be.
type pod struct {
	api     dynamic.ResourceInterface
	name    string
	log     telemetry
	limiter *rate.Limiter
	wake    chan struct{}

	gate    atomic.Pointer[condition]
	secrets atomic.Pointer[condition]
	seen    atomic.Pointer[sighting]
	first   sighting      // what an earlier run of ours left; set before known is closed
	known   chan struct{} // closed once something was seen
	refused chan struct{} // has one when we may not look

	watching, writing told

	sawImage func(id string) // may be nil
}

// sighting is what was last seen of the pod.
type sighting struct {
	version    uint64
	uid        string
	conditions map[string]written
}

func newPod(c Config, api dynamic.Interface) *pod {
	return &pod{
		api: api.Resource(pods).Namespace(c.Namespace), name: c.Pod, log: newTelemetry(c),
		// A Vault that flaps may write ten times at once, then once in two seconds.
		limiter: rate.NewLimiter(rate.Every(2*time.Second), 10),
		wake:    make(chan struct{}, 1),
		known:   make(chan struct{}),
		refused: make(chan struct{}, 1),
	}
}

// want sets a condition that is to be kept from now on. The zero one is
// ignored.
func (p *pod) want(c condition) {
	slot := &p.gate
	if c.Type == SecretsCondition {
		slot = &p.secrets
	}
	c.Message = safetext.Line(c.Message, maxOurs)
	if before := slot.Load(); c.Type == "" || before != nil && *before == c {
		return
	}
	slot.Store(&c)
	notify(p.wake)
}

// watch sees when somebody else changes the pod.
func (p *pod) watch(ctx context.Context) {
	type object = *unstructured.Unstructured
	f := reflector[object]{
		api:     p.api,
		options: metav1.ListOptions{FieldSelector: "metadata.name=" + p.name},
		read:    func(o object) object { return o },
		wanted:  func() func(object) bool { return func(object) bool { return true } },
		all: func(found []object) {
			for _, o := range found {
				p.saw(o)
			}
		},
		one: func(o object, gone bool) {
			if !gone {
				p.saw(o)
			}
		},
		failed: func(err error) {
			p.watching.logError(p.log, "watching our own pod", grantsGate, err)
			if err != nil && missing(err) {
				notify(p.refused)
			}
		},
		most:    1,
		missing: 30 * time.Second,
	}
	f.follow(ctx)
}

// saw takes the pod as the server told it, unless something newer is known.
// The first pod of our name is ours; one that follows it is another's.
func (p *pod) saw(o *unstructured.Unstructured) {
	version, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	next := &sighting{version: version, uid: string(o.GetUID()), conditions: map[string]written{}}
	for _, c := range conditionsOf(o) {
		next.conditions[c.Type] = c
	}
	for {
		last := p.seen.Load()
		if last != nil && (last.uid != next.uid || version < last.version) {
			return
		}
		if !p.seen.CompareAndSwap(last, next) {
			continue
		}
		if id := imageOf(o); id != "" && p.sawImage != nil {
			p.sawImage(id)
		}
		if last == nil {
			p.first = *next
			close(p.known)
		}
		notify(p.wake)
		return
	}
}

func (p *pod) uid() string {
	if s := p.seen.Load(); s != nil {
		return s.uid
	}
	return ""
}

// before returns a condition as it was when this run began.
func (p *pod) before(kind string) condition {
	select {
	case <-p.known:
		return p.first.conditions[kind].condition
	default:
		return condition{}
	}
}

// due returns the conditions to write, and whether that is urgent.
func (p *pod) due() (due []condition, urgent bool) {
	seen := p.seen.Load()
	for _, slot := range []*atomic.Pointer[condition]{&p.gate, &p.secrets} {
		c := slot.Load()
		if c == nil {
			continue
		}
		var now written
		if seen != nil {
			now = seen.conditions[c.Type]
		}
		if c.saidBy(now.condition) {
			continue
		}
		due = append(due, *c)
		urgent = urgent || now.Status != c.Status
	}
	return due, urgent
}

// keep writes what is due until ctx is done.
func (p *pod) keep(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-p.known:
	case <-p.refused:
	case <-time.After(blindAfter):
	}
	failures := 0
	for {
		due, urgent := p.due()
		var wait <-chan time.Time
		if len(due) > 0 && !urgent && failures == 0 {
			due = p.settled(ctx)
		}
		if len(due) > 0 {
			err := p.write(ctx, due)
			if ctx.Err() != nil {
				return
			}
			p.writing.logError(p.log, "writing a condition of our own pod", grantsGate, err)
			if err == nil {
				failures = 0
				continue
			}
			failures++
			wait = time.After(retryAfter(failures, gateRetry, err))
		}
		// While it fails, news of the condition is no reason to hurry.
		wake := p.wake
		if wait != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-wait:
		}
	}
}

// settled waits until the words of a condition have had time to change again,
// or something is urgent, and returns what is due then.
func (p *pod) settled(ctx context.Context) []condition {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			due, _ := p.due()
			return due
		case <-p.wake:
			if due, urgent := p.due(); urgent {
				return due
			}
		}
	}
}

// write patches our conditions, and no others: the list is merged by type.
func (p *pod) write(ctx context.Context, due []condition) error {
	if err := p.limiter.Wait(ctx); err != nil {
		return err
	}
	seen := p.seen.Load()
	var list []map[string]any
	for _, c := range due {
		since := time.Now().UTC().Format(time.RFC3339)
		if seen != nil && seen.conditions[c.Type].Status == c.Status && seen.conditions[c.Type].since != "" {
			since = seen.conditions[c.Type].since
		}
		list = append(list, map[string]any{
			"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message, "lastTransitionTime": since,
		})
	}
	patch := map[string]any{"status": map[string]any{"conditions": list}}
	if seen != nil {
		// Not on a successor of the same name.
		patch["metadata"] = map[string]any{"uid": seen.uid}
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	ctx, cancel := withRequestTimeout(ctx)
	defer cancel()
	o, err := p.api.Patch(ctx, p.name, types.StrategicMergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if err != nil {
		return err
	}
	p.saw(o)
	for _, c := range due {
		p.log.Debug(msgWritten, keyCondition, c.Type, keyStatus, c.Status, keyReason, c.Reason)
	}
	return nil
}
