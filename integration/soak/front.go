package soak

import (
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// proxy stands before Vault, counts, and can get in the way. It listens while Vault
// does and has a new socket for each process of Vault's, so that a restart shows
// as it does at Vault itself. A nil one does nothing: the world has none.
type proxy struct {
	URL     string
	address string
	target  *url.URL

	mu       sync.Mutex
	server   *http.Server // nil while it does not listen
	mode     frontMode
	r        *rand.Rand
	changed  chan struct{} // closed and replaced with the mode
	requests int
}

type frontMode string

const (
	frontPasses     frontMode = "passes"
	frontBreaks     frontMode = "breaks two connections in three"
	frontDelays     frontMode = "delays by up to 3 s"
	frontAnswers    frontMode = "answers, and Vault gets nothing"
	frontSaysSealed frontMode = "answers that Vault is sealed"
)

func newFront(v *testenv.Vault) (*proxy, error) {
	port, err := testenv.Port()
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(v.Addr)
	address := "127.0.0.1:" + port
	return &proxy{
		URL: "http://" + address, address: address, target: target,
		mode: frontPasses, changed: make(chan struct{}),
	}, err
}

func (p *proxy) up() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return nil
	}
	listener, err := testenv.ListenAgain(context.Background(), p.address)
	if err != nil {
		return err
	}
	transport := &http.Transport{}
	quiet := log.New(io.Discard, "", 0)
	reverse := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(p.target) },
		Transport:    transport,
		ErrorLog:     quiet,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = &http.Server{ErrorLog: quiet, Handler: p.handler(reverse)}
	p.server.RegisterOnShutdown(transport.CloseIdleConnections)
	go func(s *http.Server) { _ = s.Serve(listener) }(p.server)
	return nil
}

func (p *proxy) down() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		_ = p.server.Close()
		p.server = nil
	}
}

// set changes the mode, also for requests that wait.
func (p *proxy) set(mode frontMode, r *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.r = mode, r
	close(p.changed)
	p.changed = make(chan struct{})
}

// count returns the requests so far.
func (p *proxy) count() int {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *proxy) handler(vault http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests++
		mode, changed, number := p.mode, p.changed, 0
		if p.r != nil {
			number = p.r.IntN(3000)
		}
		p.mu.Unlock()
		switch {
		case mode == frontBreaks && number < 2000:
			panic(http.ErrAbortHandler)
		case mode == frontDelays:
			select {
			case <-time.After(time.Duration(number) * time.Millisecond):
			case <-changed:
			case <-r.Context().Done():
			}
		case mode == frontAnswers:
			answers[number%len(answers)](w)
			return
		case mode == frontSaysSealed:
			saySealed(w, r)
			return
		}
		vault.ServeHTTP(w, r)
	})
}

// answers are what proxies say that have nothing to say.
var answers = []func(w http.ResponseWriter){
	func(w http.ResponseWriter) {
		http.Error(w, "<html><h1>502 Bad Gateway</h1></html>", http.StatusBadGateway)
	},
	func(w http.ResponseWriter) { http.Error(w, "not here", http.StatusNotFound) },
	func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
	func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"sealed":`) },
	func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(http.StatusFound) },
	func(w http.ResponseWriter) { w.Header().Set("Content-Length", "99"); _, _ = io.WriteString(w, "{}") },
}

// saySealed lies about the state, and refuses the rest.
func saySealed(w http.ResponseWriter, r *http.Request) {
	const status = `{"type":"shamir","initialized":true,"sealed":true,"standby":true,` +
		`"t":1,"n":1,"progress":0,"version":"1.21.4"}`
	codes := map[string]int{
		"/v1/sys/health":      http.StatusServiceUnavailable,
		"/v1/sys/seal-status": http.StatusOK,
	}
	code := codes[r.URL.Path]
	if code == 0 {
		return
	}
	w.WriteHeader(code)
	_, _ = io.WriteString(w, status)
}
