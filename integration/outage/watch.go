package outage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// Watch counts the objects of one kind by what classify returns for them, and records
// when that changed. It is a single watch, so that measuring costs the API server next
// to nothing.
type Watch struct {
	resource string
	classify func(*unstructured.Unstructured) string

	mu      sync.Mutex
	values  map[string]string    // by namespace/name
	counts  map[string]int       // by value
	first   map[string]time.Time // by value, when its count rose from zero
	changed time.Time            // when the value of any object last did
	ended   error                // why there is no more to come
}

// Watch begins with the objects that there are. It ends with ctx.
func (c *Cluster) Watch(
	ctx context.Context, r schema.GroupVersionResource, classify func(*unstructured.Unstructured) string,
) (*Watch, error) {
	day := int64(24 * 60 * 60) // left alone, an API server ends a watch after half an hour
	stream, err := c.Client.Resource(r).Watch(ctx, metav1.ListOptions{TimeoutSeconds: &day})
	if err != nil {
		return nil, fmt.Errorf("watching the %s: %w", r.Resource, err)
	}
	w := &Watch{
		resource: r.Resource,
		classify: classify,
		values:   map[string]string{},
		counts:   map[string]int{},
		first:    map[string]time.Time{},
	}
	go w.loop(stream)
	return w, nil
}

// condition classifies by the status of a condition.
func condition(kind string) func(*unstructured.Unstructured) string {
	return func(o *unstructured.Unstructured) string { return testenv.Condition(o, kind)["status"] }
}

func (w *Watch) loop(stream watch.Interface) {
	err := errors.New("it ended")
	for event := range stream.ResultChan() {
		if o, ok := event.Object.(*unstructured.Unstructured); ok && event.Type != watch.Error {
			w.update(o, time.Now())
		} else {
			err = fmt.Errorf("%v", event.Object)
			stream.Stop()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = fmt.Errorf("watching the %s: %w", w.resource, err)
}

func (w *Watch) update(o *unstructured.Unstructured, at time.Time) {
	name, value := o.GetNamespace()+"/"+o.GetName(), w.classify(o)
	w.mu.Lock()
	defer w.mu.Unlock()
	before, known := w.values[name]
	if known && before == value {
		return
	}
	if known {
		w.counts[before]--
	}
	if w.counts[value] == 0 {
		w.first[value] = at
	}
	w.values[name] = value
	w.counts[value]++
	w.changed = at
}

// First returns when the first of the objects got the value that they have.
func (w *Watch) First(value string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first[value]
}

// Last returns when the value of an object last changed.
func (w *Watch) Last() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Missing says how many objects have the value; "" when so many have.
func (w *Watch) Missing(value string, wanted int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.missing(value, wanted)
}

func (w *Watch) missing(value string, wanted int) string {
	if w.counts[value] >= wanted {
		return ""
	}
	return fmt.Sprintf("%d of %d %s are %q, %v", w.counts[value], wanted, w.resource, value, w.counts)
}

// Await waits until so many objects have the value, and returns when the last of them
// got it. That it took too long is a context.DeadlineExceeded.
func (w *Watch) Await(
	ctx context.Context, limit time.Duration, value string, wanted int,
) (last time.Time, err error) {
	var ended error
	what := fmt.Sprintf("%d %s to be %q", wanted, w.resource, value)
	err = testenv.Await(ctx, limit, what, func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		last, ended = w.changed, w.ended
		if ended != nil {
			return ""
		}
		return w.missing(value, wanted)
	})
	return last, errors.Join(err, ended)
}
