package kube

import (
	"fmt"
	"strings"
	"testing"

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
