package kube

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// Reflector keeps up with a few objects, by a list and a watch. Its functions
// are called one at a time.
type Reflector struct {
	API     dynamic.ResourceInterface
	Options metav1.ListOptions
	// List lists the objects, with EachObject, and returns the version of the list.
	List func(context.Context) (version string, err error)
	// Update receives an object that changed since then, or is gone.
	Update func(o *unstructured.Unstructured, gone bool)
	// OnError receives every error, and nil once it works.
	OnError func(error)
	// MissingRetry bounds the wait while only a person can mend it.
	MissingRetry time.Duration
}

// Run works until ctx is done.
func (f *Reflector) Run(ctx context.Context) {
	version, failures := "", 0
	for {
		began := time.Now()
		var err error
		if version == "" {
			if version, err = f.List(ctx); err == nil {
				failures = 0
				f.OnError(nil)
			}
		}
		if err == nil {
			version, err = f.watch(ctx, version)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil && time.Since(began) > time.Minute {
			failures = 0
			continue
		}
		limit := 5 * time.Second // a server that stops ends its watches, in good order
		if err != nil {
			f.OnError(err)
		}
		if IsForbiddenOrNotFound(err) {
			limit = f.MissingRetry
		}
		failures++
		Sleep(ctx, RetryAfter(failures, limit, err))
	}
}

// watch takes one watch to its end, and returns the version it came to; "" when the
// server cannot go on from there, so that a list is needed.
func (f *Reflector) watch(ctx context.Context, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+time.Minute)
	defer cancel()
	o := f.Options
	seconds := int64(watchFor / time.Second)
	o.ResourceVersion, o.AllowWatchBookmarks, o.TimeoutSeconds = version, true, &seconds
	w, err := f.API.Watch(ctx, o)
	if err != nil {
		return "", unlessExpired(err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return "", unlessExpired(apierrors.FromObject(event.Object))
		}
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return "", fmt.Errorf("a watch sent a %T", event.Object)
		}
		version = o.GetResourceVersion()
		if event.Type != watch.Bookmark && hasValidName(o) {
			f.Update(o, event.Type == watch.Deleted)
		}
	}
	return version, nil
}

// unlessExpired returns an error, or nil for one that alone says that the version is too
// old.
func unlessExpired(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return nil
	}
	return err
}
