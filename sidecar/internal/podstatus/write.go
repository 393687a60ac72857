package podstatus

import (
	"cmp"
	"context"
	"strings"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// What is logged of a condition that was written.
const (
	msgWritten   = "condition written"
	keyCondition = "condition" // its type
	keyReason    = "reason"
	keyStatus    = "status"
)

// pending returns a condition as it is to be written, whether it is due, and whether that is
// urgent; held is after how long it may be written that its limiter holds back, else 0.
func (p *Pod) pending(k *keptCondition) (c kube.Condition, due, urgent bool, held time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c = k.Condition
	if k == &p.gate {
		c = p.gateToWrite()
	}
	now := p.observed.Conditions[c.Type]
	if c.Type == "" || equivalent(now, c) {
		return c, false, false, 0
	}
	if missing := 1 - k.limiter.Tokens(); missing > 0 {
		return c, false, false, time.Duration(missing*float64(writeInterval)) + time.Millisecond
	}
	return c, true, now.Status != c.Status, 0
}

// gateToWrite returns the gate's condition, of a recovery with since when apps may have been
// without Vault: what went before the sidecar's start was not its to measure.
func (p *Pod) gateToWrite() kube.Condition {
	c := p.gate.Condition
	if c.Status != kube.True || !strings.Contains(c.Message, recoveredIn) {
		return c
	}
	if p.opening.message != c.Message {
		p.opening.message, p.opening.unreadySince = c.Message, ""
		if pod := p.observed.Conditions["Ready"]; pod.Status == kube.False {
			p.opening.unreadySince = pod.Since
		}
	}
	if p.opening.unreadySince != "" {
		c.Message += " The pod was not Ready since " + p.opening.unreadySince + "."
	}
	return c
}

// writeCondition writes a condition whenever it is due until ctx is done, by itself: what
// refuses one holds back no other. What is urgent is written at once, unless writing fails:
// then news of the condition is no reason to hurry. Words alone are given time to change again.
func (p *Pod) writeCondition(ctx context.Context, k *keptCondition) {
	select {
	case <-ctx.Done():
		return
	case <-p.known:
	case <-p.refused:
	case <-time.After(initialReadTimeout):
	}
	var wait <-chan time.Time // nil: nothing waits
	waited, failures := false, 0
	for {
		c, due, urgent, held := p.pending(k)
		var free <-chan time.Time // of a limiter
		if held > 0 {
			free = time.After(held)
		}
		switch {
		case held > 0: // what failed is to be tried still
		case !due:
			wait, failures = nil, 0
		case waited || urgent && failures == 0:
			err := p.write(ctx, c, k.limiter)
			if ctx.Err() != nil {
				return
			}
			k.writing.Log(p.log, "writing the condition "+c.Type+" of our own pod", kube.GrantsGate, err)
			if err == nil {
				wait, failures = nil, 0
			} else {
				failures++
				wait = time.After(kube.RetryAfter(failures, maxWriteRetry, err))
			}
		case wait == nil:
			wait = time.After(debounceDelay)
		}
		waited = false
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-free:
		case <-wait:
			wait, waited = nil, true
		}
	}
}

// WriteCondition writes a condition at once, and by itself, unless it is there already.
func (p *Pod) WriteCondition(ctx context.Context, c kube.Condition) error {
	if p == nil {
		return nil
	}
	if equivalent(p.seen().Conditions[c.Type], c) {
		return nil
	}
	return p.write(ctx, c, p.limiter)
}

// write patches a condition of ours, and no others: the list is merged by type.
func (p *Pod) write(ctx context.Context, c kube.Condition, limiter *rate.Limiter) error {
	if err := limiter.Wait(ctx); err != nil {
		return err
	}
	seen := p.seen()
	since := time.Now().UTC().Format(time.RFC3339)
	if now := seen.Conditions[c.Type]; now.Status == c.Status {
		since = cmp.Or(now.Since, since)
	}
	patch := map[string]any{"status": map[string]any{"conditions": []map[string]any{{
		"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message, "lastTransitionTime": since,
	}}}}
	if seen.uid != "" {
		// Not on a successor of the same name.
		patch["metadata"] = map[string]any{"uid": seen.uid}
	}
	o, err := kube.Patch(ctx, p.api, p.Name, types.StrategicMergePatchType, patch, "status")
	if err != nil {
		return err
	}
	p.observe(o)
	p.log.Debug(msgWritten, keyCondition, c.Type, keyStatus, c.Status, keyReason, c.Reason)
	return nil
}
