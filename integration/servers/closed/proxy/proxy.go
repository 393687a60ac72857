// Package proxy puts a newer server's rule in front of a real Vault: which calls
// on the unseal key want a token, and which are closed for good. It is for
// tests, where that server cannot be built. Everything else passes as it is.
//
// The rules are those that the servers document:
//   - Vault 2.0 and later: https://developer.hashicorp.com/vault/docs/updates,
//     and https://developer.hashicorp.com/vault/docs/configuration,
//     enable_unauthenticated_access
//   - OpenBao 2.5 and later: https://openbao.org/docs/configuration/listener/tcp,
//     disable_unauthed_rekey_endpoints; and what takes the place of those calls,
//     https://openbao.org/api-docs/system/rotate/root and the pages beside it
package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Rule is which server's rule holds.
type Rule string

// The rules.
const (
	Open    Rule = "open"    // Vault before 2.0: nothing is closed
	Vault2  Rule = "vault2"  // 403 without a token that may
	OpenBao Rule = "openbao" // 405; sys/rotate/root/* with a token that may
)

// Rules lists the rules.
func Rules() []Rule { return []Rule{Open, Vault2, OpenBao} }

// Proxy is what stands in front of Vault.
type Proxy struct {
	Rule      Rule
	Vault     string          // its URL, http
	OnRequest func(r Request) // called before each request is judged; may be nil
}

// Request is a request as it came.
type Request struct {
	Method, Path string
	Token        bool // it has one
}

const (
	rekey        = "/v1/sys/rekey/"
	generateRoot = "/v1/sys/generate-root/"
	rotateRoot   = "/v1/sys/rotate/root/"
)

// Handler returns the proxy itself. A request that Vault does not answer is
// answered by a broken connection, never by a 502.
func (p Proxy) Handler() (http.Handler, error) {
	if !slices.Contains(Rules(), p.Rule) {
		return nil, fmt.Errorf("no such rule: %q; there are %v", p.Rule, Rules())
	}
	target, err := url.Parse(p.Vault)
	if err != nil || target.Scheme != "http" || target.Host == "" {
		return nil, fmt.Errorf("not vault's address: %q; accepted: http://HOST:PORT", p.Vault)
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}
	through := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	wrapped := *through
	wrapped.ModifyResponse = wrapInData
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.OnRequest != nil {
			p.OnRequest(Request{r.Method, strings.TrimPrefix(r.URL.Path, "/v1/"), token(r) != ""})
		}
		path := r.URL.Path
		keyed := strings.HasPrefix(path, rekey) || strings.HasPrefix(path, generateRoot)
		switch {
		case p.Rule == OpenBao && keyed:
			refuse(w, http.StatusMethodNotAllowed, "unsupported operation")
		case p.Rule == Vault2 && keyed && !p.authorized(r):
			refuse(w, http.StatusForbidden, "permission denied")
		case p.Rule == OpenBao && strings.HasPrefix(path, rotateRoot) && !p.authorized(r):
			refuse(w, http.StatusForbidden, "permission denied")
		case p.Rule == OpenBao && strings.HasPrefix(path, rotateRoot):
			r.URL.Path = rekey + strings.TrimPrefix(path, rotateRoot)
			moveNonceToBody(r)
			wrapped.ServeHTTP(w, r)
		default:
			through.ServeHTTP(w, r)
		}
	}), nil
}

// token returns the one that a request has (vault/http/handler.go).
func token(r *http.Request) string {
	if t := r.Header.Get("X-Vault-Token"); t != "" {
		return t
	}
	t, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return t
}

// authorized asks the real Vault whether the token of a request allows it. Where that
// cannot be found out, the connection breaks.
func (p Proxy) authorized(r *http.Request) bool {
	t := token(r)
	if t == "" {
		return false
	}
	body, err := json.Marshal(map[string]string{"path": strings.TrimPrefix(r.URL.Path, "/v1/")})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodPost, p.Vault+"/v1/sys/capabilities-self", bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	ask.Header.Set("X-Vault-Token", t)
	resp, err := http.DefaultClient.Do(ask)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	var answer struct {
		Capabilities []string `json:"capabilities"`
	}
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return false
	}
	needed := map[string]string{http.MethodGet: "read", http.MethodDelete: "delete"}[r.Method]
	if needed == "" {
		needed = "update"
	}
	return slices.Contains(answer.Capabilities, needed) || slices.Contains(answer.Capabilities, "root")
}

// moveNonceToBody puts what a DELETE has in its query into its body: those calls of
// OpenBao read the one (http/logical.go), and Vault's sys/rekey the other.
func moveNonceToBody(r *http.Request) {
	nonce := r.URL.Query().Get("nonce")
	if r.Method != http.MethodDelete || nonce == "" {
		return
	}
	body := fmt.Sprintf(`{"nonce":%q}`, nonce)
	r.URL.RawQuery, r.Body, r.ContentLength = "", io.NopCloser(strings.NewReader(body)), int64(len(body))
}

func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, "{\"errors\":[%q]}\n", text)
}

// wrapInData puts an answer of sys/rekey into data, where sys/rotate/root has it.
func wrapInData(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if len(bytes.TrimSpace(raw)) == 0 { // a DELETE: no data, no content
		raw = nil
		resp.StatusCode, resp.Status = http.StatusNoContent, "204 No Content"
	} else if raw, err = json.Marshal(map[string]any{
		"request_id": "00000000-0000-0000-0000-000000000000", "lease_id": "", "renewable": false, "lease_duration": 0,
		"data": json.RawMessage(raw), "wrap_info": nil, "warnings": nil, "auth": nil,
	}); err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	resp.ContentLength = int64(len(raw))
	resp.Header.Set("Content-Length", fmt.Sprint(len(raw)))
	return nil
}

// watchDuration is how long a connection may lie idle before Vault itself closes
// it: it waits ten seconds for the head of a request.
const watchDuration = 8 * time.Second

// Serve serves on addr while Vault listens, and only then: each run of Vault has
// a listening socket of its own here too. It ends with ctx.
func (p Proxy) Serve(ctx context.Context, addr string) error {
	handler, err := p.Handler()
	if err != nil {
		return err
	}
	vault := strings.TrimPrefix(p.Vault, "http://")
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", vault)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			_ = conn.Close()
			return err
		}
		server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(listener) }()
		waitForPeerExit(ctx, conn, vault)
		_ = server.Close()
	}
	return nil
}

// waitForPeerExit returns once the process at the other end of conn is gone, or ctx is
// done.
func waitForPeerExit(ctx context.Context, conn net.Conn, addr string) {
	for {
		end := context.AfterFunc(ctx, func() { _ = conn.Close() })
		_ = conn.SetReadDeadline(time.Now().Add(watchDuration))
		_, err := conn.Read(make([]byte, 1))
		end()
		var late net.Error
		alive := errors.As(err, &late) && late.Timeout()
		next, dialed := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		_ = conn.Close()
		if !alive || dialed != nil {
			if dialed == nil {
				_ = next.Close()
			}
			return
		}
		conn = next
	}
}
