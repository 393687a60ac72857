package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// APIProxy is a reverse proxy in front of the API server that can fail or delay
// requests and counts them.
type APIProxy struct {
	Endpoint

	mu       sync.Mutex
	failures map[string][]int // by "METHOD resource", the codes still to come
	failing  func(request string) int
	watches  context.Context // of all that are open
	cut      context.CancelFunc
	delay    time.Duration
	changed  chan struct{} // closed and replaced with the delay
	message  string
	requests []string
}

// Disconnect is the code that ends a connection without an answer.
const Disconnect = -1

// StartAPIProxy starts one that passes every request at first.
func (env *Env) StartAPIProxy(c *Cluster) (*APIProxy, error) {
	transport, err := rest.TransportFor(&rest.Config{Host: c.URL, TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile}})
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ca, err := env.NewCA("apiproxy") // without TLS no client would send a token
	if err != nil {
		return nil, err
	}
	p := &APIProxy{
		Endpoint: Endpoint{URL: "https://" + listener.Addr().String(), CAFile: ca.CAFile},
		failures: map[string][]int{},
		failing:  func(string) int { return 0 },
		changed:  make(chan struct{}),
	}
	p.watches, p.cut = context.WithCancel(context.Background())
	reverse := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,                         // a watch
		ErrorLog:      log.New(io.Discard, "", 0), // the API server is stopped on purpose
	}
	server := &http.Server{Handler: p.handler(reverse), ErrorLog: reverse.ErrorLog}
	go func() { _ = server.ServeTLS(listener, ca.CertFile, ca.KeyFile) }()
	env.addCleanup(server.Close)
	return p, nil
}

// Fail makes the next requests with this method and resource, as in "PATCH
// pods/status", fail with these status codes, one after another.
func (p *APIProxy) Fail(request string, codes ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures[request] = append(p.failures[request], codes...)
}

// FailWhile makes every request fail with the status code that code returns for it, until
// it is called again; 0 lets it pass.
func (p *APIProxy) FailWhile(code func(request string) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = code
}

// DropWatches ends all watches.
func (p *APIProxy) DropWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
	p.watches, p.cut = context.WithCancel(context.Background())
}

// SetDelay delays every response by d. Requests that are being delayed proceed at once.
func (p *APIProxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
	close(p.changed)
	p.changed = make(chan struct{})
}

// SetMessage sets the message of the failures.
func (p *APIProxy) SetMessage(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.message = message
}

// PendingFailures returns the failures that no request has met yet.
func (p *APIProxy) PendingFailures() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pending []string
	for request, codes := range p.failures {
		if len(codes) > 0 {
			pending = append(pending, fmt.Sprint(request, " ", codes))
		}
	}
	return strings.Join(pending, ", ")
}

// Requests returns all requests but watches.
func (p *APIProxy) Requests() []string { return p.received(false) }

// Watches returns the requests that began a watch.
func (p *APIProxy) Watches() []string { return p.received(true) }

func (p *APIProxy) received(watches bool) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, r := range p.requests {
		if strings.HasPrefix(r, "WATCH ") == watches {
			out = append(out, r)
		}
	}
	return out
}

func (p *APIProxy) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := requestName(r)
		p.mu.Lock()
		p.requests = append(p.requests, request)
		delay, code, message := p.delay, p.failing(request), p.message
		watches, changed := p.watches, p.changed
		if codes := p.failures[request]; len(codes) > 0 {
			code, p.failures[request] = codes[0], codes[1:]
		}
		p.mu.Unlock()
		select {
		case <-time.After(delay):
		case <-changed:
		case <-r.Context().Done():
			return
		}
		switch code {
		case 0:
			if strings.HasPrefix(request, "WATCH ") {
				ctx, cancel := context.WithCancel(r.Context())
				defer cancel()
				defer context.AfterFunc(watches, cancel)()
				r = r.WithContext(ctx)
			}
			next.ServeHTTP(w, r)
		case Disconnect:
			panic(http.ErrAbortHandler)
		default:
			writeStatus(w, code, message)
		}
	})
}

// writeStatus answers as an API server does.
func writeStatus(w http.ResponseWriter, code int, detail string) {
	reason := map[int]string{401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}[code]
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": "made to fail" + detail, "code": code,
	})
}

// requestName returns the method and the resource of a request: "PATCH pods/status".
func requestName(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	// api/v1/... or apis/GROUP/VERSION/..., then perhaps namespaces/NAME.
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return r.Method + " " + r.URL.Path
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	method := r.Method
	if r.URL.Query().Get("watch") != "" {
		method = "WATCH"
	} else if method == http.MethodGet && len(parts) == 1 {
		method = "LIST"
	}
	if len(parts) > 2 {
		return method + " " + parts[0] + "/" + parts[2]
	}
	return method + " " + parts[0]
}
