package testenv

import (
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

// Faults stands between a client and the API server and lets requests fail.
type Faults struct {
	URL    string
	CAFile string

	mu       sync.Mutex
	plan     map[string][]int // by "METHOD resource", the codes still to come
	slow     time.Duration
	words    string
	requests []string
}

// Cut is the code that ends a connection without an answer.
const Cut = -1

// Faults starts one, which lets everything pass at first.
func (l *Lab) Faults(c *Cluster) (*Faults, error) {
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
	authority, err := l.Authority("faults") // without TLS no client would send a token
	if err != nil {
		return nil, err
	}
	f := &Faults{URL: "https://" + listener.Addr().String(), CAFile: authority.CAFile, plan: map[string][]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,                         // a watch
		ErrorLog:      log.New(io.Discard, "", 0), // the API server is stopped on purpose
	}
	server := &http.Server{Handler: f.through(proxy), ErrorLog: proxy.ErrorLog}
	go func() { _ = server.ServeTLS(listener, authority.CertFile, authority.KeyFile) }()
	l.atEnd(server.Close)
	return f, nil
}

// Fail lets the next requests with the method and the resource, as in "PATCH
// pods/status", fail with these codes, one after another.
func (f *Faults) Fail(what string, codes ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan[what] = append(f.plan[what], codes...)
}

// Slow lets every answer take so much longer.
func (f *Faults) Slow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = d
}

// Say sets the message of the failures.
func (f *Faults) Say(words string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.words = words
}

// Left returns the failures that nobody has met yet.
func (f *Faults) Left() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var left []string
	for what, codes := range f.plan {
		if len(codes) > 0 {
			left = append(left, fmt.Sprint(what, " ", codes))
		}
	}
	return strings.Join(left, ", ")
}

// Count returns how many requests with the method and the resource came by.
func (f *Faults) Count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if r == what {
			n++
		}
	}
	return n
}

// Requests returns what came by, other than watches.
func (f *Faults) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, r := range f.requests {
		if !strings.HasPrefix(r, "WATCH ") {
			out = append(out, r)
		}
	}
	return out
}

func (f *Faults) through(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := nameOf(r)
		f.mu.Lock()
		f.requests = append(f.requests, what)
		slow, code, words := f.slow, 0, f.words
		if codes := f.plan[what]; len(codes) > 0 {
			code, f.plan[what] = codes[0], codes[1:]
		}
		f.mu.Unlock()
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
			return
		}
		switch code {
		case 0:
			next.ServeHTTP(w, r)
		case Cut:
			panic(http.ErrAbortHandler)
		default:
			refuse(w, code, words)
		}
	})
}

// refuse answers as an API server does.
func refuse(w http.ResponseWriter, code int, words string) {
	reason := map[int]string{401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}[code]
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": "made to fail" + words, "code": code,
	})
}

// nameOf returns the method and the resource of a request: "PATCH pods/status".
func nameOf(r *http.Request) string {
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
