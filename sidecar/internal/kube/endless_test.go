package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// What is remembered of a list is bounded, whatever the server has listed.
func TestEachObject_BoundsAnEndlessList(t *testing.T) {
	pages := 0
	api := &kubetest.API{OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
		pages++
		return nil, "more", nil
	}}
	_, err := EachObject(t.Context(), api.Resource(Pods), metav1.ListOptions{}, func(*unstructured.Unstructured) bool { return true })
	assert.ErrorIs(t, err, errEndless)
	assert.Equal(t, maxPages, pages)
}

// A server that is not Kubernetes could name objects by texts that no name is.
func TestEachObject_OmitsObjectsWithInvalidNames(t *testing.T) {
	long := strings.Repeat("n", 254)
	for _, field := range []string{"name", "uid", "namespace"} {
		t.Run(field, func(t *testing.T) {
			api := &kubetest.API{OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
				return []unstructured.Unstructured{*kubetest.Object(t, fmt.Sprintf(`{"metadata":{%q:%q}}`, field, long))}, "", nil
			}}
			_, err := EachObject(t.Context(), api.Resource(Pods), metav1.ListOptions{}, func(o *unstructured.Unstructured) bool {
				assert.Fail(t, "it is not omitted")
				return true
			})
			assert.NoError(t, err)
		})
	}
}

// What a tenant stores is large, and the server is slow: it takes so long for each
// object of a page.
func TestEachObject_HalvesAPageThatTimesOut(t *testing.T) {
	for _, row := range []struct {
		sentence string
		each     time.Duration
		limits   []int64 // of the requests
		want     error
	}{
		{"until it is answered in time", time.Second, []int64{100, 50, 25, 12, 6}, nil},
		{"down to one object", callLimit + time.Second, []int64{100, 50, 25, 12, 6, 3, 1}, context.DeadlineExceeded},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var limits []int64
				api := &kubetest.API{OnList: func(ctx context.Context, _ kubetest.At, o metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
					limits = append(limits, o.Limit)
					Sleep(ctx, time.Duration(o.Limit)*row.each)
					return nil, "", ctx.Err()
				}}
				_, err := EachObject(t.Context(), api.Resource(Pods), metav1.ListOptions{}, func(*unstructured.Unstructured) bool { return true })
				assert.ErrorIs(t, err, row.want)
				assert.Equal(t, row.limits, limits)
			})
		})
	}
}

// Whoever asks has no more time, and is answered at once.
func TestEachObject_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), ShortTimeout)
		defer cancel()
		began, asked := time.Now(), 0
		api := &kubetest.API{OnList: func(ctx context.Context, _ kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
			asked++
			<-ctx.Done()
			return nil, "", fmt.Errorf("reading the answer: %w", ctx.Err())
		}}
		_, err := EachObject(ctx, api.Resource(Pods), metav1.ListOptions{}, func(*unstructured.Unstructured) bool { return true })
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, asked)
		assert.Equal(t, ShortTimeout, time.Since(began))
	})
}
