//go:build linux

package vault

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// freeAddr returns an address without a listener.
func freeAddr(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// refusedClient returns a client whose Vault has just refused it.
func refusedClient(t *testing.T, url string, change ...func(*Config)) *Client {
	t.Helper()
	c := client(t, url, change...)
	_, err := c.SealStatus(t.Context())
	require.ErrorIs(t, err, unseal.ErrUnreachable)
	return c
}

// countingServer is a server at addr that counts its connections.
type countingServer struct {
	*httptest.Server
	opened, closed atomic.Int32
}

func listenAt(t *testing.T, addr string, a *authority) *countingServer {
	t.Helper()
	s := &countingServer{}
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	s.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: responds(200, sealedBody), ErrorLog: discardLog}}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.opened.Add(1)
		case http.StateClosed:
			s.closed.Add(1)
		}
	}
	if a != nil {
		s.TLS = a.config()
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func TestRefuses_RequestUsesTheConnectionThatSucceeded(t *testing.T) {
	a := newAuthority(t)
	for _, row := range []struct {
		sentence, scheme, host string
		looks                  bool // refuses is asked before
	}{
		{"on IPv4", "http", "127.0.0.1", true},
		{"on IPv6", "http", "::1", true},
		{"with TLS", "https", "127.0.0.1", true},
		{"without a look before", "http", "127.0.0.1", false},
		{"with TLS, without a look before", "https", "127.0.0.1", false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			addr := freeAddr(t, row.host)
			secure := func(c *Config) {
				if row.scheme == "https" {
					c.CACert, c.ServerName = a.file, serverName
				}
			}
			c := refusedClient(t, row.scheme+"://"+addr, secure)
			if row.looks {
				assert.True(t, c.refuses())
			}
			_, err := c.SealStatus(t.Context())
			require.ErrorIs(t, err, unseal.ErrUnreachable)
			assert.ErrorContains(t, err, "connection refused")

			trusted := a
			if row.scheme == "http" {
				trusted = nil
			}
			s := listenAt(t, addr, trusted)
			if row.looks {
				assert.False(t, c.refuses())
			}
			opened := int32(1)
			if row.looks && row.scheme == "http" {
				opened = 2 // the first led to the process that listened then
			}
			_, err = c.SealStatus(t.Context())
			require.NoError(t, err)
			assert.Equal(t, opened, s.opened.Load())
			assert.False(t, c.refuses(), "nothing is tried while it is reached")
			_, err = c.SealStatus(t.Context())
			require.NoError(t, err)
			assert.Equal(t, opened, s.opened.Load())
		})
	}
}

func TestRefuses_LocalhostCoversIPv4AndIPv6(t *testing.T) {
	_, port, err := net.SplitHostPort(freeAddr(t, "127.0.0.1"))
	require.NoError(t, err)
	c := refusedClient(t, "http://localhost:"+port)
	for _, host := range []string{"127.0.0.1", "::1"} {
		require.True(t, c.refuses(), host)
		s := listenAt(t, net.JoinHostPort(host, port), nil)
		assert.False(t, c.refuses(), host)
		_, err := c.SealStatus(t.Context())
		require.NoError(t, err, host)
		s.Close()
		require.Eventually(t, func() bool { _, err := c.SealStatus(t.Context()); return err != nil && c.refuses() }, waitTimeout, tick)
	}
	ipv6 := listenAt(t, net.JoinHostPort("::1", port), nil)
	ipv4 := listenAt(t, net.JoinHostPort("127.0.0.1", port), nil)
	_, err = c.SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, int32(1), ipv4.opened.Load(), "who listens on IPv4 is named before, too")
	assert.Zero(t, ipv6.opened.Load())
}

func TestRefuses_IsFalseForARemoteAddress(t *testing.T) {
	for _, addr := range []string{"https://192.0.2.1:8200", "https://vault.example:8200", "https://[fe80::1%25lo]:8200"} {
		t.Run(addr, func(t *testing.T) {
			assert.Empty(t, Loopback(addr))
			c := client(t, addr)
			c.dialer.away.Store(new(string))
			assert.False(t, c.refuses())
		})
	}
}

func TestRefuses_ClosesAnUnusedConnection(t *testing.T) {
	s := listenAt(t, "127.0.0.1:0", nil)
	c := client(t, s.URL)
	_, err := c.SealStatus(t.Context())
	require.NoError(t, err)
	addr := s.Listener.Addr().String()
	c.dialer.away.Store(&addr)
	assert.False(t, c.refuses())
	_, err = c.SealStatus(t.Context()) // on the first
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return s.opened.Load() == 2 && s.closed.Load() == 1 }, waitTimeout, tick)
}

// A listener that treats the connection of a request as the row defines.
func TestClient_ListenerThatDoesNotAnswer(t *testing.T) {
	for _, row := range []struct {
		sentence string
		then     func(*net.TCPConn)
		want     error
	}{
		{"is silent", func(*net.TCPConn) {}, context.Canceled},
		{"closes", func(c *net.TCPConn) { _ = c.Close() }, unseal.ErrUnreachable},
		{"resets", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, unseal.ErrUnreachable},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			addr := freeAddr(t, "127.0.0.1")
			c := refusedClient(t, "http://"+addr)
			l, err := net.Listen("tcp", addr)
			require.NoError(t, err)
			defer l.Close()
			require.False(t, c.refuses())
			looked, err := l.Accept()
			require.NoError(t, err)
			defer looked.Close()

			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { _, err := c.SealStatus(ctx); ended <- err }()
			conn, err := l.Accept()
			require.NoError(t, err)
			defer conn.Close()
			row.then(conn.(*net.TCPConn))
			if row.want == context.Canceled {
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(waitTimeout)))
				_, err = conn.Read(make([]byte, 1)) // the request has come
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, <-ended, row.want)
			}
			cancel()
			if row.want == context.Canceled {
				require.ErrorIs(t, <-ended, row.want)
			}
		})
	}
}

func TestRefuses_ListenerThatClosesAtOnce(t *testing.T) {
	addr := freeAddr(t, "127.0.0.1")
	c := refusedClient(t, "http://"+addr)
	for range 20 {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		require.False(t, c.refuses())
		require.NoError(t, l.Close())
		_, err = c.SealStatus(t.Context())
		require.ErrorIs(t, err, unseal.ErrUnreachable)
		_, err = c.SealStatus(t.Context())
		require.ErrorIs(t, err, unseal.ErrUnreachable)
		require.True(t, c.refuses())
	}
}

// A server that does not accept any more: the kernel drops what comes after its
// queue is full, and nothing is known at once.
func TestRefuses_FullBacklogIsNoRefusal(t *testing.T) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer syscall.Close(socket)
	require.NoError(t, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(socket)
	require.NoError(t, err)
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	c := refusedClient(t, "http://"+addr) // bound, and does not listen
	require.True(t, c.refuses())
	require.NoError(t, syscall.Listen(socket, 0))
	before := descriptors(t)
	for i := 0; ; i++ {
		require.Less(t, i, 100, "the queue does not fill")
		var fd reusable
		if err := fd.connectNow(c.dialer.near[0]); err != nil {
			require.ErrorIs(t, err, syscall.EALREADY)
			assert.Zero(t, fd)
			break
		}
		defer fd.close()
		before++
	}
	for range 10 {
		assert.False(t, c.refuses())
	}
	assert.Nil(t, c.dialer.kept.Swap(nil))
	assert.Less(t, descriptors(t), before+10)
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

func TestRefuses_LeaksNoFileDescriptor(t *testing.T) {
	addr := freeAddr(t, "127.0.0.1")
	c := refusedClient(t, "http://"+addr)
	before := descriptors(t)
	for i := range 10_000 {
		require.True(t, c.refuses())
		if i%20 == 0 {
			_, err := c.SealStatus(t.Context())
			require.ErrorIs(t, err, unseal.ErrUnreachable)
		}
	}
	assert.Less(t, descriptors(t), before+10)
}

// Some hundred of them a minute are the whole cost of waiting.
func TestRefuses_ReusesOneSocket(t *testing.T) {
	c := refusedClient(t, "http://"+freeAddr(t, "127.0.0.1"))
	require.True(t, c.refuses())
	first := c.dialer.refused[0]
	require.NotZero(t, first)
	require.True(t, c.refuses())
	assert.Equal(t, first, c.dialer.refused[0], "one socket is enough")
	assert.Less(t, testing.AllocsPerRun(100, func() { _ = c.refuses() }), 5.0)
}

// A port that the kernel gives to clients is sooner or later that of the socket
// that asks for it.
func TestRefuses_SelfConnectionIsARefusal(t *testing.T) {
	var addr string
	for addr == "" { // an even one, which it prefers for clients (net/ipv4/inet_hashtables.c)
		near, err := netip.ParseAddrPort(freeAddr(t, "::1")) // on IPv4 it is at another address
		require.NoError(t, err)
		if l, err := net.Listen("tcp", netip.AddrPortFrom(near.Addr(), near.Port()&^1).String()); err == nil {
			addr = l.Addr().String()
			require.NoError(t, l.Close())
		}
	}
	c := refusedClient(t, "http://"+addr)
	for range 100_000 {
		if !c.refuses() {
			require.Fail(t, "a process listens on "+addr)
		}
	}
}
