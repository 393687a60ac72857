package kube

import (
	"cmp"
	"context"
	"errors"
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
type Reflector[T any] struct {
	API     dynamic.ResourceInterface
	Options metav1.ListOptions
	Convert func(*unstructured.Unstructured) T
	// Filter returns, for each list anew, what reports which objects are taken.
	Filter func() func(T) bool
	// Replace receives all objects that are taken; what it does not name is gone.
	Replace func([]T)
	// Update receives an object that changed, or is gone.
	Update func(o T, gone bool)
	// OnError receives every error, and nil once it works.
	OnError func(error)
	// Limit bounds how many objects are taken of a list; zero: maxFollowed.
	Limit int
	// MissingRetry bounds the wait while only a person can mend it.
	MissingRetry time.Duration
}

// maxFollowed bounds how many objects are taken of a list. What is wanted is
// fewer, unless a server lists the same again and again.
const maxFollowed = 3000

// Run works until ctx is done.
func (f *Reflector[T]) Run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		version, err := f.list(ctx)
		if err == nil {
			failures = 0
			f.OnError(nil)
			err = f.watchLoop(ctx, version)
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errResourceExpired) {
			f.OnError(err)
		}
		failures++
		limit := 5 * time.Second
		if IsForbiddenOrNotFound(err) {
			limit = f.MissingRetry
		}
		Sleep(ctx, RetryAfter(failures, limit, err))
	}
}

func (f *Reflector[T]) list(ctx context.Context) (version string, err error) {
	var found []T
	wanted, most := f.Filter(), cmp.Or(f.Limit, maxFollowed)
	version, err = EachPage(ctx, f.API, f.Options, func(page []unstructured.Unstructured) error {
		for i := range page {
			if o := f.Convert(&page[i]); len(found) < most && wanted(o) {
				found = append(found, o)
			}
		}
		return nil
	})
	if err == nil {
		f.Replace(found)
	}
	return version, err
}

// watchLoop watches from a version on, again and again. It returns what ended
// that.
func (f *Reflector[T]) watchLoop(ctx context.Context, version string) error {
	for failures := 0; ; {
		began := time.Now()
		next, err := f.watch(ctx, version)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		version = next
		if err != nil {
			return err
		}
		failures++
		if time.Since(began) > time.Minute {
			failures = 0
			continue
		}
		// A server that stops ends its watches, in good order.
		Sleep(ctx, RetryAfter(failures, 5*time.Second, nil))
	}
}

// watch takes one watch to its end, and returns the version it came to.
func (f *Reflector[T]) watch(ctx context.Context, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+time.Minute)
	defer cancel()
	o := f.Options
	seconds := int64(watchFor / time.Second)
	o.ResourceVersion, o.AllowWatchBookmarks, o.TimeoutSeconds = version, true, &seconds
	w, err := f.API.Watch(ctx, o)
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			err = errResourceExpired
		}
		return version, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			err := apierrors.FromObject(event.Object)
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				err = errResourceExpired
			}
			return version, err
		}
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return version, fmt.Errorf("a watch sent a %T", event.Object)
		}
		version = o.GetResourceVersion()
		if event.Type != watch.Bookmark && hasValidName(o) {
			f.Update(f.Convert(o), event.Type == watch.Deleted)
		}
	}
	return version, nil
}
