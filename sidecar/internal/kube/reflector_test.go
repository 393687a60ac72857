package kube

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// A role may grant list and not watch: what can be listed is not followed all the same.
func TestReflector_ARefusedWatchIsTriedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what follows
		lists, refused := 0, error(apierrors.NewForbidden(Pods.GroupResource(), "", nil))
		var reports []bool // whether it works
		locked := func(f func()) {
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		api := &kubetest.API{
			OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
				locked(func() { lists++ })
				return nil, "", nil
			},
			OnWatch: func(kubetest.At) (err error) {
				locked(func() { err = refused })
				return err
			},
		}
		f := &Reflector{
			API:          api.Resource(Pods),
			MissingRetry: 30 * time.Second,
			List: func(ctx context.Context) (string, error) {
				return EachObject(ctx, api.Resource(Pods), metav1.ListOptions{}, func(*unstructured.Unstructured) bool { return true })
			},
			OnError: func(err error) { locked(func() { reports = append(reports, err == nil) }) },
		}
		ctx, end := context.WithCancel(t.Context())
		go f.Run(ctx)
		time.Sleep(10 * time.Minute)
		locked(func() {
			assert.Less(t, lists, 40, "in ten minutes")
			assert.Equal(t, []bool{true, false, false}, reports[:3], "the list worked at first")
			assert.NotContains(t, reports[1:], true, "no list mends it")
			refused, reports = nil, nil
		})
		time.Sleep(time.Minute)
		locked(func() { assert.Equal(t, []bool{true}, reports, "it is told at once, and once") })
		end()
		synctest.Wait()
	})
}
