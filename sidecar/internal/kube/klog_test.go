package kube

import (
	"net/http"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wickedBody panics when it is read.
type wickedBody struct{ http.RoundTripper }

func (w wickedBody) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = body{readerFunc(func([]byte) (int, error) { panic("wicked") }), resp.Body}
	}
	return resp, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// client-go decodes a watch in a goroutine of its own, which nobody could recover.
func TestAPanicInAWatchEndsTheWatchAlone(t *testing.T) {
	redirectKlog(hclog.NewNullLogger())
	api, _ := giants(t, 1, 10, func(int) string { return "{}" }, func(inner http.RoundTripper) http.RoundTripper { return wickedBody{inner} })
	w, err := api.Resource(served).Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	_, more := <-w.ResultChan()
	assert.False(t, more)
}
