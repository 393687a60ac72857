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

// conditionWatch records conditions as the API server reports them, and when each
// changed.
type conditionWatch struct {
	mu       sync.Mutex
	observed map[subject]observation
}

// observation is a condition's status, and when it was first observed.
type observation struct {
	status string
	at     time.Time
}

// watchConditions watches the gate of Vault's pod, the store and the ExternalSecrets, until
// ctx ends.
func (st *setup) watchConditions(ctx context.Context) (*conditionWatch, error) {
	w := &conditionWatch{observed: map[subject]observation{}}
	for resource, condition := range map[schema.GroupVersionResource]string{
		podResource: gateType, storeResource: "Ready", secretResource: "Ready",
	} {
		stream, err := st.cluster.Client.Resource(resource).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", resource.Resource, err)
		}
		go func() {
			for event := range stream.ResultChan() {
				if o, ok := event.Object.(*unstructured.Unstructured); ok {
					w.observe(o, condition, time.Now())
				}
			}
		}()
	}
	return w, nil
}

func (w *conditionWatch) observe(o *unstructured.Unstructured, condition string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := subject{o.GetNamespace(), o.GetName(), condition}
	if status := testenv.Condition(o, condition)["status"]; w.observed[s].status != status {
		w.observed[s] = observation{status, at}
	}
}

// differs names a subject that has another status; it is empty when none has.
func (w *conditionWatch) differs(status string, subjects ...subject) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range subjects {
		if now := w.observed[s].status; now != status {
			return fmt.Sprintf("%s of %s/%s is %q", s.condition, s.namespace, s.name, now)
		}
	}
	return ""
}

// since returns when a subject's status was first observed.
func (w *conditionWatch) since(s subject) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.observed[s].at
}

// firstAndLast returns when the first and the last ExternalSecret turned.
func (w *conditionWatch) firstAndLast() (first, last time.Time) {
	for _, s := range secretSubjects() {
		at := w.since(s)
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
