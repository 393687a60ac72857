//go:build linux

package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// maxHeader bounds the header of an answer, in bytes; Vault's has some hundred.
const maxHeader = 32 << 10

// dialer opens connections, and tells when one breaks: that a Vault has died
// is known at once then, not at the next poll.
type dialer struct {
	config   Config
	socket   string // the path of a Unix socket; empty: Addr's host and port
	expiries *expiries
	near     []netip.AddrPort       // Addr, as far as it is of this machine and needs no name server
	away     atomic.Pointer[string] // what was dialed, since nobody could be reached there
	kept     atomic.Pointer[tied]   // for the next request
	refused  []reusable             // one for each of near
	secure   bool                   // Vault is called over TLS

	lookAgain time.Duration
}

func (d *dialer) transport() *http.Transport {
	return &http.Transport{
		// No proxy: a proxy would be shown the key.
		Proxy:               nil,
		DialContext:         d.dial,
		DialTLSContext:      d.dialTLS,
		MaxIdleConnsPerHost: 3,
		// A process that wakes for its connections does so for each. One is in use
		// each second; the others are of a time when answers were awaited.
		IdleConnTimeout:    10 * time.Second,
		DisableCompression: true,
		// Whoever answers in Vault's place could fill the memory with the 10 MB
		// that are the default.
		MaxResponseHeaderBytes: maxHeader,
	}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	// The address of the other end stays that of the socket for as long as it
	// lives: what is seen now holds for each request that it carries.
	if to := conn.RemoteAddr(); d.socket == "" && !isLoopback(to) {
		_ = conn.Close()
		return nil, withheld(fmt.Sprintf("%s led to %v, which is not this pod, and plain HTTP shows the key to a network: "+
			"see who changed /etc/hosts in the pod, or set --vault-addr to https", addr, to))
	}
	return d.watch(conn, conn), nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// dialTLS reads the CA file and the client certificate for every connection, so
// that a renewed one needs no restart.
func (d *dialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.config.ServerName, GetClientCertificate: d.own}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		config.ServerName = host
	}
	if d.config.CACert != "" {
		roots, err := d.roots()
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	conn, err := d.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		d.expiries.refused(err)
		return nil, err
	}
	d.expiries.verified(secure.ConnectionState().VerifiedChains)
	return d.watch(secure, conn), nil // outside: TLS says goodbye before its connection ends
}

// errTrust marks that it was not even tried whether Vault can be trusted.
var errTrust = errors.New("reading the CA certificates")

func (d *dialer) roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(d.config.CACert)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTrust, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: no PEM certificate in %s", errTrust, d.config.CACert)
	}
	return pool, nil
}

// watch watches conn, below which is a tied socket.
func (d *dialer) watch(conn net.Conn, below *tied) net.Conn {
	return &watchedConn{Conn: conn, socket: below.Conn, broken: d.config.Broken, trusts: d.config.Trusts}
}

// watchedConn reports that the other side ended the connection. Closing it from
// this side is no news. And it leaves no key behind, and shows none to whom it
// does not trust.
type watchedConn struct {
	net.Conn
	socket  net.Conn
	broken  func()                // may be nil
	trusts  func(net.Conn) error  // may be nil
	secret  atomic.Bool           // what is written next
	refused atomic.Pointer[error] // by trusts: nothing is written any more
}

// guarded marks the request that is made with the context it returns: it carries
// a key or a token. It is marked on the connection that the request has got,
// anew for each that it is tried on.
func guarded(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		got.Conn.(*watchedConn).secret.Store(true) // the dialer makes no others
	}})
}

func (w *watchedConn) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if refused := w.refused.Load(); refused != nil && err != nil {
		return n, *refused // net/http ends the connection for it, and tells either error
	}
	if w.broken != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)) {
		w.broken()
	}
	return n, err
}

// Write wipes what it has written. An io.Writer must not; but this one gets
// net/http's write buffer, which nobody reads after it was flushed, and which
// would keep the last key for as long as the connection lives.
//
// Whom the connection leads to is looked at just before a key goes out: it may
// have been opened long ago.
func (w *watchedConn) Write(b []byte) (int, error) {
	if w.secret.Swap(false) && w.trusts != nil {
		if err := untrusted(w.trusts(w.socket)); err != nil {
			w.refused.Store(&err)
		}
	}
	if refused := w.refused.Load(); refused != nil {
		return 0, *refused
	}
	n, err := w.Conn.Write(b)
	clear(b[:n])
	return n, err
}
