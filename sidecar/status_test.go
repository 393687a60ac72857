package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/web"
)

func TestStatusCommand_PrintsTheStatus(t *testing.T) {
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
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			code, stdout, stderr := runCommand(bind, append([]string{"status"}, args...)...)
			assert.Equal(t, exitStopped, code)
			assert.Contains(t, stdout, "  \"phase\": \"active\",\n")
			assert.Empty(t, stderr)
		})
	}
	for _, args := range [][]string{nil, {"--output", "text"}, {"--watch=false"}} {
		t.Run("as text: "+strings.Join(args, " "), func(t *testing.T) {
			code, stdout, stderr := runCommand(bind, append([]string{"status"}, args...)...)
			assert.Equal(t, exitStopped, code)
			assert.Contains(t, stdout, "Active, for 0s.\n")
			assert.NotContains(t, stdout, "\x1b", "it is no terminal")
			assert.Empty(t, stderr)
		})
	}
}

// serveStatus serves the real page at an address, and returns it with its port.
func serveStatus(t *testing.T, host string) string {
	t.Helper()
	free, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(free.Addr().String())
	require.NoError(t, err)
	require.NoError(t, free.Close())
	latest := status.NewLatest("v1")
	server := web.New(web.Config{Bind: net.JoinHostPort(host, port), Latest: latest, Log: hclog.NewNullLogger()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return net.JoinHostPort(host, port)
}

// The sidecar serves its status to local peers only, wherever it listens.
func TestStatusCommand_ReachesTheSidecarAtEachBindAddress(t *testing.T) {
	hosts := []string{"", "0.0.0.0", "::", "127.0.0.1", "127.0.0.2", "::1", "localhost"}
	own, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range own {
		if ip := a.(*net.IPNet).IP; ip.IsGlobalUnicast() {
			hosts = append(hosts, ip.String())
		}
	}
	for _, host := range hosts {
		t.Run(fmt.Sprintf("%q", host), func(t *testing.T) {
			bind := serveStatus(t, host)
			require.Eventually(t, func() bool {
				code, stdout, stderr := runCommand(nil, "status", "--http-bind", bind)
				if strings.Contains(stderr, "connection refused") {
					return false // not yet
				}
				assert.Equal(t, exitStopped, code, "%s", stderr)
				assert.Contains(t, stdout, "Starting, for ")
				return true
			}, 10*time.Second, time.Millisecond)
		})
	}
}

func TestDialSidecar_DialsFromLoopback(t *testing.T) {
	for bind, want := range map[string]string{
		":1": "127.0.0.1:1", "0.0.0.0:1": "127.0.0.1:1", "127.0.0.1:1": "127.0.0.1:1", "127.0.0.2:1": "127.0.0.2:1",
		"[::]:1": "127.0.0.1:1", "[::1]:1": "[::1]:1", "10.1.2.3:9810": "10.1.2.3:9810", "[fd00::1]:9810": "[fd00::1]:9810",
	} {
		t.Run(bind, func(t *testing.T) {
			_, err := dialSidecar(t.Context(), bind)
			var failed *net.OpError // nothing listens there
			require.ErrorAs(t, err, &failed)
			to, from := failed.Addr.(*net.TCPAddr), failed.Source.(*net.TCPAddr)
			assert.Equal(t, want, to.String())
			assert.True(t, from.IP.IsLoopback())
			assert.Equal(t, to.IP.To4() == nil, from.IP.To4() == nil, "of one family")
		})
	}
	_, err := dialSidecar(t.Context(), "no.such.host.invalid:9810")
	assert.ErrorContains(t, err, "no.such.host.invalid")
}

func TestStatusCommand_RejectsInvalidOptions(t *testing.T) {
	for _, args := range [][]string{{"--output", "yaml"}, {"--output="}, {"--watch=often"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			code, stdout, stderr := runCommand(nil, append([]string{"status"}, args...)...)
			assert.Equal(t, exitUsage, code)
			assert.Empty(t, stdout)
			assertOneLine(t, stderr, "is not accepted; accepted: ")
		})
	}
	for _, key := range keyTexts() {
		for _, args := range [][]string{{"--output", key}, {"--watch=" + key}, {"--watch", key}} {
			code, stdout, stderr := runCommand(nil, append([]string{"status"}, args...)...)
			assert.Equal(t, exitUsage, code)
			assert.NotContains(t, stdout+stderr, key[:8])
		}
	}
	code, _, stderr := runCommand(nil, "run", "--watch")
	assert.Equal(t, exitUsage, code, "it is an option of status alone")
	assertOneLine(t, stderr, "-watch")
	code, stdout, _ := runCommand(nil, "status", "--watch", "--help")
	assert.Equal(t, exitStopped, code)
	assert.Contains(t, stdout, "--watch (default false)")
}

func TestStatusCommand_FailsWithoutAValidAnswer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := silent.Addr().String()
	require.NoError(t, silent.Close())
	notFound := httptest.NewServer(http.NotFoundHandler())
	defer notFound.Close()
	notJSON := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	defer notJSON.Close()
	for sentence, bind := range map[string]string{
		"a refused connection": refused,
		"an error response":    notFound.Listener.Addr().String(),
		"no JSON":              notJSON.Listener.Addr().String(),
	} {
		t.Run(sentence, func(t *testing.T) {
			code, stdout, stderr := runCommand(nil, "status", "--http-bind", bind)
			assert.Equal(t, exitFailed, code)
			assert.Empty(t, stdout)
			assertOneLine(t, stderr, "asking the sidecar for its status")
		})
	}
	code, _, stderr := runCommand(nil, "status", "--nonsense")
	assert.Equal(t, exitUsage, code)
	assertOneLine(t, stderr, "-nonsense")
}
