package podstatus

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// pending returns the conditions to write, and whether that is urgent.
func (p *Pod) pending() (due []kube.Condition, urgent bool) {
	seen := p.observed.Load()
	for _, slot := range []*atomic.Pointer[kube.Condition]{&p.gate, &p.secrets} {
		c := slot.Load()
		if c == nil {
			continue
		}
		var now kube.ExistingCondition
		if seen != nil {
			now = seen.Conditions[c.Type]
		}
		if equivalent(now.Condition, *c) {
			continue
		}
		due = append(due, *c)
		urgent = urgent || now.Status != c.Status
	}
	return due, urgent
}

// writeConditions writes what is due until ctx is done.
func (p *Pod) writeConditions(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-p.known:
	case <-p.refused:
	case <-time.After(initialReadTimeout):
	}
	failures := 0
	for {
		due, urgent := p.pending()
		var wait <-chan time.Time
		if len(due) > 0 && !urgent && failures == 0 {
			due = p.debounced(ctx)
		}
		if len(due) > 0 {
			err := p.write(ctx, due)
			if ctx.Err() != nil {
				return
			}
			p.writing.Log(p.log, "writing a condition of our own pod", kube.GrantsGate, err)
			if err == nil {
				failures = 0
				continue
			}
			failures++
			wait = time.After(kube.RetryAfter(failures, maxWriteRetry, err))
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

// debounced waits until the words of a condition have had time to change again,
// or something is urgent, and returns what is due then.
func (p *Pod) debounced(ctx context.Context) []kube.Condition {
	timer := time.NewTimer(debounceDelay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			due, _ := p.pending()
			return due
		case <-p.wake:
			if due, urgent := p.pending(); urgent {
				return due
			}
		}
	}
}

// WriteCondition writes a condition at once, and by itself, unless it is there already.
func (p *Pod) WriteCondition(ctx context.Context, c kube.Condition) error {
	if p == nil {
		return nil
	}
	if seen := p.observed.Load(); seen != nil && equivalent(seen.Conditions[c.Type].Condition, c) {
		return nil
	}
	return p.write(ctx, []kube.Condition{c})
}

// write patches our conditions, and no others: the list is merged by type.
func (p *Pod) write(ctx context.Context, due []kube.Condition) error {
	if err := p.limiter.Wait(ctx); err != nil {
		return err
	}
	seen := p.observed.Load()
	var list []map[string]any
	for _, c := range due {
		since := time.Now().UTC().Format(time.RFC3339)
		if seen != nil && seen.Conditions[c.Type].Status == c.Status && seen.Conditions[c.Type].Since != "" {
			since = seen.Conditions[c.Type].Since
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
	ctx, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	o, err := p.api.Patch(ctx, p.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{FieldManager: kube.Name}, "status")
	if err != nil {
		return err
	}
	p.observe(o)
	for _, c := range due {
		p.log.Debug(msgWritten, keyCondition, c.Type, keyStatus, c.Status, keyReason, c.Reason)
	}
	return nil
}
