//go:build linux

package vault

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// The environment in which every test runs: whatever vault/api or net/http
// would take from it leads somewhere else.
var proxyRequests atomic.Int32

func TestMain(m *testing.M) {
	if os.Getenv(ownNetwork) != "" {
		loopbackUp()
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { proxyRequests.Add(1) }))
	for name, value := range map[string]string{
		"HTTP_PROXY": proxy.URL, "HTTPS_PROXY": proxy.URL, "http_proxy": proxy.URL, "https_proxy": proxy.URL, "ALL_PROXY": proxy.URL,
		"VAULT_PROXY_ADDR": proxy.URL, "VAULT_HTTP_PROXY": proxy.URL, "VAULT_ADDR": proxy.URL, "VAULT_AGENT_ADDR": proxy.URL,
		"VAULT_TOKEN": "s.fromtheenvironment", "VAULT_NAMESPACE": "from/the/environment", "VAULT_HEADERS": `{"X-From":"the environment"}`,
		"VAULT_MAX_RETRIES": "5", "VAULT_CLIENT_TIMEOUT": "1ms", "VAULT_SKIP_VERIFY": "true", "VAULT_TLS_SERVER_NAME": "from.the.environment",
		"VAULT_RATE_LIMIT": "0.001", "VAULT_SRV_LOOKUP": "true", "VAULT_DISABLE_REDIRECTS": "false", "VAULT_WRAP_TTL": "1h",
	} {
		_ = os.Setenv(name, value)
	}
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

// key is a share whose text is recognized anywhere.
func key() unseal.Share {
	b := make([]byte, 33)
	for i := range b {
		b[i] = byte(37*i + 101)
	}
	return unseal.NewShare(b)
}

func inHex(s unseal.Share) string { return string(s.AppendHex(nil)) }

// client returns a Client for the server at url.
func client(t *testing.T, url string, change ...func(*Config)) *Client {
	t.Helper()
	c := Config{Addr: url}
	for _, f := range change {
		f(&c)
	}
	got, err := New(c)
	require.NoError(t, err)
	return got
}

// calls are all that a Client can be asked.
var calls = map[string]func(*Client, context.Context) error{
	"SealStatus": func(c *Client, ctx context.Context) error { _, err := c.SealStatus(ctx); return err },
	"Health":     func(c *Client, ctx context.Context) error { _, err := c.Health(ctx); return err },
	"Unseal": func(c *Client, ctx context.Context) error {
		s := key()
		defer s.Wipe()
		_, err := c.Unseal(ctx, s)
		return err
	},
	"ReadStorage": func(c *Client, ctx context.Context) error { return c.ReadStorage(ctx) },
	"Rekey":       func(c *Client, ctx context.Context) error { _, err := c.Rekey(ctx); return err },
	"BeginRekey":  func(c *Client, ctx context.Context) error { _, err := c.BeginRekey(ctx); return err },
	"AuthorizeRekey": func(c *Client, ctx context.Context) error {
		s := key()
		defer s.Wipe()
		_, err := c.AuthorizeRekey(ctx, s, "a-rekeys-nonce")
		return err
	},
	"CancelRekey": func(c *Client, ctx context.Context) error { return c.CancelRekey(ctx, "a-rekeys-nonce") },
}

// server answers everything in one way, and keeps what it was asked.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(s.recording(answer))
	t.Cleanup(s.Close)
	return s
}

func (s *server) recording(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(w, r)
	}
}

func (s *server) requestCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func responds(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// hangsUntil answers nothing before release is closed.
func hangsUntil(release <-chan struct{}) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
}

// breaksConnection takes the connection and ends it in some way.
func breaksConnection(end func(conn *net.TCPConn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		end(conn.(*net.TCPConn))
		_ = conn.Close()
	}
}

func writesText(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) { _, _ = io.WriteString(conn, text) }
}

const sealedBody = `{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":2,"nonce":"a-nonce","version":"1.21.1","build_date":"x","migration":false}`

func TestSealStatus_ReadsEveryField(t *testing.T) {
	s := serve(t, responds(200, sealedBody))
	want := unseal.SealStatus{Initialized: true, Sealed: true, Type: "shamir", Threshold: 3, Shares: 5, Progress: 2, Nonce: "a-nonce"}
	got, err := client(t, s.URL).SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, "GET /v1/sys/seal-status", s.requests[0].Method+" "+s.requests[0].URL.String())

	share := key()
	got, err = client(t, s.URL+"/").Unseal(t.Context(), share)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, "PUT /v1/sys/unseal", s.requests[1].Method+" "+s.requests[1].URL.String())
	assert.JSONEq(t, `{"key":"`+inHex(key())+`"}`, s.bodies[1])
	assert.True(t, share.Equal(key()), "the share is the caller's")

	// What GetSealStatus of Vault 1.15 (vault/logical_system.go) answers under a cloud's KMS: the
	// type of the recovery keys, their number, and no progress.
	s.Config.Handler = responds(200, `{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":0,"nonce":"","version":"1.15.6","migration":false,"recovery_seal":true,"storage_type":"raft"}`)
	got, err = client(t, s.URL).SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, unseal.SealStatus{Initialized: true, Sealed: true, Type: "shamir", Threshold: 3, Shares: 5, Recovery: true, Raft: true}, got)

	s.Config.Handler = responds(200, `{"type":"awskms","initialized":true,"sealed":true,"migration":true,"removed_from_cluster":true}`)
	got, err = client(t, s.URL).SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, unseal.SealStatus{Initialized: true, Sealed: true, Type: "awskms", Migration: true, Removed: true}, got)
}

const healthBody = `{"initialized":true,"sealed":false,"standby":false}`

func TestHealth_FollowsTheStatusCode(t *testing.T) {
	for code, want := range map[int]unseal.Answer{
		200: unseal.AnswerActive,
		429: unseal.AnswerStandby, 472: unseal.AnswerStandby, 473: unseal.AnswerStandby, 474: unseal.AnswerStandby,
		503: unseal.AnswerSealed, 501: unseal.AnswerSealed, 530: unseal.AnswerSealed,
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := serve(t, responds(code, healthBody))
			got, err := client(t, s.URL).Health(t.Context())
			assert.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, "GET /v1/sys/health", s.requests[0].Method+" "+s.requests[0].URL.String())
			for _, body := range []string{"", "<html>", "{}", `{"status":"ok"}`, `{"sealed":false}`} {
				got, err := client(t, serve(t, responds(code, body)).URL).Health(t.Context())
				assert.ErrorIs(t, err, unseal.ErrNotVault, "%s: a proxy has this status too", body)
				assert.Equal(t, unseal.NoAnswer, got)
			}
			got, err = client(t, serve(t, responds(code, `{"errors":["context canceled"]}`)).URL).Health(t.Context())
			assert.Error(t, err)
			assert.Equal(t, unseal.NoAnswer, got)
		})
	}
	got, err := client(t, serve(t, responds(500, healthBody)).URL).Health(t.Context())
	assert.ErrorContains(t, err, "answered 500")
	assert.Equal(t, unseal.NoAnswer, got)
	got, err = client(t, serve(t, responds(500, `{"errors":["input/output error"]}`)).URL).Health(t.Context())
	assert.ErrorContains(t, err, "answered 500: input/output error")
	assert.NotErrorIs(t, err, unseal.ErrNotVault)
	assert.Equal(t, unseal.NoAnswer, got)
	for _, code := range []int{202, 204, 301, 302, 304, 307, 400, 403, 404, 500, 502} {
		t.Run(fmt.Sprint(code, " without a body"), func(t *testing.T) {
			got, err := client(t, serve(t, responds(code, "")).URL).Health(t.Context())
			assert.ErrorContains(t, err, fmt.Sprint("answered ", code))
			assert.Equal(t, unseal.NoAnswer, got)
		})
	}
}

func TestReadStorage_LooksUpARandomToken(t *testing.T) {
	s := serve(t, responds(403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`))
	c := client(t, s.URL)
	for range 3 {
		require.NoError(t, c.ReadStorage(t.Context()))
	}
	tokens := map[string]bool{}
	for _, r := range s.requests {
		assert.Equal(t, "GET /v1/auth/token/lookup-self", r.Method+" "+r.URL.String())
		token := r.Header.Get("X-Vault-Token")
		assert.Regexp(t, `^s\.[0-9a-f]{24}$`, token)
		tokens[token] = true
	}
	assert.Len(t, tokens, 3, "a token that was looked up before may come from a cache")
	require.NoError(t, calls["SealStatus"](client(t, serve(t, responds(200, sealedBody)).URL), t.Context()))

	for _, code := range []int{200, 204, 301, 400, 404, 429, 500, 503} {
		for _, body := range []string{"", `{"data":{"id":"s.1"}}`, "<html>"} {
			t.Run(fmt.Sprintf("%d %q", code, body), func(t *testing.T) {
				assert.Error(t, client(t, serve(t, responds(code, body)).URL).ReadStorage(t.Context()))
			})
		}
	}
}

// sealStatusBody returns the body of a seal status.
func sealStatusBody(t, n, progress int) string {
	return fmt.Sprintf(`{"type":"shamir","initialized":true,"sealed":true,"t":%d,"n":%d,"progress":%d}`, t, n, progress)
}

func TestSealStatus_AcceptsTheLargestSeal(t *testing.T) {
	got, err := client(t, serve(t, responds(200, sealStatusBody(255, 255, 254))).URL).SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []int{255, 255, 254}, []int{got.Threshold, got.Shares, got.Progress})
}

func TestClient_ClassifiesFailures(t *testing.T) {
	reset := func(conn *net.TCPConn) { _ = conn.SetLinger(0) }
	for _, row := range []struct {
		sentence string
		answer   http.HandlerFunc
		is       error
		message  string
	}{
		{"a connection closed before the answer", breaksConnection(func(*net.TCPConn) {}), unseal.ErrBroken, "broken"},
		{"a connection that is reset", breaksConnection(reset), unseal.ErrBroken, "broken"},
		{"an answer that breaks off in its head", breaksConnection(writesText("HTTP/1.1 200 OK\r\nContent-Type: x\r\n")), unseal.ErrBroken, "broken"},
		{"an answer that breaks off in its body", breaksConnection(writesText("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"type\":")), unseal.ErrBroken, "broken"},
		{"an error that breaks off in its body", breaksConnection(writesText("HTTP/1.1 500 X\r\nContent-Length: 500\r\n\r\n{\"errors\":")), unseal.ErrBroken, "broken"},
		{"something that is not HTTP", breaksConnection(writesText("220 mail.example ESMTP\r\n")), unseal.ErrNotVault, "no answer that is vault's"},
		{"a page of HTML with 200", responds(200, "<!doctype html><p>Welcome"), unseal.ErrNotVault, "not vault"},
		{"an empty 200", responds(200, ""), unseal.ErrNotVault, "not vault"},
		{"JSON that is not Vault's with 200", responds(200, `{"status":"ok"}`), unseal.ErrNotVault, "not vault"},
		{"nothing but braces with 200", responds(200, `{}`), unseal.ErrNotVault, "not vault"},
		{"half of a seal status with 200", responds(200, sealedBody[:50]), unseal.ErrNotVault, "not vault"},
		{"a list with 200", responds(200, `[]`), unseal.ErrNotVault, "not vault"},
		{"a threshold below 0", responds(200, sealStatusBody(-1, 1, 0)), unseal.ErrNotVault, "a seal of -1 of 1 shares"},
		{"a threshold that no seal has", responds(200, sealStatusBody(256, 5, 0)), unseal.ErrNotVault, "a seal of 256 of 5 shares"},
		{"a number of shares below 0", responds(200, sealStatusBody(3, -5, 0)), unseal.ErrNotVault, "not vault"},
		{"more shares than a seal has", responds(200, sealStatusBody(3, 256, 0)), unseal.ErrNotVault, "not vault"},
		{"less than no progress", responds(200, sealStatusBody(3, 5, -1)), unseal.ErrNotVault, "of which it has -1"},
		{"a threshold that is no number of ours", responds(200, `{"type":"shamir","t":9223372036854775808}`), unseal.ErrNotVault, "not vault"},
		{"invalid key", responds(400, `{"errors":["invalid key"]}`), unseal.ErrInvalidKey, ""},
		{"invalid key with a reason", responds(400, `{"errors":["invalid key: failed to decrypt keys from storage"]}`), unseal.ErrInvalidKey, ""},
		{"invalid key in the words of Vault's barrier", responds(400, `{"errors":["Unseal failed, invalid key"]}`), unseal.ErrInvalidKey, ""},
		{"invalid key in the words of Vault 1.21", responds(400, `{"errors":["unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: error decrypting seal wrapped value\nerror decrypting using seal shamir: cipher: message authentication failed"]}`), unseal.ErrInvalidKey, ""},
		{"a key that is too short for the cipher, in the words of Vault 1.21", responds(400, `{"errors":["invalid key: failed to setup unseal key: crypto/aes: invalid key size 20"]}`), unseal.ErrInvalidKey, ""},
		{"a cipher's own words are no verdict", responds(400, `{"errors":["crypto/aes: invalid key size 0"]}`), nil, "answered 400: crypto/aes: invalid key size 0"},
		{"a proxy's words are no verdict", responds(400, `{"errors":["upstream says: invalid key"]}`), nil, "answered 400: upstream says: invalid key"},
		{"invalid key with another code is no verdict", responds(500, `{"errors":["invalid key"]}`), nil, "answered 500: invalid key"},
		{"another 400 is no verdict", responds(400, `{"errors":["Vault is not initialized"]}`), nil, "answered 400: Vault is not initialized"},
		{"a 400 without a word", responds(400, ""), unseal.ErrNotVault, "answered 400"},
		{"a 400 that is no JSON", responds(400, "Client sent an HTTP request to an HTTPS server.\n"), unseal.ErrNotVault, "answered 400, this is not vault: Client sent an HTTP request to an HTTPS server."},
		{"a 404", responds(404, "404 page not found\n"), unseal.ErrNotVault, "answered 404, this is not vault: 404 page not found"},
		{"a 404 of Vault's", responds(404, `{"errors":[]}`), nil, "answered 404"},
		{"a 500", responds(500, `{"errors":["stat /vault/data/core/_seal-config: input/output error"]}`), nil, "answered 500: stat /vault/data/core/_seal-config: input/output error"},
		{"a 500 whose body is an unsealed status", responds(500, `{"type":"shamir","initialized":true,"sealed":false,"t":1,"n":1}`), unseal.ErrNotVault, "answered 500"},
		{"a 502 of a proxy", responds(502, "<html>bad gateway</html>"), unseal.ErrNotVault, "answered 502"},
		{"a 503 of a proxy in JSON", responds(503, `{"message":"no healthy upstream"}`), unseal.ErrNotVault, "answered 503"},
		{"a 504 with errors that are no texts", responds(504, `{"errors":[{"code":"upstream"}]}`), unseal.ErrNotVault, "answered 504"},
		{"a 204", responds(204, ""), unseal.ErrNotVault, "answered 204"},
		{"a redirect without a target", responds(301, ""), unseal.ErrNotVault, "answered 301"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			s := serve(t, row.answer)
			for _, name := range []string{"SealStatus", "Unseal"} {
				t.Run(name, func(t *testing.T) {
					before := s.requestCount()
					err := calls[name](client(t, s.URL), t.Context())
					require.Error(t, err)
					assert.Equal(t, row.is == unseal.ErrBroken, errorsIs(err, unseal.ErrUnreachable), "%v", err)
					for _, sentinel := range []error{unseal.ErrBroken, unseal.ErrNotVault, unseal.ErrInvalidKey} {
						assert.Equal(t, sentinel == row.is, errorsIs(err, sentinel), "%v is %v", err, sentinel)
					}
					assert.ErrorContains(t, err, row.message)
					assert.NotContains(t, err.Error(), s.URL, "the address is known")
					assert.NotContains(t, err.Error(), "\n")
					assert.Equal(t, 1, s.requestCount()-before, "one request for each call")
				})
			}
		})
	}
}

func TestClient_SendsOneRequestPerCall(t *testing.T) {
	for name, call := range calls {
		for _, code := range []int{412, 429, 500, 502, 503, 504} {
			t.Run(fmt.Sprintf("%s at %d", name, code), func(t *testing.T) {
				s := serve(t, responds(code, ""))
				_ = call(client(t, s.URL), t.Context())
				assert.Equal(t, 1, s.requestCount())
			})
		}
	}
}

// closedPort returns an address without a listener, and holds its port so
// that no other process can listen there.
func closedPort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	own, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", own.(*syscall.SockaddrInet4).Port)
}

func TestClient_RefusedConnectionIsUnreachable(t *testing.T) {
	addr := closedPort(t)
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			err := call(client(t, "http://"+addr), t.Context())
			assert.ErrorIs(t, err, unseal.ErrUnreachable)
			assert.ErrorContains(t, err, "refused")
		})
	}
}

func TestClient_CallEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, hangsUntil(release))
	defer close(release)
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			asked := s.requestCount()
			ended := make(chan error)
			go func() { ended <- call(client(t, s.URL), ctx) }()
			require.Eventually(t, func() bool { return s.requestCount() > asked }, waitTimeout, tick)
			cancel()
			assert.ErrorIs(t, <-ended, context.Canceled)
		})
	}
}

func TestClient_FollowsNoRedirect(t *testing.T) {
	target := serve(t, responds(200, sealedBody))
	for _, code := range []int{301, 302, 303, 307, 308} {
		for name, call := range calls {
			t.Run(fmt.Sprintf("%s at %d", name, code), func(t *testing.T) {
				s := serve(t, func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, target.URL+r.URL.Path, code)
				})
				err := call(client(t, s.URL), t.Context())
				assert.ErrorContains(t, err, fmt.Sprint("answered ", code))
				assert.Equal(t, 1, s.requestCount())
			})
		}
	}
	assert.Zero(t, target.requestCount(), "a redirect was followed")
}

func TestClient_IgnoresTheEnvironment(t *testing.T) {
	s := serve(t, responds(403, `{"errors":["permission denied"]}`))
	c := client(t, s.URL)
	for _, call := range calls {
		for range 2 {
			_ = call(c, t.Context())
		}
	}
	require.Equal(t, 2*len(calls), s.requestCount())
	for _, r := range s.requests {
		if !strings.HasSuffix(r.URL.Path, "lookup-self") {
			assert.NotContains(t, r.Header, "X-Vault-Token")
		}
		assert.NotContains(t, fmt.Sprint(r.Header), "environment")
		assert.NotContains(t, r.Header, "X-Vault-Namespace")
		assert.NotContains(t, r.Header, "X-Vault-Wrap-Ttl")
		assert.Equal(t, "true", r.Header.Get("X-Vault-Request"), "vault listeners may require it")
	}
}

// 0.0.0.0 connects to this machine, and is no loopback address to net/http,
// which exempts those from proxies.
func TestClient_UsesNoProxy(t *testing.T) {
	assert.Nil(t, (&dialer{}).transport().Proxy)
	a := newAuthority(t)
	s := a.serve(t, responds(200, sealedBody))
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	c := client(t, "https://0.0.0.0:"+port, func(c *Config) { c.CACert, c.ServerName = a.file, serverName })
	_, err = c.SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, s.requestCount())
	assert.Zero(t, proxyRequests.Load())
}

func TestClient_RedactsAKeyThatTheResponseRepeats(t *testing.T) {
	raw, text := func() (string, string) { s := inHex(key()); b, _ := hex.DecodeString(s); return string(b), s }()
	echoes := map[string]func(body string) string{
		"as it is":                    func(b string) string { return b },
		"in hex":                      func(string) string { return text },
		"in capital hex":              func(string) string { return strings.ToUpper(text) },
		"in base64":                   func(string) string { return base64.StdEncoding.EncodeToString([]byte(raw)) },
		"in base64 for URL":           func(string) string { return base64.URLEncoding.EncodeToString([]byte(raw)) },
		"within a word":               func(string) string { return "key=" + text + ";" },
		"escaped":                     func(b string) string { return fmt.Sprintf("%q", b) },
		"as part of a path":           func(string) string { return "/v1/" + base64.RawStdEncoding.EncodeToString([]byte(raw)) },
		"again and again":             func(string) string { return strings.Repeat(text, 10) },
		"shorter, of an AES-128 seal": func(string) string { return "got " + text[:32] },
	}
	for how, echo := range echoes {
		for _, code := range []int{200, 301, 400, 404, 500} {
			for form, body := range map[string]func(string) string{
				"as text":          func(e string) string { return e },
				"as Vault's error": func(e string) string { return fmt.Sprintf(`{"errors":[%q]}`, "cannot use "+e+" for anything") },
				"in a wrong type":  func(e string) string { return fmt.Sprintf(`{"type":"shamir","t":%q}`, e) },
			} {
				s := serve(t, func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					responds(code, body(echo(string(b))))(w, r)
				})
				for _, name := range []string{"Unseal", "AuthorizeRekey"} {
					t.Run(fmt.Sprintf("%s, %s, %s, %d", name, how, form, code), func(t *testing.T) {
						err := calls[name](client(t, s.URL), t.Context())
						require.Error(t, err)
						assertHidden(t, raw, err.Error(), "the error")
					})
				}
			}
		}
	}
	s := serve(t, breaksConnection(writesText("key "+text+"\r\n\r\n")))
	assertHidden(t, raw, calls["Unseal"](client(t, s.URL), t.Context()).Error(), "not HTTP")
}

// assertHidden fails when text shows eight bytes of the key.
func assertHidden(t *testing.T, raw, text, how string) {
	t.Helper()
	lower := strings.ToLower(text)
	for i := 0; i+8 <= len(raw); i++ {
		piece := raw[i : i+8]
		assert.NotContains(t, lower, hex.EncodeToString([]byte(piece)), how)
		assert.NotContains(t, text, base64.RawStdEncoding.EncodeToString([]byte(piece[:6])), how)
		assert.NotContains(t, text, base64.RawURLEncoding.EncodeToString([]byte(piece[:6])), how)
		assert.NotContains(t, text, piece, how)
	}
}

func TestPrintable_IsShortAndSafe(t *testing.T) {
	for _, row := range []struct{ sentence, text, want string }{
		{"a short text stays", "Vault is sealed", "Vault is sealed"},
		{"lines become one", "2 errors occurred:\n\t* permission denied\r\n\n", "2 errors occurred: * permission denied"},
		{"control characters go", "a\x1b[31mb\x00c", "a [31mb c"},
		{"bytes that are no character too", "a\x9b2Jb", "a\ufffd2Jb"},
		{"a path stays", "open /vault/data/core/hsm/_barrier-unseal-keys: input/output error", "open /vault/data/core/hsm/_barrier-unseal-keys: input/output error"},
		{"a nonce stays", "nonce 0b6a1a5c-1d2e-4f3a-8b4c-5d6e7f8a9b0c", "nonce 0b6a1a5c-1d2e-4f3a-8b4c-5d6e7f8a9b0c"},
		{"what could be a key goes", "key " + strings.Repeat("ab", 32) + " is bad", "key [...] is bad"},
		{"a long text is cut", strings.Repeat("word ", 100), strings.Repeat("word ", 40) + "..."},
		{"within a character too", strings.Repeat("ä", 150), strings.Repeat("ä", 100) + "..."},
	} {
		t.Run(row.sentence, func(t *testing.T) { assert.Equal(t, row.want, printable(row.text)) })
	}
}

func TestClient_LimitsTheResponseBody(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 64 {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
				return
			}
		}
	})
	_, err := client(t, s.URL).SealStatus(t.Context())
	assert.ErrorContains(t, err, "not vault")
}

func TestClient_CallsRunConcurrently(t *testing.T) {
	s := serve(t, responds(403, `{"errors":["permission denied"]}`))
	c := client(t, s.URL)
	var group sync.WaitGroup
	for _, call := range calls {
		for range 5 {
			group.Go(func() {
				for range 5 {
					_ = call(c, t.Context())
				}
			})
		}
	}
	group.Wait()
	assert.Equal(t, 5*5*len(calls), s.requestCount())
}

func TestLoopback_IsEmptyForAnAddressThatMayLieElsewhere(t *testing.T) {
	for addr, want := range map[string]string{
		"https://127.0.0.1":          "[127.0.0.1:443]",
		"http://[::ffff:127.0.0.1]":  "[127.0.0.1:80]",
		"http://127.8.9.10:8200/":    "[127.8.9.10:8200]",
		"https://[::1%25lo]:8200":    "[[::1]:8200]",
		"http://LocalHost:8200":      "[127.0.0.1:8200 [::1]:8200]",
		"https://localhost.:8200":    "[127.0.0.1:8200 [::1]:8200]",
		"https://10.0.0.1:8200":      "[]",
		"https://0.0.0.0:8200":       "[]",
		"https://[::]:8200":          "[]",
		"https://[::ffff:10.0.0.1]":  "[]",
		"https://[fe80::1%25lo]":     "[]",
		"https://vault.security.svc": "[]",
		"https://localhost.example":  "[]",
		"https://127.0.0.1.example":  "[]",
		"unix:///run/localhost:8200": "[]",
		"https://127.0.0.1:65536":    "[]",
		"https://127.0.0.1:https":    "[]",
	} {
		t.Run(addr, func(t *testing.T) { assert.Equal(t, want, fmt.Sprint(Loopback(addr))) })
	}
}

func TestCheckAddr_AcceptsHTTPSLoopbackAndUnixAddresses(t *testing.T) {
	for _, row := range []struct {
		addr string
		ok   bool
	}{
		{"http://127.0.0.1:8200", true},
		{"http://127.0.0.1:8200/", true},
		{"http://127.0.0.1", true},
		{"http://127.8.9.10:8200", true},
		{"http://[::1]:8200", true},
		{"http://localhost:8200", true},
		{"http://LOCALHOST:8200", true},
		{"HTTP://localhost:8200", true},
		{"http://localhost.:8200", true},
		{"http://[::1%25lo]:8200", true},
		{"https://vault.security.svc:8200", true},
		{"https://10.0.0.1:8200", true},
		{"https://vault", true},
		{"unix:///run/vault.sock", true},

		{"http://vault:8200", false},
		{"http://10.0.0.1:8200", false},
		{"http://0.0.0.0:8200", false},
		{"http://[::]:8200", false},
		{"http://localhost.example:8200", false},
		{"http://127.0.0.1.example:8200", false},
		{"http://127.0.0.1@vault:8200", false},
		{"https://user:password@vault:8200", false},
		{"https://vault:8200/v1", false},
		{"https://vault:8200?x=1", false},
		{"https://vault:8200?", false},
		{"https://vault:8200#x", false},
		{"https://vault:0", false},
		{"https://vault:65536", false},
		{"https://vault:port", false},
		{"https://:8200", false},
		{"https://", false},
		{"unix://run/vault.sock", false},
		{"unix:/run/vault.sock", false},
		{"unix://", false},
		{"ftp://127.0.0.1", false},
		{"//127.0.0.1:8200", false},
		{"127.0.0.1:8200", false},
		{"localhost:8200", false},
		{"vault", false},
		{"http://127.0.0.1:8200\n", false},
		{" http://127.0.0.1:8200", false},
		{"", false},
	} {
		t.Run(row.addr, func(t *testing.T) {
			err := CheckAddr(row.addr)
			assert.Equal(t, row.ok, err == nil, "%v", err)
			_, err = New(Config{Addr: row.addr})
			assert.Equal(t, row.ok, err == nil, "%v", err)
		})
	}
}
