package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	// readTimeout bounds the wait for a request, and with it the time for which
	// connections without one can keep others out.
	readTimeout = 2 * time.Second
	// maxOpen bounds the connections that are open at once. Each costs some
	// kilobytes, and one that is served the metrics 0.3 MB; the container is small,
	// and the kernel would kill it.
	maxOpen = 32
	// maxOfPeer bounds those of one address, so that a single pod cannot keep
	// Prometheus out.
	maxOfPeer = 8
	// drainTimeout bounds the wait for a peer to take its answer.
	drainTimeout = 2 * time.Second
	// receiveBuffer bounds the bytes of a peer that the kernel keeps unread: it counts
	// them as the container's memory, and would keep megabytes of each connection.
	receiveBuffer = 8 << 10
)

// listen lets connections in through the limits of this file.
func listen(ctx context.Context, bind string) (*limited, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if e := raw.Control(func(fd uintptr) { // its connections inherit it
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}); e != nil {
			return e
		}
		return os.NewSyscallError("setsockopt", err)
	}}
	c.SetMultipathTCP(false) // the end of a connection (drained) is TCP's
	l, err := c.Listen(ctx, "tcp", bind)
	if err != nil {
		return nil, err
	}
	return &limited{Listener: l, open: map[string]int{}}, nil
}

// serve answers what comes in through l until ctx is done.
func (s *Server) serve(ctx context.Context, l *limited) error {
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      10 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ConnState:         l.changed,
		ErrorLog:          s.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	l.stopping = ctx.Done()
	// Who asks does so once in seconds or minutes; idle connections only hold memory.
	server.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// limited accepts no more than maxOpen connections, and of one peer no more than
// maxOfPeer, and closes the others at once. It does not let them wait: they would
// queue before others', and whoever is turned away can come again.
type limited struct {
	net.Listener
	stopping <-chan struct{} // then no connection waits for its peer any more
	mu       sync.Mutex
	open     map[string]int // connections by the peer's address; never 0
	all      int
}

// Accept waits for a connection that there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := drained{accepted.(*net.TCPConn), l.stopping}
		if l.enter(peerOf(conn)) {
			return conn, nil
		}
		_ = conn.abort()
	}
}

// drained is a connection that is not closed before its peer has taken the answer: what a
// peer does not read the kernel would keep for minutes, in the container's memory, where
// no limit of ours counts it.
type drained struct {
	*net.TCPConn
	stopping <-chan struct{}
}

// Close waits for the peer, for drainTimeout at most.
func (c drained) Close() error {
	timeout := time.After(drainTimeout)
	// It is an error once the peer has broken it off.
	for pause := time.Millisecond; c.CloseWrite() == nil && c.unread() > 0; pause = min(2*pause, 100*time.Millisecond) {
		select {
		case <-c.stopping:
			return c.TCPConn.Close()
		case <-timeout:
			return c.abort()
		case <-time.After(pause):
		}
	}
	return c.TCPConn.Close()
}

// abort closes it at once, and the kernel keeps nothing of it.
func (c drained) abort() error {
	_ = c.SetLinger(0)
	return c.TCPConn.Close()
}

// unread is how many bytes the peer's kernel has not taken, its end among them.
func (c drained) unread() (count int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	if raw.Control(func(fd uintptr) { count, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }) != nil || err != nil {
		return 0
	}
	return count
}

func (l *limited) enter(peer string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxOpen || l.open[peer] >= maxOfPeer {
		return false
	}
	l.all++
	l.open[peer]++
	return true
}

// changed makes room when http.Server has closed a connection.
func (l *limited) changed(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed {
		return
	}
	peer := peerOf(conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[peer]--; l.open[peer] == 0 {
		delete(l.open, peer)
	}
}

func peerOf(conn net.Conn) string {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	return host
}
