package eso

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// namedLeft bounds how many are told of by name.
const namedLeft = 5

const (
	// maxWoken bounds how many objects a sweep remembers to have woken, and with
	// that how many it wakes; maxWokenIn, how many in a namespace.
	maxWoken   = 20_000
	maxWokenIn = 2_000
	// firstIn bounds how many in a namespace are woken before those in others.
	firstIn = 100
	// maxKey bounds what each is remembered by: a UID, or a name.
	maxKey = 253
)

// findings are what a look has found.
type findings struct {
	epoch     int64
	at        time.Time
	took      time.Duration // since the trouble began; the controller's
	slowest   time.Duration // that a store took to get Ready; the controller's
	touched   int           // objects woken since the sweep began
	leftCount int
	left      []string // the first of them, with their own errors
	final     bool
	mending   bool  // the sweep is over: it is looked whether somebody has mended what is left
	err       error // a right is missing, or the kind
}

// look goes once through all that ESO keeps, and wakes what failed, unless it
// only came to see. Where much of a namespace failed, it goes through it once more.
func (s *resyncer) look(ctx context.Context, w *sweep, wakes bool) findings {
	f := findings{epoch: w.epoch}
	t := &turns{began: time.Now(), most: firstIn, tried: map[string]int{}}
	f.err = s.round(ctx, w, func(r schema.GroupVersionResource, o *unstructured.Unstructured) error {
		f.leftCount++
		alone := generates(o)
		if len(f.left) < namedLeft {
			f.left = append(f.left, leftOf(o, alone))
		}
		if !wakes || alone {
			return nil
		}
		return s.wakeUp(ctx, w, t, r, o)
	})
	if t.more && f.err == nil && ctx.Err() == nil {
		t.most = maxWokenIn
		f.err = s.round(ctx, w, func(r schema.GroupVersionResource, o *unstructured.Unstructured) error {
			if generates(o) {
				return nil
			}
			return s.wakeUp(ctx, w, t, r, o)
		})
	}
	f.at, f.touched = time.Now(), len(w.touches)
	return f
}

// round calls f with each object that failed and uses one of the stores.
func (s *resyncer) round(ctx context.Context, w *sweep,
	f func(schema.GroupVersionResource, *unstructured.Unstructured) error) error {
	is := func(n StoreName) bool { return w.stores[n] }
	for _, kind := range []struct {
		resource schema.GroupVersionResource
		picks    func(o *unstructured.Unstructured, is func(StoreName) bool) bool
		grants   string
	}{{ExternalSecrets, Uses, kube.GrantsSecrets}, {PushSecrets, pushes, kube.GrantsMore}} {
		_, err := kube.EachPage(ctx, s.api.Resource(kind.resource), metav1.ListOptions{}, func(page []unstructured.Unstructured) error {
			for i := range page {
				if o := &page[i]; FailedSync(o) && kind.picks(o, is) {
					if err := f(kind.resource, o); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		s.seeing[kind.resource].Log(s.log, "listing and annotating "+kind.resource.Resource, kind.grants, err)
		if err != nil && !(kind.resource == PushSecrets && kube.Missing(err)) {
			return err
		}
	}
	return nil
}

// turns keeps a namespace in which much failed from holding up all others: the
// first of each are woken before the rest of any.
type turns struct {
	began time.Time      // of the look
	most  int            // that is tried in a namespace
	tried map[string]int // by namespace
	more  bool           // something is left for the next round
}

// crowded tells whether there is no room for one more, and says so once.
func (s *resyncer) crowded(w *sweep, t *turns, namespace string, first bool) bool {
	switch {
	case first && len(w.touches) >= maxWoken:
	case first && w.spaces[namespace] >= maxWokenIn, t.tried[namespace] >= maxWokenIn:
	case t.tried[namespace] >= t.most:
		t.more = true
		return true
	default:
		return false
	}
	if !w.crowded {
		w.crowded = true
		s.log.Warn(msgTooManyLeft, keyCount, len(w.touches), keyNamespace, namespace)
	}
	return true
}

// leftOf names an object that was not synced.
func leftOf(o *unstructured.Unstructured, alone bool) string {
	text := fmt.Sprintf("%s %s/%s: %s", o.GetKind(), o.GetNamespace(), o.GetName(), ReadyOf(o).Message)
	if alone {
		text += " (left to External Secrets: it would generate a new value)"
	}
	return text
}

// wakeUp annotates an object, or the one that made it, at most twice a sweep.
// That one of many is gone meanwhile is no error.
func (s *resyncer) wakeUp(ctx context.Context, w *sweep, t *turns, r schema.GroupVersionResource,
	o *unstructured.Unstructured) error {
	api, name, key, with := s.api.Resource(r).Namespace(o.GetNamespace()), o.GetName(), string(o.GetUID()), annotation
	kind := o.GetKind()
	if parent := parentOf(o); parent != "" {
		api, name, key, with = s.api.Resource(ClusterSecrets), parent, parent, parentAnnotation
		kind = kindClusterSecret
	}
	last, first := s.last[key], w.touches[key] == 0
	if w.touches[key] >= 2 || !last.Before(t.began) || time.Since(last) < lookEvery || len(key) > maxKey {
		return nil
	}
	if s.crowded(w, t, o.GetNamespace(), first) {
		return nil
	}
	if len(t.tried) >= maxWoken && t.tried[o.GetNamespace()] == 0 { // namespaces come and go
		t.more = true
		return nil
	}
	t.tried[o.GetNamespace()]++
	if err := s.limiter.Wait(ctx); err != nil {
		return err
	}
	err := touch(ctx, api, name, with)
	if with == parentAnnotation && !ofOneObject(err) {
		s.seeing[ClusterSecrets].Log(s.log, "annotating "+ClusterSecrets.Resource, kube.GrantsMore, err)
		if err != nil && kube.Missing(err) { // the rest goes on without
			return nil
		}
	}
	if apierrors.IsNotFound(err) || kube.ReadyMeanwhile(err) {
		return nil
	}
	if ofOneObject(err) { // the rest goes on without
		s.refused.Log(s.log, "annotating "+kind+"s", manifestOf(r), err)
		return nil
	}
	if err != nil {
		return err
	}
	s.log.Touched(kind)
	w.touches[key]++
	if first {
		w.spaces[o.GetNamespace()]++
	}
	s.last[key] = time.Now()
	return nil
}

// ofOneObject reports whether an error says nothing of other objects: whoever
// may write one could keep all that follow from being woken, with annotations
// for instance that leave no room for another.
func ofOneObject(err error) bool {
	switch {
	case apierrors.IsForbidden(err):
		return !kube.LacksRight(err)
	case apierrors.IsInternalError(err): // of a webhook, it is of all; else, etcd takes no more of this one
		return !strings.Contains(err.Error(), "webhook")
	}
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsConflict(err) || apierrors.IsRequestEntityTooLargeError(err)
}

func manifestOf(r schema.GroupVersionResource) string {
	if r == PushSecrets {
		return kube.GrantsMore
	}
	return kube.GrantsSecrets
}

// touch sets an annotation to a value that it never had.
func touch(ctx context.Context, api dynamic.ResourceInterface, name, with string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{with: time.Now().UTC().Format(time.RFC3339Nano)},
	}})
	if err != nil {
		return err
	}
	ctx, cancel := kube.WithRequestTimeout(ctx)
	defer cancel()
	_, err = api.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: kube.Name})
	return err
}
