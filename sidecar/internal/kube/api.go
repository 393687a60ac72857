package kube

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

const ESOGroup = "external-secrets.io"

// What is spoken of with the API server.
var (
	Pods     = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	Events   = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	Services = schema.GroupVersionResource{Version: "v1", Resource: "services"}
)

const (
	// Name is what our container, our policies and the writer of our annotations
	// are called.
	Name = "vault-unseal-sidecar"
	// ShortTimeout bounds a request that a person waits for.
	ShortTimeout = 5 * time.Second
	// callLimit bounds a single request, other than a watch. A server that
	// takes longer is as good as away.
	callLimit = 10 * time.Second
	// pageSize bounds the memory that a list takes, in objects. The transport
	// bounds it in bytes.
	pageSize = 100
	// maxPages bounds a list: a server that always has one more page is not
	// followed for ever.
	maxPages = 20_000
	// watchFor is how long the server is asked to keep a watch.
	watchFor = 9 * time.Minute
	// MissingKindRetry is how often, in the end, is checked whether a kind of object has
	// come that was missing, or a right to it. An API server that starts may say
	// so before it has read its own roles and kinds, so it begins soon.
	MissingKindRetry = 5 * time.Minute
)

// errEndless is what becomes of a list without an end.
var errEndless = errors.New("the list does not end")

// WithRequestTimeout bounds one request.
func WithRequestTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callLimit)
}

// Patch changes fields of an object, or of its subresource, in one bounded request.
func Patch(ctx context.Context, api dynamic.ResourceInterface, name string, kind types.PatchType, changes map[string]any,
	subresource ...string) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(changes)
	if err != nil {
		return nil, err
	}
	ctx, cancel := WithRequestTimeout(ctx)
	defer cancel()
	return api.Patch(ctx, name, kind, body, metav1.PatchOptions{FieldManager: Name}, subresource...)
}

// RetryAfter is the wait before the nth retry, from 1: 100 ms, doubling up to
// limit, or what the server asked for, and a random part more.
func RetryAfter(n int, limit time.Duration, err error) time.Duration {
	after := min(100*time.Millisecond<<min(n-1, 12), limit)
	if seconds, asked := apierrors.SuggestsClientDelay(err); asked {
		after = max(after, min(time.Duration(seconds)*time.Second, limit))
	}
	return Jittered(after)
}

// Jittered is d and up to a quarter more.
func Jittered(d time.Duration) time.Duration { return wait.Jitter(d, 0.25) }

// EachObject lists in pages and calls f with each object, as long as f reports that more
// are wanted. A page that is too large, or that does not come in time, is asked for again
// with half as many objects. A list that the server has forgotten half-way begins again:
// f meets some objects twice.
func EachObject(ctx context.Context, api dynamic.ResourceInterface, o metav1.ListOptions,
	f func(*unstructured.Unstructured) (more bool)) (version string, err error) {
	o.Limit = pageSize
	for again, pages := 0, 0; ; pages++ {
		if pages == maxPages {
			return "", errEndless
		}
		list, err := listOnce(ctx, api, o)
		tooLong := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		if (tooLong || errors.Is(err, errTooLarge)) && o.Limit > 1 {
			o.Limit /= 2
			continue
		}
		if apierrors.IsResourceExpired(err) && o.Continue != "" && again < 3 {
			o.Continue, again = "", again+1
			continue
		}
		if err != nil {
			return "", err
		}
		for i := range list.Items {
			if object := &list.Items[i]; hasValidName(object) && !f(object) {
				return "", nil
			}
		}
		o.Continue, o.Limit = list.GetContinue(), min(o.Limit+max(1, o.Limit/4), pageSize)
		if o.Continue == "" {
			return list.GetResourceVersion(), nil
		}
	}
}

// hasValidName reports whether an object has a name as Kubernetes gives them. What is
// remembered of objects is mostly their names, and a server of longer ones would
// fill the memory with them.
func hasValidName(o *unstructured.Unstructured) bool {
	return len(o.GetName()) <= 253 && len(o.GetUID()) <= 253 && len(o.GetNamespace()) <= 63
}

func listOnce(ctx context.Context, api dynamic.ResourceInterface, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	ctx, cancel := WithRequestTimeout(ctx)
	defer cancel()
	return api.List(ctx, o)
}

// Sleep waits for d, and reports whether ctx still goes on.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Notify wakes whoever waits on c, which has room for one.
func Notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
