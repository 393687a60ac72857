//go:build linux

package vault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	waitTimeout = 10 * time.Second
	tick        = time.Millisecond
	serverName  = "vault.test"
)

var discardLog = log.New(io.Discard, "", 0)

func errorsIs(err, target error) bool { return errors.Is(err, target) }

// authority is a private CA, and the certificate it signed for serverName.
type authority struct {
	file string // of the CA certificate
	leaf tls.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	caKey, leafKey := newKey(t), newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caRaw, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{serverName}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafRaw, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	require.NoError(t, err)
	a := &authority{
		file: filepath.Join(t.TempDir(), "ca.pem"),
		leaf: tls.Certificate{Certificate: [][]byte{leafRaw}, PrivateKey: leafKey},
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caRaw})
	require.NoError(t, os.WriteFile(a.file, text, 0o600))
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func (a *authority) config() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.leaf}}
}

// serve is a server with the authority's certificate.
func (a *authority) serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.recording(answer))
	s.TLS = a.config()
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestDialer_VerifiesTheServerCertificate(t *testing.T) {
	right, wrong := newAuthority(t), newAuthority(t)
	s := right.serve(t, responds(200, sealedBody))
	for _, row := range []struct {
		sentence string
		config   Config
		message  string // in the error; empty: none
	}{
		{"the right CA and name", Config{CACert: right.file, ServerName: serverName}, ""},
		{"the wrong CA", Config{CACert: wrong.file, ServerName: serverName}, "not trusted"},
		{"no CA: the system's does not know it", Config{ServerName: serverName}, "not trusted"},
		{"the wrong name", Config{CACert: right.file, ServerName: "other.test"}, "not trusted"},
		{"no name: that of the address", Config{CACert: right.file}, "not trusted"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			for name, call := range calls {
				t.Run(name, func(t *testing.T) {
					before := s.requestCount()
					err := call(client(t, s.URL, func(c *Config) { c.CACert, c.ServerName = row.config.CACert, row.config.ServerName }), t.Context())
					if row.message == "" {
						assert.Equal(t, 1, s.requestCount()-before)
						assert.False(t, errorsIs(err, unseal.ErrUnreachable), "%v", err)
						return
					}
					assert.ErrorContains(t, err, row.message)
					assert.NotErrorIs(t, err, unseal.ErrUnreachable)
					assert.Equal(t, before, s.requestCount(), "a server that is not trusted was asked")
				})
			}
		})
	}
}

func TestClient_ReportsAServerWithoutTLS(t *testing.T) {
	s := serve(t, responds(200, sealedBody))
	s.Config.ErrorLog = discardLog
	_, err := client(t, "https://"+s.Listener.Addr().String()).SealStatus(t.Context())
	assert.ErrorContains(t, err, "does not speak TLS")
	assert.NotErrorIs(t, err, unseal.ErrUnreachable)
}

func TestDialer_ReadsTheCAFileForEveryConnection(t *testing.T) {
	right, wrong := newAuthority(t), newAuthority(t)
	s := right.serve(t, responds(200, sealedBody))
	file := filepath.Join(t.TempDir(), "ca.pem")
	put := func(a *authority) {
		text, err := os.ReadFile(a.file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file+".new", text, 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	put(wrong)
	c := client(t, s.URL, func(c *Config) { c.CACert, c.ServerName = file, serverName })
	_, err := c.SealStatus(t.Context())
	require.ErrorContains(t, err, "not trusted")

	put(right)
	_, err = c.SealStatus(t.Context())
	require.NoError(t, err)

	s.CloseClientConnections()
	put(wrong)
	assert.Eventually(t, func() bool { _, err = c.SealStatus(t.Context()); return err != nil }, waitTimeout, tick)
	assert.Eventually(t, func() bool {
		_, err = c.SealStatus(t.Context())
		return err != nil && !errorsIs(err, unseal.ErrUnreachable)
	}, waitTimeout, tick)
	assert.ErrorContains(t, err, "not trusted")

	require.NoError(t, os.Remove(file))
	_, err = c.SealStatus(t.Context())
	assert.ErrorContains(t, err, "CA certificates")
	assert.NotErrorIs(t, err, unseal.ErrUnreachable)
	require.NoError(t, os.WriteFile(file, []byte("no certificate"), 0o600))
	_, err = c.SealStatus(t.Context())
	assert.ErrorContains(t, err, "no PEM certificate")
}

func TestNew_RejectsAnUnusableCAFile(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, file := range []string{empty, dir, filepath.Join(dir, "missing.pem")} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := New(Config{Addr: "https://vault:8200", CACert: file})
			assert.ErrorContains(t, err, file)
		})
	}
}

// misdirectedConn is a connection whose name resolved to another address.
type misdirectedConn struct {
	net.Conn
	to net.Addr
}

func (c misdirectedConn) RemoteAddr() net.Addr { return c.to }

func TestClient_SendsPlainHTTPToLoopbackOnly(t *testing.T) {
	for _, row := range []struct {
		to    net.Addr
		stays bool
	}{
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8200}, true},
		{&net.TCPAddr{IP: net.IPv4(127, 8, 9, 10), Port: 8200}, true},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 8200}, true},
		{&net.TCPAddr{IP: net.IPv4(203, 0, 113, 5), Port: 8200}, false},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8::5"), Port: 8200}, false},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 8200}, false},
		{&net.UnixAddr{Name: "/tmp/x"}, false},
	} {
		for name, call := range calls {
			t.Run(fmt.Sprintf("%s to %v", name, row.to), func(t *testing.T) {
				s := serve(t, responds(403, `{"errors":["permission denied"]}`))
				c := client(t, s.URL)
				conn, err := net.Dial("tcp", s.Listener.Addr().String())
				require.NoError(t, err)
				conn = misdirectedConn{conn, row.to}
				c.dialer.keep(newTied(c.dialer, conn, ""))
				err = call(c, t.Context())
				if row.stays {
					assert.Equal(t, 1, s.requestCount())
					return
				}
				assert.ErrorContains(t, err, "led to "+row.to.String()+", which is not this pod")
				for _, sentinel := range []error{unseal.ErrUnreachable, unseal.ErrNotVault} {
					assert.NotErrorIs(t, err, sentinel)
				}
				assert.Zero(t, s.requestCount(), "something was sent")
				_, err = conn.Write([]byte("x"))
				assert.ErrorIs(t, err, net.ErrClosed)
			})
		}
	}
}

func TestTrusted_IsNobodyWhoDoesNotListen(t *testing.T) {
	s := serve(t, responds(200, sealedBody))
	c := client(t, s.URL, func(c *Config) { c.Trusts = func(net.Conn) error { return nil } })
	require.NoError(t, c.Trusted(t.Context()))
	s.Close()
	assert.ErrorIs(t, c.Trusted(t.Context()), unseal.ErrUnreachable)
}

// secretCalls are the calls that carry a key; Login carries a token.
var secretCalls = []string{"Unseal", "AuthorizeRekey", "Login"}

func withLogin(t *testing.T) map[string]func(*Client, context.Context) error {
	all := maps.Clone(calls)
	all["Login"] = func(c *Client, ctx context.Context) error {
		_, err := c.Login(ctx, loginAs(t, jwt))
		return err
	}
	return all
}

func TestTrusts_WithholdsKeysFromAnUntrustedProcess(t *testing.T) {
	a := newAuthority(t)
	for _, secure := range []bool{false, true} {
		s := serve(t, responds(200, sealedBody))
		if secure {
			s = a.serve(t, responds(200, sealedBody))
		}
		for name, call := range withLogin(t) {
			t.Run(fmt.Sprintf("%s, TLS %t", name, secure), func(t *testing.T) {
				var checked []string
				refuse := errors.New("the listener is not Vault")
				c := client(t, s.URL, func(c *Config) {
					c.Trusts = func(conn net.Conn) error {
						checked = append(checked, conn.RemoteAddr().String())
						return refuse
					}
					if secure {
						c.CACert, c.ServerName = a.file, serverName
					}
				})
				before := s.requestCount()
				err := call(c, t.Context())
				if !slices.Contains(secretCalls, name) {
					assert.Equal(t, before+1, s.requestCount(), "it carries nothing that is secret")
					assert.Empty(t, checked)
					return
				}
				_, _ = c.SealStatus(t.Context()) // leaves a connection that is used again
				again := call(c, t.Context())
				assert.Equal(t, before+1, s.requestCount(), "only the seal status was asked for")
				for _, err := range []error{err, again} {
					assert.ErrorIs(t, err, unseal.ErrWithheld)
					assert.ErrorContains(t, err, "the listener is not Vault; no key is sent")
					assert.NotErrorIs(t, err, unseal.ErrUnreachable)
				}
				assert.Subset(t, []string{s.Listener.Addr().String()}, checked)
				assert.ErrorIs(t, c.Trusted(t.Context()), unseal.ErrWithheld)

				refuse, checked = nil, nil
				_ = call(c, t.Context())
				_ = call(c, t.Context())
				assert.Len(t, checked, 2, "each time, on a connection that is used again too")
				assert.Equal(t, before+3, s.requestCount())
				assert.NoError(t, c.Trusted(t.Context()))
			})
		}
	}
}

// A peer that is gone means that Vault is unreachable, not that the process is untrusted.
func TestTrusts_ClosedPeerIsABrokenConnection(t *testing.T) {
	s := serve(t, responds(200, sealedBody))
	c := client(t, s.URL, func(c *Config) { c.Trusts = func(net.Conn) error { return net.ErrClosed } })
	assert.ErrorIs(t, calls["Unseal"](c, t.Context()), unseal.ErrBroken)
	assert.Zero(t, s.requestCount())
}

func TestBroken_IsCalledForEveryBrokenConnection(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", secure), func(t *testing.T) {
			var broken atomic.Int32
			count := func(c *Config) { c.Broken = func() { broken.Add(1) } }
			a := newAuthority(t)
			hold := make(chan struct{})
			answer := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/sys/health" {
					select {
					case <-hold:
					case <-r.Context().Done():
					}
				}
				responds(200, sealedBody)(w, r)
			}
			s := serve(t, answer)
			if secure {
				s = a.serve(t, answer)
			}
			c := client(t, s.URL, count, func(c *Config) {
				if secure {
					c.CACert, c.ServerName = a.file, serverName
				}
			})

			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { _, err := c.Health(ctx); ended <- err }()
			require.Eventually(t, func() bool { return s.requestCount() == 1 }, waitTimeout, tick)
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			_, err := c.SealStatus(t.Context()) // on a connection of its own
			require.NoError(t, err)
			assert.Zero(t, broken.Load(), "what we end ourselves did not break")

			s.CloseClientConnections()
			assert.Eventually(t, func() bool { return broken.Load() > 0 }, waitTimeout, tick, "an idle connection that the server ends broke")

			before := broken.Load()
			go func() { _, err := c.Health(t.Context()); ended <- err }()
			require.Eventually(t, func() bool { return s.requestCount() == 3 }, waitTimeout, tick)
			s.CloseClientConnections()
			assert.ErrorIs(t, <-ended, unseal.ErrUnreachable)
			assert.Greater(t, broken.Load(), before, "a call that waits broke")
			close(hold)
		})
	}
}

func TestClient_ReusesItsConnection(t *testing.T) {
	var opened atomic.Int32
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.recording(responds(200, sealedBody)))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := client(t, s.URL)
	for range 20 {
		for _, call := range calls {
			_ = call(c, t.Context())
		}
	}
	assert.Equal(t, int32(1), opened.Load())
}

func TestDialer_KeepsLittleOfWhatNobodyReads(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	d := &dialer{near: Loopback("http://" + l.Addr().String())}
	conn, err := d.open(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	peer, err := l.Accept()
	require.NoError(t, err)
	defer peer.Close()
	require.NoError(t, peer.(*net.TCPConn).SetWriteBuffer(4<<10))
	require.NoError(t, peer.SetWriteDeadline(time.Now().Add(time.Second)))
	sent, err := peer.Write(make([]byte, 1<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.LessOrEqual(t, sent, 4*receiveBuffer)
}

// net/http keeps its write buffer for as long as the connection lives.
func TestConn_WipesWrittenBytes(t *testing.T) {
	near, far := net.Pipe()
	got := make(chan string)
	go func() {
		b := make([]byte, 6)
		_, _ = io.ReadFull(far, b)
		_ = far.Close()
		got <- string(b)
	}()
	conn := (&dialer{}).watch(near, newTied(&dialer{}, near, ""))
	buffer := []byte("secret")
	n, err := conn.Write(buffer)
	require.NoError(t, err)
	assert.Equal(t, 6, n)
	assert.Equal(t, "secret", <-got)
	assert.Equal(t, make([]byte, 6), buffer)

	buffer = []byte("secret")
	n, err = conn.Write(buffer)
	assert.Error(t, err)
	assert.Zero(t, n)
	assert.Equal(t, "secret", string(buffer), "what was not written is not ours to wipe")
}
