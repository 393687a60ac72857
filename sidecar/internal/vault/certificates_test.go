//go:build linux

package vault

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// writeClientCertificate writes a self-signed client certificate that expires at ends.
func writeClientCertificate(t *testing.T, certFile, keyFile string, ends time.Time) *x509.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "sidecar"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return cert
}

func TestClientCertificate_IsReadForEveryConnection(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			a, dir := newAuthority(t), t.TempDir()
			certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
			ends := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
			trusted := x509.NewCertPool()
			trusted.AddCert(writeClientCertificate(t, certFile, keyFile, ends))
			s := &server{}
			s.Server = httptest.NewUnstartedServer(s.recording(responds(200, sealedBody)))
			s.TLS = &tls.Config{Certificates: []tls.Certificate{a.leaf}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted,
				MinVersion: version, MaxVersion: version}
			s.Config.ErrorLog = discardLog
			s.StartTLS()
			t.Cleanup(s.Close)
			trusting := func(c *Config) { c.CACert, c.ServerName = a.file, serverName }

			_, err := client(t, s.URL, trusting).SealStatus(t.Context())
			assert.ErrorContains(t, err, "--vault-client-cert")
			assert.ErrorContains(t, err, "second listener")
			assert.NotErrorIs(t, err, unseal.ErrUnreachable)

			c := client(t, s.URL, trusting, func(c *Config) { c.ClientCert, c.ClientKey = certFile, keyFile })
			_, err = c.SealStatus(t.Context())
			require.NoError(t, err)
			_, own := c.Certificates()
			assert.Equal(t, ends, own)

			// Half of it is renewed, then all, by an issuer that Vault does not know.
			s.CloseClientConnections()
			writeClientCertificate(t, certFile, filepath.Join(dir, "other.key"), ends)
			assert.Eventually(t, func() bool {
				_, err = c.SealStatus(t.Context())
				return errorsIs(err, unseal.ErrUnreachable) || err != nil
			}, waitTimeout, tick)
			assert.Eventually(t, func() bool { _, err = c.SealStatus(t.Context()); return !errorsIs(err, unseal.ErrUnreachable) }, waitTimeout, tick)
			assert.ErrorContains(t, err, "reading the client certificate")
			writeClientCertificate(t, certFile, keyFile, ends)
			_, err = c.SealStatus(t.Context())
			assert.ErrorContains(t, err, "does not accept our client certificate")
		})
	}
}

// issuer is a CA, and signs the certificate that a server shows.
type issuer struct {
	file   string // of the CA's certificate
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	served atomic.Pointer[tls.Certificate]
}

// renew has the server show a certificate that is valid from one time to another.
func (i *issuer) renew(t *testing.T, from, to time.Time) {
	t.Helper()
	key := newKey(t)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{serverName}, NotBefore: from, NotAfter: to}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, i.ca, key.Public(), i.key)
	require.NoError(t, err)
	i.served.Store(&tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key})
}

// serveWithValidity returns a server whose certificate is valid from one time to another.
func serveWithValidity(t *testing.T, from, to time.Time) (*issuer, *server) {
	t.Helper()
	key := newKey(t)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	require.NoError(t, err)
	i := &issuer{file: filepath.Join(t.TempDir(), "ca.pem"), ca: ca, key: key}
	require.NoError(t, os.WriteFile(i.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600))
	i.renew(t, from, to)
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.recording(responds(200, sealedBody)))
	s.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.served.Load(), nil }}
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return i, s
}

func TestServerCertificate_ReportsItsExpiry(t *testing.T) {
	now := time.Now().Truncate(time.Second).UTC()
	for _, row := range []struct {
		sentence string
		from, to time.Time
		message  string
	}{
		{"it lasts", now.Add(-time.Hour), now.Add(time.Hour), ""},
		{"it ran out", now.Add(-48 * time.Hour), now.Add(-24 * time.Hour), "its certificate ran out on " + now.Add(-24*time.Hour).Format(time.DateOnly) + ": renew it"},
		{"it is not valid yet", now.Add(24 * time.Hour), now.Add(48 * time.Hour), "see that the clock is right"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			a, s := serveWithValidity(t, row.from, row.to)
			c := client(t, s.URL, func(c *Config) { c.CACert, c.ServerName = a.file, serverName })
			_, err := c.SealStatus(t.Context())
			end, _ := c.Certificates()
			assert.Equal(t, row.to, end)
			if row.message == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, row.message)
			assert.NotErrorIs(t, err, unseal.ErrUnreachable)
			assert.Zero(t, s.requestCount(), "TLS stays verified")
		})
	}
}

// What is renewed under a connection that lasts is seen within the hour. One that
// ran out ends no connection: a Vault that serves goes on.
func TestServerCertificate_RenewalIsNoticed(t *testing.T) {
	now := time.Now().Truncate(time.Second).UTC()
	a, s := serveWithValidity(t, now.Add(-time.Hour), now.Add(time.Hour))
	c := client(t, s.URL, func(c *Config) { c.CACert, c.ServerName = a.file, serverName })
	ask := func() {
		t.Helper()
		_, err := c.SealStatus(t.Context())
		require.NoError(t, err)
	}
	ask()
	first := c.dialer.expiries.newest
	ask()
	assert.Equal(t, first, c.dialer.expiries.newest, "a connection serves many calls")

	ended := now.Add(-time.Minute)
	a.renew(t, now.Add(-time.Hour), ended)
	c.dialer.expiries.set(&c.dialer.expiries.newest, now.Add(-freshFor-time.Second))
	ask()
	assert.Eventually(t, func() bool { end, _ := c.Certificates(); return end.Equal(ended) }, waitTimeout, tick)
	ask()
}

func TestClient_ConnectsToAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.sock")
	c := client(t, "unix://"+path)
	_, err := c.SealStatus(t.Context())
	assert.ErrorIs(t, err, unseal.ErrUnreachable, "it is not there yet")

	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.recording(responds(200, sealedBody)))
	require.NoError(t, s.Listener.Close())
	s.Listener = listener
	s.Start()
	_, err = c.SealStatus(t.Context())
	require.NoError(t, err)
	s.Close()
	_, err = c.SealStatus(t.Context())
	assert.ErrorIs(t, err, unseal.ErrUnreachable, "a file without a listener")
}

// A file that may not be read is not taken for a socket that may not be used.
func TestClassify_NamesTheFileOrSocketWithoutPermission(t *testing.T) {
	file := &fs.PathError{Op: "open", Path: "/tls.key", Err: syscall.EACCES}
	dial := func(network string, errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", errno)}
	}
	for _, row := range []struct {
		sentence    string
		err         error
		message     string
		unreachable bool
	}{
		{"the client certificate's key", fmt.Errorf("%w: %w", errOwn, file), "reading the client certificate: open /tls.key: permission denied", false},
		{"the CA's file", fmt.Errorf("%w: %w", errTrust, file), "reading the CA certificates: open /tls.key: permission denied", false},
		{"the socket", dial("unix", syscall.EACCES), "the socket may not be used", false},
		{"the network, by a policy", dial("tcp", syscall.EPERM), "operation not permitted", true},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			err := classify(t.Context(), row.err)
			assert.ErrorContains(t, err, row.message)
			assert.Equal(t, row.unreachable, errorsIs(err, unseal.ErrUnreachable))
			if row.message != "the socket may not be used" {
				assert.NotContains(t, err.Error(), "socket")
			}
		})
	}
}
