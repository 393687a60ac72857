// Package web serves how Vault is: /healthz and /readyz for whoever probes, /status
// as JSON, a page for a person's browser on /, and the metrics. All of it comes from
// what was published last and never by asking anybody: it answers at once however
// long Vault hangs.
package web

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// bindEvery is the wait before a port that is taken is tried again.
const bindEvery = 2 * time.Second

// Config says where to listen and what to serve. All but Metrics is required.
type Config struct {
	Bind    string // host:port
	Latest  *status.Latest
	Log     hclog.Logger
	Metrics http.Handler // served to everybody on /metrics; nil: nothing is
}

// Server serves the newest of what was published.
type Server struct {
	Config
	again time.Duration // bindEvery
}

// New returns a server that does not listen yet.
func New(c Config) *Server { return &Server{c, bindEvery} }

// Run serves until ctx is done. A port that cannot be had is tried again, for
// ever: nothing else depends on it.
func (s *Server) Run(ctx context.Context) {
	said := false
	for ctx.Err() == nil {
		l, err := listen(ctx, s.Bind)
		if err == nil {
			s.Log.Info("http is served", "address", l.Addr().String())
			said = false
			err = s.serve(ctx, l)
		}
		if err != nil && !said && ctx.Err() == nil {
			said = true
			s.Log.Warn("http cannot be served, trying again", "address", s.Bind, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.again):
		}
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { word(w, s.Latest.Known().Stuck == 0) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		k := s.Latest.Known()
		word(w, k.Stuck == 0 && k.State.Phase.Serving())
	})
	mux.HandleFunc("GET /status", local(s.status))
	mux.HandleFunc("GET /{$}", local(s.page))
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	return mux
}

// word answers 200 "ok" or 503 "no": a stranger learns no more.
func word(w http.ResponseWriter, ok bool) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "ok\n"
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = "no\n"
	}
	_, _ = w.Write([]byte(text))
}

// local lets peers on 127.0.0.1 and ::1 through, which kubectl's port-forward
// and exec are. Other loopback addresses stay out: a service mesh brings
// strangers in from 127.0.0.6. The Host must be local too, or a web page could
// read the answer through the browser of somebody who forwards the port.
func local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !(peer == "127.0.0.1" || peer == "::1") || !(host == "localhost" || host == "127.0.0.1" || host == "::1" || host == "[::1]") {
			http.NotFound(w, r)
			return
		}
		next(w, r)
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	raw, _ := s.Latest.Known().Status(time.Now()).JSON()
	_, _ = w.Write(raw)
}
