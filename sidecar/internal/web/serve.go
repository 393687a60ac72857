package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// readTimeout bounds the wait for a request, and with it the time for which
	// connections without one can keep the kubelet's probes out.
	readTimeout = 2 * time.Second
	// maxOpen bounds the connections that are open at once. Each costs some
	// kilobytes, and the container is small: a peer that opens thousands would
	// have the kernel kill it. The kubelet needs two.
	maxOpen = 128
)

// serve answers what comes in through l until ctx is done.
func (s *Server) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      10 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          s.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	// The kubelet opens a connection for every probe; idle ones only hold memory.
	server.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(&limited{Listener: l}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// limited accepts no more than maxOpen connections and closes the others at
// once. It does not let them wait: they would queue before the kubelet's, and
// whoever is turned away can come again.
type limited struct {
	net.Listener
	open atomic.Int64
}

// Accept waits for a connection that there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxOpen {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_ = conn.Close()
	}
}

// counted is a connection that makes room when it is closed. http.Server
// closes one twice when it ends.
type counted struct {
	net.Conn
	leave func()
}

// Close closes the connection, and then makes room for another.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
