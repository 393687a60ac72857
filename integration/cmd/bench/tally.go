package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// tally counts ExternalSecrets by what is asked of them. It follows all of them
// with a single watch, so that to measure costs the API server next to nothing.
type tally struct {
	of    func(*unstructured.Unstructured) string
	watch watch.Interface

	mu      sync.Mutex
	answers map[string]string // by namespace/name
	counts  map[string]int    // by answer
	changed time.Time         // when an answer last did
	ended   error             // why there is no more to come
}

// readiness is the status of the condition Ready.
func readiness(o *unstructured.Unstructured) string { return testenv.Condition(o, "Ready")["status"] }

// newTally begins with the ExternalSecrets that there are.
func newTally(ctx context.Context, c *testenv.Cluster, of func(*unstructured.Unstructured) string) (*tally, error) {
	day := int64(24 * 60 * 60) // left alone, an API server ends a watch after half an hour
	w, err := c.Client.Resource(externalSecrets).Watch(ctx, metav1.ListOptions{TimeoutSeconds: &day})
	if err != nil {
		return nil, fmt.Errorf("watching the ExternalSecrets: %w", err)
	}
	t := &tally{of: of, watch: w, answers: map[string]string{}, counts: map[string]int{}}
	go t.follow()
	return t, nil
}

func (t *tally) follow() {
	for event := range t.watch.ResultChan() {
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			t.end(fmt.Errorf("watching the ExternalSecrets: %v", event.Object))
			return
		}
		t.take(o)
	}
	t.end(errors.New("the watch of the ExternalSecrets ended"))
}

func (t *tally) take(o *unstructured.Unstructured) {
	at, name, answer := time.Now(), o.GetNamespace()+"/"+o.GetName(), t.of(o)
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.answers[name]
	if known && before == answer {
		return
	}
	if known {
		t.counts[before]--
	}
	t.answers[name] = answer
	t.counts[answer]++
	t.changed = at
}

func (t *tally) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = err
}

// stop ends the watch.
func (t *tally) stop() { t.watch.Stop() }

func (t *tally) count(answer string) (n int, changed time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[answer], t.changed, t.ended
}

// errLate is that a count was not reached within the limit.
var errLate = errors.New("too late")

// await waits until so many ExternalSecrets give the answer, and returns when
// the last of them did.
func (t *tally) await(ctx context.Context, limit time.Duration, answer string, wanted int) (time.Time, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		n, changed, err := t.count(answer)
		if n >= wanted || err != nil {
			return changed, err
		}
		select {
		case <-ctx.Done():
			return changed, ctx.Err()
		case <-deadline.C:
			return changed, fmt.Errorf("waited %v for %d ExternalSecrets to be %q, and saw %d: %w", limit, wanted, answer, n, errLate)
		case <-tick.C:
		}
	}
}
