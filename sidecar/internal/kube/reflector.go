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

// reflector keeps up with a few objects, by a list and a watch. Its functions
// are called one at a time.
type reflector[T any] struct {
	api     dynamic.ResourceInterface
	options metav1.ListOptions
	read    func(*unstructured.Unstructured) T
	// wanted returns, for each list anew, what tells which objects are of it.
	wanted func() func(T) bool
	// all takes everything that is wanted; what it does not name is gone.
	all func([]T)
	// one takes an object that changed, or is gone.
	one func(o T, gone bool)
	// failed is told of every failure, and of nil once it works.
	failed func(error)
	// most bounds how many objects are taken of a list; zero: maxFollowed.
	most int
	// missing bounds the wait while only a person can mend it.
	missing time.Duration
}

// maxFollowed bounds how many objects are taken of a list. What is wanted is
// fewer, unless a server lists the same again and again.
const maxFollowed = 2*maxStores + 1000

// follow works until ctx is done.
func (f *reflector[T]) follow(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		version, err := f.list(ctx)
		if err == nil {
			failures = 0
			f.failed(nil)
			err = f.watchLoop(ctx, version)
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errResourceExpired) {
			f.failed(err)
		}
		failures++
		limit := 5 * time.Second
		if missing(err) {
			limit = f.missing
		}
		sleep(ctx, retryAfter(failures, limit, err))
	}
}

func (f *reflector[T]) list(ctx context.Context) (version string, err error) {
	var found []T
	wanted, most := f.wanted(), cmp.Or(f.most, maxFollowed)
	version, err = eachPage(ctx, f.api, f.options, func(page []unstructured.Unstructured) error {
		for i := range page {
			if o := f.read(&page[i]); len(found) < most && wanted(o) {
				found = append(found, o)
			}
		}
		return nil
	})
	if err == nil {
		f.all(found)
	}
	return version, err
}

// watchLoop watches from a version on, again and again. It returns what ended
// that.
func (f *reflector[T]) watchLoop(ctx context.Context, version string) error {
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
		sleep(ctx, retryAfter(failures, 5*time.Second, nil))
	}
}

// watch takes one watch to its end, and returns the version it came to.
func (f *reflector[T]) watch(ctx context.Context, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+time.Minute)
	defer cancel()
	o := f.options
	seconds := int64(watchFor / time.Second)
	o.ResourceVersion, o.AllowWatchBookmarks, o.TimeoutSeconds = version, true, &seconds
	w, err := f.api.Watch(ctx, o)
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
		if event.Type != watch.Bookmark && nameable(o) {
			f.one(f.read(o), event.Type == watch.Deleted)
		}
	}
	return version, nil
}
