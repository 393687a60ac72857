package podstatus

import (
	"cmp"
	"context"
	"strings"
	"time"

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

// pending returns the conditions to write, whether that is urgent, and after how long
// another may be written that its limiter holds back; 0 when none is.
func (p *Pod) pending() (due []keptCondition, urgent bool, held time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []keptCondition{p.gateToWrite(), p.secrets} {
		now := p.observed.Conditions[c.Type]
		if c.Type == "" || equivalent(now, c.Condition) {
			continue
		}
		if missing := 1 - c.limiter.Tokens(); missing > 0 {
			wait := time.Duration(missing*float64(writeInterval)) + time.Millisecond
			if held == 0 || wait < held {
				held = wait
			}
			continue
		}
		due = append(due, c)
		urgent = urgent || now.Status != c.Status
	}
	return due, urgent, held
}

// gateToWrite returns the gate's condition, of a recovery with since when apps may have been
// without Vault: what went before the sidecar's start was not its to measure.
func (p *Pod) gateToWrite() keptCondition {
	c := p.gate
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

// writeConditions writes what is due until ctx is done. What is urgent is written at once,
// unless writing fails: then news of the condition is no reason to hurry. Words alone
// are given time to change again.
func (p *Pod) writeConditions(ctx context.Context) {
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
		due, urgent, held := p.pending()
		var free <-chan time.Time // of a limiter
		if held > 0 {
			free = time.After(held)
		}
		switch {
		case len(due) == 0 && held > 0: // what failed is to be tried still
		case len(due) == 0:
			wait, failures = nil, 0
		case waited || urgent && failures == 0:
			err := p.write(ctx, due)
			if ctx.Err() != nil {
				return
			}
			p.writing.Log(p.log, "writing a condition of our own pod", kube.GrantsGate, err)
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
		case <-p.wake:
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
	return p.write(ctx, []keptCondition{{c, p.limiter}})
}

// write patches our conditions, and no others: the list is merged by type.
func (p *Pod) write(ctx context.Context, due []keptCondition) error {
	for _, c := range due {
		if err := c.limiter.Wait(ctx); err != nil {
			return err
		}
	}
	seen := p.seen()
	var list []map[string]any
	for _, c := range due {
		since := time.Now().UTC().Format(time.RFC3339)
		if now := seen.Conditions[c.Type]; now.Status == c.Status {
			since = cmp.Or(now.Since, since)
		}
		list = append(list, map[string]any{
			"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message, "lastTransitionTime": since,
		})
	}
	patch := map[string]any{"status": map[string]any{"conditions": list}}
	if seen.uid != "" {
		// Not on a successor of the same name.
		patch["metadata"] = map[string]any{"uid": seen.uid}
	}
	o, err := kube.Patch(ctx, p.api, p.Name, types.StrategicMergePatchType, patch, "status")
	if err != nil {
		return err
	}
	p.observe(o)
	for _, c := range due {
		p.log.Debug(msgWritten, keyCondition, c.Type, keyStatus, c.Status, keyReason, c.Reason)
	}
	return nil
}
