//go:build linux

package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// expiries keeps until when the certificates last that a connection depends on, as
// of the newest handshake. Handshakes run side by side.
type expiries struct {
	mu     sync.Mutex
	server time.Time // Vault's, or the first to end of those that vouch for it
	client time.Time // ours
	newest time.Time // when the newest handshake was
}

const (
	// freshFor is how long a handshake tells which certificates are in use: they
	// are renewed under a connection that lasts.
	freshFor = time.Hour
	// handshakeLimit is how long one is waited for that serves no call.
	handshakeLimit = 30 * time.Second
)

// refresh makes a handshake beside the connection in use, when the last one is
// long ago. It ends no connection: a Vault that serves is not away because its
// certificate ran out.
func (c *Client) refresh() {
	if !c.dialer.expiries.due() {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeLimit)
		defer cancel()
		if conn, err := c.dialer.dialTLS(ctx, "tcp", net.JoinHostPort(hostPort(c.addr))); err == nil {
			_ = conn.Close()
		}
	}()
}

// due reports, once, that the newest handshake is long ago.
func (e *expiries) due() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.newest.IsZero() || time.Since(e.newest) <= freshFor {
		return false
	}
	e.newest = time.Now()
	return true
}

func (e *expiries) set(end *time.Time, to time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*end = to
}

// Certificates returns until when the certificates last that TLS with Vault
// depends on, as the newest handshake showed: Vault's with those that vouch for
// it, and our own. The zero time stands for none. A handshake that failed because
// Vault's certificate ran out counts.
func (c *Client) Certificates() (server, client time.Time) {
	e := c.dialer.expiries
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server, e.client
}

// verified notes the end of the chain that lasts longest.
func (e *expiries) verified(chains [][]*x509.Certificate) {
	e.set(&e.newest, time.Now())
	byEnd := func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }
	var last time.Time
	for _, chain := range chains {
		if end := slices.MinFunc(chain, byEnd).NotAfter; end.After(last) {
			last = end
		}
	}
	if !last.IsZero() {
		e.set(&e.server, last)
	}
}

// refused notes what a failed handshake says of Vault's certificate.
func (e *expiries) refused(err error) {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		e.set(&e.server, invalid.Cert.NotAfter)
	}
}

// errOwn marks that our own certificate could not be read.
var errOwn = errors.New("reading the client certificate")

// own reads our certificate for every handshake that asks for it, so that a
// renewed one needs no restart. While only half of it is renewed the pair does
// not match, which is an error until it does.
func (d *dialer) own(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if d.config.ClientCert == "" {
		return &tls.Certificate{}, nil // it is up to Vault whether that will do
	}
	pair, err := tls.LoadX509KeyPair(d.config.ClientCert, d.config.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOwn, err)
	}
	d.expiries.set(&d.expiries.client, pair.Leaf.NotAfter)
	return &pair, nil
}

// handshakeTrouble says what to do about a certificate that one of the two sides
// does not accept; nil when err is none of that.
func handshakeTrouble(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" { // crypto/tls: the alert of the other side
		text := printable(op.Err.Error())
		if strings.Contains(text, "certificate") || strings.Contains(text, "handshake failure") {
			return fmt.Errorf("vault does not accept our client certificate, or wants one (set --vault-client-cert and --vault-client-key, "+
				"or give vault a second listener, on loopback or a unix socket, that wants none): %s", text)
		}
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		const advice = "renew it, in vault or by its issuer; where vault itself issues it, give vault a second listener on loopback without TLS (--vault-addr)"
		if now := time.Now(); now.Before(invalid.Cert.NotBefore) {
			return fmt.Errorf("its certificate is not valid before %s, and it is %s now: see that the clock is right",
				invalid.Cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		return fmt.Errorf("its certificate ran out on %s: %s", invalid.Cert.NotAfter.UTC().Format(time.DateOnly), advice)
	}
	return nil
}
