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
	bind := map[string]string{"HTTP_BIND": ":" + port}
	for _, args := range [][]string{{"--output", "json"}, {"--output=json"}, {"-output", "json", "--log-level", "debug"}} {
		code, stdout, stderr := called(bind, append([]string{"status"}, args...)...)
		assert.Equal(t, exitStopped, code)
		assert.Equal(t, "{\"phase\": \"active\"}\n", stdout)
		assert.Empty(t, stderr)
	}
	for _, args := range [][]string{nil, {"--output", "text"}, {"--watch=false"}} {
		code, stdout, stderr := called(bind, append([]string{"status"}, args...)...)
		assert.Equal(t, exitStopped, code)
		assert.Contains(t, stdout, "Active, for 0s.\n")
		assert.NotContains(t, stdout, "\x1b", "it is no terminal")
		assert.Empty(t, stderr)
	}
}

func TestStatusOptionsThatAreNotAccepted(t *testing.T) {
	for _, args := range [][]string{{"--output", "yaml"}, {"--output="}, {"--watch=often"}} {
		code, stdout, stderr := called(nil, append([]string{"status"}, args...)...)
		assert.Equal(t, exitUsage, code, "%q", args)
		assert.Empty(t, stdout)
		assertOneLine(t, stderr, "is not accepted; accepted: ")
	}
	for _, key := range keyTexts() {
		for _, args := range [][]string{{"--output", key}, {"--watch=" + key}, {"--watch", key}} {
			code, stdout, stderr := called(nil, append([]string{"status"}, args...)...)
			assert.Equal(t, exitUsage, code)
			assert.NotContains(t, stdout+stderr, key[:8])
		}
	}
	code, _, stderr := called(nil, "run", "--watch")
	assert.Equal(t, exitUsage, code, "it is an option of status alone")
	assertOneLine(t, stderr, "-watch")
	code, stdout, _ := called(nil, "status", "--watch", "--help")
	assert.Equal(t, exitStopped, code)
	assert.Contains(t, stdout, "--watch (default false)")
}

func TestStatusFailsWhenNobodyAnswersAsItShould(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := silent.Addr().String()
	require.NoError(t, silent.Close())
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	babbler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	defer babbler.Close()
	for _, bind := range []string{refused, stranger.Listener.Addr().String(), babbler.Listener.Addr().String()} {
		code, stdout, stderr := called(nil, "status", "--http-bind", bind)
		assert.Equal(t, exitFailed, code)
		assert.Empty(t, stdout)
		assertOneLine(t, stderr, "asking the sidecar for its status")
	}
	code, _, stderr := called(nil, "status", "--nonsense")
	assert.Equal(t, exitUsage, code)
	assertOneLine(t, stderr, "-nonsense")
}
