package eso

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// maxNamedUnsynced bounds how many are named.
const maxNamedUnsynced = 5

const (
	// maxResynced bounds how many objects a resync annotates, and remembers to have
	// annotated; maxResyncedIn, how many of them in a namespace.
	maxResynced   = 20_000
	maxResyncedIn = 2_000
	// firstPerNamespace bounds how many in a namespace are annotated before those in others.
	firstPerNamespace = 100
)

// scanResult is what a scan has found.
type scanResult struct {
	at            time.Time
	took          time.Duration // since the trouble began; the controller's
	slowest       time.Duration // that a store took to get Ready; the controller's
	resynced      int           // objects annotated since the resync began
	unsyncedCount int
	unsynced      []string // the first of them, with their own errors
	final         bool
	afterResync   bool  // the resync is over, and what is left is watched
	err           error // a right is missing, or the kind
}

// syncedKind is a kind of objects that ESO syncs.
type syncedKind struct {
	schema.GroupVersionResource
	uses   func(o *unstructured.Unstructured, is func(StoreName) bool) bool // one of the stores
	grants string
}

var syncedKinds = []syncedKind{{ExternalSecrets, Uses, kube.GrantsSecrets}, {PushSecrets, pushesTo, kube.GrantsMore}}

// scan lists what uses the stores, and annotates what failed if the resync is to. Where
// much of a namespace failed, it lists once more.
func (s *resyncer) scan(ctx context.Context, w *resync) scanResult {
	var f scanResult
	t := &quota{began: time.Now(), perNamespace: firstPerNamespace, tried: map[string]int{}}
	again := false
	handle := func(kind syncedKind, o *unstructured.Unstructured) error {
		alone := leftAlone(o)
		if !again {
			f.unsyncedCount++
			if len(f.unsynced) < maxNamedUnsynced {
				f.unsynced = append(f.unsynced, describeUnsynced(o, alone))
			}
		}
		if !w.annotates || alone != "" || !kind.uses(o, func(n StoreName) bool { return w.stores[n] }) {
			return nil
		}
		return s.resyncObject(ctx, w, t, kind, o)
	}
	f.err = s.eachFailed(ctx, w, handle)
	if t.exceeded && f.err == nil && ctx.Err() == nil && !w.stopped() {
		t.perNamespace, again = maxResyncedIn, true
		f.err = s.eachFailed(ctx, w, handle)
	}
	f.at, f.resynced = time.Now(), len(w.resyncs)
	return f
}

// eachFailed calls f with each object that failed and uses one of the stores.
func (s *resyncer) eachFailed(ctx context.Context, w *resync, f func(syncedKind, *unstructured.Unstructured) error) error {
	is := func(n StoreName) bool { _, ready := w.stores[n]; return ready }
	for _, kind := range syncedKinds {
		var failed error
		err := s.eachObject(ctx, &kind, func(o *unstructured.Unstructured) bool {
			if FailedSync(o) && kind.uses(o, is) {
				failed = f(kind, o)
			}
			return failed == nil && !w.stopped()
		})
		if ctx.Err() != nil || w.stopped() {
			return nil
		}
		err = cmp.Or(err, failed)
		s.errors[kind.Resource].Log(s.log, "listing and annotating "+kind.Resource, kind.grants, err)
		if err != nil && !(kind.Resource == PushSecrets.Resource && kube.IsForbiddenOrNotFound(err)) {
			return err
		}
	}
	return nil
}

// eachObject lists the objects of a kind. A version of PushSecrets that is not served, or not
// any more, gives way to the other one.
func (s *resyncer) eachObject(ctx context.Context, kind *syncedKind, f func(*unstructured.Unstructured) bool) error {
	pushes := kind.Resource == PushSecrets.Resource
	if pushes {
		kind.GroupVersionResource = s.pushSecrets
	}
	_, err := kube.EachObject(ctx, s.api.Resource(kind.GroupVersionResource), metav1.ListOptions{}, f)
	if !pushes || !apierrors.IsNotFound(err) {
		return err
	}
	other := PushSecrets
	if s.pushSecrets == PushSecrets {
		other = PushSecretsV1
	}
	kind.GroupVersionResource = other
	_, err = kube.EachObject(ctx, s.api.Resource(other), metav1.ListOptions{}, f)
	if err == nil {
		s.pushSecrets = other
	}
	return err
}

// quota keeps a namespace in which much failed from holding up all others: the
// first of each are annotated before the rest of any.
type quota struct {
	began        time.Time      // of the scan
	perNamespace int            // that is tried in a namespace
	tried        map[string]int // by namespace
	exceeded     bool           // something is left for the next round
}

// overLimit reports whether there is no room for one more, and logs it once.
func (s *resyncer) overLimit(w *resync, t *quota, namespace string, first bool) bool {
	tried := t.tried[namespace]
	switch {
	case first && (len(w.resyncs) >= maxResynced || w.namespaces[namespace] >= maxResyncedIn), tried >= maxResyncedIn:
		if !w.limitLogged {
			w.limitLogged = true
			s.log.Warn(msgTooManyLeft, keyCount, len(w.resyncs), keyNamespace, namespace)
		}
		return true
	case tried >= t.perNamespace, tried == 0 && len(t.tried) >= maxResynced: // namespaces come and go
		t.exceeded = true
		return true
	}
	return false
}

// describeUnsynced names an object that was not synced.
func describeUnsynced(o *unstructured.Unstructured, alone string) string {
	text := fmt.Sprintf("%s %s/%s: %s", o.GetKind(), o.GetNamespace(), o.GetName(), ReadyOf(o).Message)
	if alone != "" {
		text += " (left to External Secrets: " + alone + ")"
	}
	return text
}

// resyncObject annotates an object, at most twice a resync. That one of many is gone
// meanwhile is no error. A child of a ClusterExternalSecret is annotated itself: that
// takes the annotation away again, but the child is synced for it. Who owns an object,
// anybody may write there who may write it.
func (s *resyncer) resyncObject(ctx context.Context, w *resync, t *quota, kind syncedKind,
	o *unstructured.Unstructured) error {
	namespace, uid := o.GetNamespace(), string(o.GetUID())
	last, first := s.resyncedAt[uid], w.resyncs[uid] == 0
	if w.resyncs[uid] >= 2 || !last.Before(t.began) || time.Since(last) < recheckInterval {
		return nil
	}
	if s.overLimit(w, t, namespace, first) {
		return nil
	}
	t.tried[namespace]++
	if err := s.limiter.Wait(ctx); err != nil {
		return err
	}
	err := annotateForceSync(ctx, s.api.Resource(kind.GroupVersionResource).Namespace(namespace), o.GetName())
	switch {
	case err == nil:
	case kube.ReadyMeanwhile(err), apierrors.IsNotFound(err):
		return nil
	case isObjectError(err): // the rest goes on without
		s.refused.Log(s.log, "annotating "+o.GetKind()+"s", kind.grants, err)
		return nil
	default:
		return err
	}
	s.log.Touched(o.GetKind())
	w.resyncs[uid]++
	if first {
		w.namespaces[namespace]++
	}
	s.resyncedAt[uid] = time.Now()
	return nil
}

// isObjectError reports whether an error says nothing of other objects: whoever
// may write one could keep all that follow from being annotated, with annotations
// for instance that leave no room for another.
func isObjectError(err error) bool {
	switch {
	case kube.DeniedByWebhook(err):
		return true
	case apierrors.IsForbidden(err):
		return !kube.LacksRight(err)
	case apierrors.IsInternalError(err): // a webhook that is away is so for all; else, etcd takes no more of this one
		return !strings.Contains(err.Error(), "webhook")
	}
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsConflict(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// annotateForceSync sets an annotation to a value that it never had.
func annotateForceSync(ctx context.Context, api dynamic.ResourceInterface, name string) error {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	_, err := kube.Patch(ctx, api, name, types.MergePatchType, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{annotation: now}},
	})
	return err
}
