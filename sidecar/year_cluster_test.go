package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// yearCluster is an API server with Vault's pod, and ESO, which syncs what is annotated while
// Vault is open. A real one is in integration/: this one has virtual time.
type yearCluster struct {
	mu      sync.Mutex
	version int64
	objects map[schema.GroupVersionResource]map[string]*unstructured.Unstructured // by namespace and name
	watches map[schema.GroupVersionResource][]*watch.RaceFreeFakeWatcher
	changes map[schema.GroupVersionResource][]change // the newest, for watches that begin later
	away    error                                    // it answers nothing
	sealed  bool                                     // Vault is
	stuck   bool                                     // ESO is, until it is evicted
	writes  int
}

// change is what a watch tells, and as of which version.
type change struct {
	version int64
	event   watch.Event
}

const changesKept = 64 // of each kind; a watch takes 100

func newYearCluster() *yearCluster {
	return &yearCluster{objects: map[schema.GroupVersionResource]map[string]*unstructured.Unstructured{},
		watches: map[schema.GroupVersionResource][]*watch.RaceFreeFakeWatcher{},
		changes: map[schema.GroupVersionResource][]change{}}
}

// put adds or changes an object, of JSON, and tells whoever watches.
func (c *yearCluster) put(r schema.GroupVersionResource, text string) {
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &o.Object); err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store(r, o)
}

// store is put under the lock.
func (c *yearCluster) store(r schema.GroupVersionResource, o *unstructured.Unstructured) {
	o.SetResourceVersion(fmt.Sprint(c.version + 1))
	if c.objects[r] == nil {
		c.objects[r] = map[string]*unstructured.Unstructured{}
	}
	c.objects[r][o.GetNamespace()+"/"+o.GetName()] = o
	c.tell(r, watch.Event{Type: watch.Modified, Object: o.DeepCopy()})
}

func (c *yearCluster) remove(r schema.GroupVersionResource, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.objects[r][key].DeepCopy()
	o.SetResourceVersion(fmt.Sprint(c.version + 1))
	delete(c.objects[r], key)
	c.tell(r, watch.Event{Type: watch.Deleted, Object: o})
}

// tell makes a new version, and tells whoever watches, or will from an earlier one.
func (c *yearCluster) tell(r schema.GroupVersionResource, e watch.Event) {
	c.version++
	c.changes[r] = append(c.changes[r], change{c.version, e})
	c.changes[r] = slices.Clone(c.changes[r][max(0, len(c.changes[r])-changesKept):])
	c.watches[r] = slices.DeleteFunc(c.watches[r], (*watch.RaceFreeFakeWatcher).IsStopped)
	for _, w := range c.watches[r] {
		w.Action(e.Type, e.Object.DeepCopyObject())
	}
}

// watch begins a watch with what has changed since a version.
func (c *yearCluster) watch(r schema.GroupVersionResource, since int64) *watch.RaceFreeFakeWatcher {
	w := watch.NewRaceFreeFake()
	for _, each := range c.changes[r] {
		if each.version > since {
			w.Action(each.event.Type, each.event.Object.DeepCopyObject())
		}
	}
	c.watches[r] = append(slices.DeleteFunc(c.watches[r], (*watch.RaceFreeFakeWatcher).IsStopped), w)
	return w
}

// restart ends all watches, and answers nothing until back.
func (c *yearCluster) restart(why error) (back func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = why
	for _, watches := range c.watches {
		for _, w := range watches {
			w.Stop()
		}
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.away = nil
	}
}

// setReady is what ESO says of an object; reason is why not.
func (c *yearCluster) setReady(r schema.GroupVersionResource, o *unstructured.Unstructured, reason string) {
	is := kube.True
	if reason != "" {
		is = kube.False
	}
	changed := o.DeepCopy()
	conditions := []any{map[string]any{"type": "Ready", "status": is, "reason": reason}}
	_ = unstructured.SetNestedSlice(changed.Object, conditions, "status", "conditions")
	c.store(r, changed)
}

// seal has all that uses Vault fail, as it does some time after Vault is gone.
func (c *yearCluster) seal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	reasons := map[schema.GroupVersionResource]string{
		eso.ExternalSecrets: "SecretSyncedError", eso.PushSecrets: "Errored",
	}
	c.sayOfAll(func(r schema.GroupVersionResource) string {
		return cmp.Or(reasons[r], "InvalidProviderConfig")
	})
}

// sayOfAll is what ESO says of all that it looks after.
func (c *yearCluster) sayOfAll(reason func(schema.GroupVersionResource) string) {
	for _, r := range []schema.GroupVersionResource{
		eso.ClusterStores, eso.NamespaceStores, eso.ExternalSecrets, eso.PushSecrets,
	} {
		for _, key := range slices.Sorted(maps.Keys(c.objects[r])) {
			c.setReady(r, c.objects[r][key], reason(r))
		}
	}
}

func (c *yearCluster) open(stuck bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed, c.stuck = false, stuck
}
