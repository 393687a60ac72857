package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// What is remembered of a list is bounded, whatever the server has listed.
func TestEachPage_BoundsAnEndlessList(t *testing.T) {
	api := &kubetest.Endless{Object: kubetest.Object(t, "{}"), Most: 2 * maxPages}
	_, err := EachPage(t.Context(), api, metav1.ListOptions{}, func([]unstructured.Unstructured) error { return nil })
	assert.ErrorIs(t, err, errEndless)
	assert.Equal(t, maxPages, api.Pages)

	api = &kubetest.Endless{Object: kubetest.Object(t, `{"metadata":{"name":"home"}}`), Each: 1, Most: maxPages}
	followed := 0
	f := &Reflector[string]{API: api, Convert: (*unstructured.Unstructured).GetName, Replace: func(all []string) { followed = len(all) },
		Filter: func() func(string) bool { return func(string) bool { return true } }}
	_, err = f.list(t.Context())
	require.NoError(t, err)
	assert.Equal(t, maxFollowed, followed)
}

// A server that is not Kubernetes could name objects by texts that no name is.
func TestEachPage_OmitsObjectsWithInvalidNames(t *testing.T) {
	long := strings.Repeat("n", 254)
	for _, field := range []string{"name", "uid", "namespace"} {
		t.Run(field, func(t *testing.T) {
			api := &kubetest.Endless{Object: kubetest.Object(t, fmt.Sprintf(`{"metadata":{%q:%q}}`, field, long)), Each: 1, Most: 1}
			_, err := EachPage(t.Context(), api, metav1.ListOptions{}, func(page []unstructured.Unstructured) error {
				assert.Empty(t, page)
				return nil
			})
			assert.NoError(t, err)
		})
	}
}

// What a tenant stores is large, and the server is slow: it takes so long for each
// object of a page.
func TestEachPage_HalvesAPageThatTimesOut(t *testing.T) {
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
				_, err := EachPage(t.Context(), api.Resource(Pods), metav1.ListOptions{}, func([]unstructured.Unstructured) error { return nil })
				assert.ErrorIs(t, err, row.want)
				assert.Equal(t, row.limits, limits)
			})
		})
	}
}

// Whoever asks has no more time, and is answered at once.
func TestEachPage_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), ShortTimeout)
		defer cancel()
		began, asked := time.Now(), 0
		api := &kubetest.API{OnList: func(ctx context.Context, _ kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
			asked++
			<-ctx.Done()
			return nil, "", fmt.Errorf("reading the answer: %w", ctx.Err())
		}}
		_, err := EachPage(ctx, api.Resource(Pods), metav1.ListOptions{}, func([]unstructured.Unstructured) error { return nil })
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, asked)
		assert.Equal(t, ShortTimeout, time.Since(began))
	})
}
