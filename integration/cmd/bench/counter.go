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

// secretCounter counts ExternalSecrets by what classify returns for them. It uses a
// single watch, so that measuring costs the API server next to nothing.
type secretCounter struct {
	classify func(*unstructured.Unstructured) string
	watch    watch.Interface

	mu      sync.Mutex
	values  map[string]string // by namespace/name
	counts  map[string]int    // by answer
	changed time.Time         // when an answer last did
	ended   error             // why there is no more to come
}

// readiness is the status of the condition Ready.
func readiness(o *unstructured.Unstructured) string { return testenv.Condition(o, "Ready")["status"] }

// newSecretCounter begins with the ExternalSecrets that there are.
func newSecretCounter(ctx context.Context, c *testenv.Cluster, classify func(*unstructured.Unstructured) string) (*secretCounter, error) {
	day := int64(24 * 60 * 60) // left alone, an API server ends a watch after half an hour
	w, err := c.Client.Resource(externalSecrets).Watch(ctx, metav1.ListOptions{TimeoutSeconds: &day})
	if err != nil {
		return nil, fmt.Errorf("watching the ExternalSecrets: %w", err)
	}
	sc := &secretCounter{classify: classify, watch: w, values: map[string]string{}, counts: map[string]int{}}
	go sc.watchLoop()
	return sc, nil
}

func (sc *secretCounter) watchLoop() {
	for event := range sc.watch.ResultChan() {
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			sc.fail(fmt.Errorf("watching the ExternalSecrets: %v", event.Object))
			return
		}
		sc.update(o)
	}
	sc.fail(errors.New("the watch of the ExternalSecrets ended"))
}

func (sc *secretCounter) update(o *unstructured.Unstructured) {
	at, name, answer := time.Now(), o.GetNamespace()+"/"+o.GetName(), sc.classify(o)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	before, known := sc.values[name]
	if known && before == answer {
		return
	}
	if known {
		sc.counts[before]--
	}
	sc.values[name] = answer
	sc.counts[answer]++
	sc.changed = at
}

func (sc *secretCounter) fail(err error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.ended = err
}

// stop ends the watch.
func (sc *secretCounter) stop() { sc.watch.Stop() }

func (sc *secretCounter) count(value string) (n int, changed time.Time, err error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.counts[value], sc.changed, sc.ended
}

// errTimeout is returned when a count was not reached within the limit.
var errTimeout = errors.New("too late")

// await waits until so many ExternalSecrets have the value, and returns when the
// last of them got it.
func (sc *secretCounter) await(ctx context.Context, limit time.Duration, value string, wanted int) (time.Time, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		n, changed, err := sc.count(value)
		if n >= wanted || err != nil {
			return changed, err
		}
		select {
		case <-ctx.Done():
			return changed, ctx.Err()
		case <-deadline.C:
			return changed, fmt.Errorf("waited %v for %d ExternalSecrets to be %q, and saw %d: %w", limit, wanted, value, n, errTimeout)
		case <-tick.C:
		}
	}
}
