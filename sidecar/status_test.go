package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStatusPrintsWhatTheSidecarTells(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/status", r.URL.Path)
		_, _ = w.Write([]byte("{\"phase\": \"active\"}\n"))
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	code, stdout, stderr := called(map[string]string{"HTTP_BIND": ":" + port}, "status")
	assert.Equal(t, exitStopped, code)
	assert.Equal(t, "{\"phase\": \"active\"}\n", stdout)
	assert.Empty(t, stderr)
}

func TestStatusFailsWhenNobodyAnswersAsItShould(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := silent.Addr().String()
	require.NoError(t, silent.Close())
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	for _, bind := range []string{refused, stranger.Listener.Addr().String()} {
		code, stdout, stderr := called(nil, "status", "--http-bind", bind)
		assert.Equal(t, exitFailed, code)
		assert.Empty(t, stdout)
		assertOneLine(t, stderr, "asking the sidecar for its status")
	}
	code, _, stderr := called(nil, "status", "--nonsense")
	assert.Equal(t, exitUsage, code)
	assertOneLine(t, stderr, "-nonsense")
}
