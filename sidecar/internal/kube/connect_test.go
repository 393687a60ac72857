package kube

import (
	"io"
	"net/http"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// panickingBody panics when it is read.
type panickingBody struct{ http.RoundTripper }

func (w panickingBody) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{readerFunc(func([]byte) (int, error) { panic("broken") }), resp.Body}
	}
	return resp, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// client-go decodes a watch in a goroutine of its own, which nobody could recover.
func TestWatch_PanicEndsOnlyTheWatch(t *testing.T) {
	redirectKlog(hclog.NewNullLogger())
	api, _ := serveLargeObjects(t, 1, 10, func(int) string { return "{}" }, func(inner http.RoundTripper) http.RoundTripper { return panickingBody{inner} })
	w, err := api.Resource(served).Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	_, more := <-w.ResultChan()
	assert.False(t, more)
}
