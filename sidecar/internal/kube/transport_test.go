package kube

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// newTestClient returns a client of an API server that answers everything so. The
// name keeps client-go from sharing a transport with another test.
func newTestClient(t *testing.T, http2 bool, as func(http.RoundTripper) http.RoundTripper, answer http.HandlerFunc) *dynamic.DynamicClient {
	server := httptest.NewUnstartedServer(answer)
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	tls := rest.TLSClientConfig{Insecure: true, ServerName: fmt.Sprintf("%p", server)}
	if !http2 {
		tls.NextProtos = []string{"http/1.1"}
	}
	c := &rest.Config{Host: server.URL, QPS: -1, TLSClientConfig: tls}
	c.Wrap(as)
	api, err := dynamic.NewForConfig(c)
	require.NoError(t, err)
	return api
}

func TestTransport_LimitsResponseHeaders(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			protocol := ""
			api := newTestClient(t, http2, bound(false), func(w http.ResponseWriter, r *http.Request) {
				protocol = r.Proto
				for i := range 200 {
					w.Header().Set(fmt.Sprint("x", i), strings.Repeat("x", 1000))
				}
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"apiVersion":"v1","kind":"PodList","items":[]}`)
			})
			_, err := api.Resource(Pods).List(t.Context(), metav1.ListOptions{})
			assert.Error(t, err)
			assert.Equal(t, map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2], protocol)
		})
	}
}

func TestTransport_LimitsInterimResponses(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", http2), func(t *testing.T) {
			api := newTestClient(t, http2, bound(false), func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json") // all of it now: each is written while the next is made
				w.Header().Set("Link", strings.Repeat("x", 1000))
				for range 1000 {
					w.WriteHeader(http.StatusEarlyHints)
				}
				fmt.Fprint(w, `{"apiVersion":"v1","kind":"PodList","items":[]}`)
			})
			_, err := api.Resource(Pods).List(t.Context(), metav1.ListOptions{})
			assert.Error(t, err)
		})
	}
}

// Whatever is asked, the sidecar that runs keeps what it reads of the answer. A
// check reads more.
func TestTransport_FiltersEachResponse(t *testing.T) {
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"vault-0","labels":{"app":"vault"},"x":1},"x":[{"":0}]}`)
	}
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprint("of a check ", whole), func(t *testing.T) {
			api := newTestClient(t, true, bound(whole), answer).Resource(Pods).Namespace("security")
			got, err := api.Get(t.Context(), "vault-0", metav1.GetOptions{})
			require.NoError(t, err)
			assert.Equal(t, map[string]string{"app": "vault"}, got.GetLabels(), "which Services select")
			made, err := api.Create(t.Context(), got, metav1.CreateOptions{}, "eviction")
			require.NoError(t, err)
			for _, o := range []*unstructured.Unstructured{got, made} {
				assert.Equal(t, "vault-0", o.GetName())
				assert.Equal(t, whole, o.Object["x"] != nil)
			}
		})
	}
}

// A page of what takes much memory when it is decoded is asked for again in
// halves, and one of what is usual is not.
func TestFilter_LimitsTheDecodedSizeOfAPage(t *testing.T) {
	_, err := filtered(`{"items":[`+strings.Repeat(`{"spec":{}},`, 20_000)+`{}]}`, answerFields)
	assert.ErrorIs(t, err, errTooLarge)
	_, err = filtered(`{"items":[`+strings.Repeat(`{"status":{"conditions":[{"type":"a"},{"type":"b"}]}},`, 2000)+`{}]}`, answerFields)
	assert.ErrorIs(t, err, errTooLarge)

	const usual = `{"apiVersion":"external-secrets.io/v1","kind":"ExternalSecret","metadata":{"name":"some-name-of-a-secret","namespace":"app",
		"annotations":{"force-sync":"2026-01-01T00:00:00.000000000Z"},"uid":"0b9e5c1e-0000-4000-8000-000000000000","resourceVersion":"123456",
		"generation":1,"ownerReferences":[{"apiVersion":"external-secrets.io/v1","kind":"ClusterExternalSecret","name":"all"}]},
		"spec":{"refreshInterval":"1h","secretStoreRef":{"kind":"ClusterSecretStore","name":"vault"},"target":{"name":"a","creationPolicy":"Owner"},
		"data":[{"secretKey":"a","remoteRef":{"key":"b"}},{"secretKey":"c","remoteRef":{"key":"d"}}],
		"dataFrom":[{"sourceRef":{"storeRef":{"name":"a","kind":"SecretStore"}}},{"extract":{"key":"a"}}]},
		"status":{"refreshTime":"2026-01-01T00:00:00Z","syncedResourceVersion":"1-0123456789","conditions":[{"type":"Ready","status":"False",
		"reason":"SecretSyncedError","message":"could not get secret data from provider","lastTransitionTime":"2026-01-01T00:00:00Z"}]}},`
	_, err = io.ReadAll(newFilter(strings.NewReader(`{"items":[`+strings.Repeat(usual, pageSize)+`{}]}`), answerFields))
	assert.NoError(t, err)
}
