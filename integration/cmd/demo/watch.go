package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	esoAPI     = "external-secrets.io/v1"
	esoGroup   = "external-secrets.io"
	gateType   = "vault-unseal-sidecar/unsealed"
	reportType = "vault-unseal-sidecar/external-secrets"
)

var (
	podResource    = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	eventResource  = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	storeResource  = schema.GroupVersionResource{Group: esoGroup, Version: "v1", Resource: "clustersecretstores"}
	secretResource = schema.GroupVersionResource{Group: esoGroup, Version: "v1", Resource: "externalsecrets"}
)

// subject is an object and the condition of it that is watched.
type subject struct{ namespace, name, condition string }

var (
	gateSubject  = subject{"security", "vault-0", gateType}
	storeSubject = subject{"", store, "Ready"}
)

// watch keeps what an administrator sees of the conditions: nobody's own word
// is taken for when something happened.
type watch struct {
	mu   sync.Mutex
	seen map[subject]sighting
}

// sighting is a condition's status, and when it was first told.
type sighting struct {
	status string
	at     time.Time
}

// watch sees the gate of Vault's pod, the store and the ExternalSecrets, until
// ctx ends.
func (h *home) watch(ctx context.Context) (*watch, error) {
	w := &watch{seen: map[subject]sighting{}}
	for resource, condition := range map[schema.GroupVersionResource]string{
		podResource: gateType, storeResource: "Ready", secretResource: "Ready",
	} {
		stream, err := h.cluster.Client.Resource(resource).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", resource.Resource, err)
		}
		go func() {
			for event := range stream.ResultChan() {
				if o, ok := event.Object.(*unstructured.Unstructured); ok {
					w.see(o, condition, time.Now())
				}
			}
		}()
	}
	return w, nil
}

func (w *watch) see(o *unstructured.Unstructured, condition string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := subject{o.GetNamespace(), o.GetName(), condition}
	if status := testenv.Condition(o, condition)["status"]; w.seen[s].status != status {
		w.seen[s] = sighting{status, at}
	}
}

// differs names a subject that has another status; it is empty when none has.
func (w *watch) differs(status string, subjects ...subject) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range subjects {
		if now := w.seen[s].status; now != status {
			return fmt.Sprintf("%s of %s/%s is %q", s.condition, s.namespace, s.name, now)
		}
	}
	return ""
}

// at returns when a subject's status was first told.
func (w *watch) at(s subject) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[s].at
}

// firstAndLast returns when the first and the last ExternalSecret turned.
func (w *watch) firstAndLast() (first, last time.Time) {
	for _, s := range secretSubjects() {
		at := w.at(s)
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last
}

func secretSubjects() []subject {
	var all []subject
	for _, s := range secrets() {
		all = append(all, subject{s.app, s.name, "Ready"})
	}
	return all
}
