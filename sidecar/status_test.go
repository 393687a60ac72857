package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/web"
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
		assert.Contains(t, stdout, "  \"phase\": \"active\",\n")
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

// serving serves the real page at an address, and returns it with its port.
func serving(t *testing.T, host string) string {
	t.Helper()
	free, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(free.Addr().String())
	require.NoError(t, err)
	require.NoError(t, free.Close())
	server := web.New(web.Config{Bind: net.JoinHostPort(host, port), Version: "v1", Log: hclog.NewNullLogger()})
	server.Turned = func() time.Duration { return 0 }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return net.JoinHostPort(host, port)
}

// The sidecar tells local peers alone, wherever it listens.
func TestStatusAsksWhereTheSidecarListens(t *testing.T) {
	hosts := []string{"", "0.0.0.0", "::", "127.0.0.1", "127.0.0.2", "::1", "localhost"}
	own, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range own {
		if ip := a.(*net.IPNet).IP; ip.IsGlobalUnicast() {
			hosts = append(hosts, ip.String())
		}
	}
	for _, host := range hosts {
		bind := serving(t, host)
		require.Eventually(t, func() bool {
			code, stdout, stderr := called(nil, "status", "--http-bind", bind)
			if strings.Contains(stderr, "connection refused") {
				return false // not yet
			}
			assert.Equal(t, exitStopped, code, "%s: %s", bind, stderr)
			assert.Contains(t, stdout, "Starting, for ", bind)
			return true
		}, 10*time.Second, time.Millisecond, bind)
	}
}

func TestWhereStatusAsks(t *testing.T) {
	for bind, want := range map[string]string{
		":9810": "127.0.0.1:9810", "0.0.0.0:9810": "127.0.0.1:9810", "127.0.0.1:1": "127.0.0.1:1", "127.0.0.2:1": "127.0.0.2:1",
		"[::]:9810": "[::1]:9810", "[::1]:9810": "[::1]:9810", "10.1.2.3:9810": "10.1.2.3:9810", "[fd00::1]:9810": "[fd00::1]:9810",
	} {
		to, from, err := statusAt(t.Context(), bind)
		require.NoError(t, err)
		assert.Equal(t, want, to.String(), bind)
		assert.True(t, from.IP.IsLoopback(), bind)
		assert.Equal(t, to.IP.To4() == nil, from.IP.To4() == nil, "%s: of one family", bind)
	}
	_, _, err := statusAt(t.Context(), "no.such.host.invalid:9810")
	assert.ErrorContains(t, err, "no.such.host.invalid")
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
