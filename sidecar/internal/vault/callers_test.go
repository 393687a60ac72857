//go:build linux

package vault

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/procid"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// A process of the pod need not listen at Vault's port to be at the other end of a
// connection to it: it binds sockets there while Vault is away, and calls.

// waitFor waits for a condition.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, waitTimeout, tick, what)
}

// clientWithProcess is a client that knows who listens at its address.
func clientWithProcess(t *testing.T, host string) *Client {
	t.Helper()
	c, err := New(Config{Addr: "http://" + host, Process: procid.New(Loopback("http://" + host)).Process})
	require.NoError(t, err)
	return c
}

// boundSocket makes a socket that is bound to Vault's port and does not listen.
func boundSocket(t *testing.T, family int, to syscall.Sockaddr) (fd int) {
	t.Helper()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	if family == syscall.AF_INET6 {
		require.NoError(t, syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1))
	}
	require.NoError(t, syscall.Bind(fd, to))
	return fd
}

// pendingConnections returns the local addresses of the connections to Vault's
// port that a table of the kernel shows as not open yet.
func pendingConnections(t *testing.T, table string) (from []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/" + table)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], ":2008") && f[3] == "02" && !strings.HasSuffix(f[1], ":2008") {
			from = append(from, f[1])
		}
	}
	return from
}

// requestSealStatus asks for the seal status in the background and returns the
// channel of the result: an error or whether Vault is sealed.
func requestSealStatus(t *testing.T, c *Client) <-chan any {
	t.Helper()
	answer := make(chan any, 1)
	go func() {
		s, err := c.SealStatus(t.Context())
		if err != nil {
			answer <- err
			return
		}
		answer <- s.Sealed
	}()
	return answer
}

// receivedData reports whether any of the sockets has received data.
func receivedData(fds []int) bool {
	for _, fd := range fds {
		if n, _ := syscall.Read(fd, make([]byte, 1)); n > 0 {
			return true
		}
	}
	return false
}

func TestDialer_RejectsASimultaneousOpenFromTheOtherLoopback(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	const ports = 8
	setSysctl(t, "ipv4/ip_local_port_range", fmt.Sprintf("%d %d", 40000, 40000+ports-1))
	one := [16]byte{15: 1}
	var callers []int
	for port := range ports {
		fd := boundSocket(t, syscall.AF_INET6, &syscall.SockaddrInet6{Port: 8200, Addr: one})
		require.NoError(t, syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, 255)) // so that it stays
		require.ErrorIs(t, syscall.Connect(fd, &syscall.SockaddrInet6{Port: 40000 + port, Addr: one}), syscall.EINPROGRESS)
		callers = append(callers, fd)
	}
	answer := requestSealStatus(t, clientWithProcess(t, "localhost:8200"))
	waitFor(t, "a connection that is swallowed", func() bool { return len(pendingConnections(t, "tcp6")) > 0 })
	listenAt(t, "127.0.0.1:8200", nil)
	for _, fd := range callers {
		require.NoError(t, syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, 0))
	}
	select {
	case got := <-answer:
		if err, is := got.(error); is { // without a listener: the request is repeated at once
			assert.ErrorIs(t, err, unseal.ErrUnreachable)
		} else {
			assert.Equal(t, true, got)
		}
	case <-time.After(waitTimeout):
		assert.Fail(t, "no answer")
	}
	assert.False(t, receivedData(callers), "a request reached a process that does not listen")
}

func TestDialer_RejectsASimultaneousOpenWhenTheBacklogIsFull(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	at := func(ip [4]byte) syscall.Sockaddr { return &syscall.SockaddrInet4{Port: 8200, Addr: ip} }
	var callers []int
	for range 50 {
		callers = append(callers, boundSocket(t, syscall.AF_INET, at([4]byte{127, 0, 0, 1})))
	}
	vault := boundSocket(t, syscall.AF_INET, at([4]byte{}))
	require.NoError(t, syscall.Listen(vault, 0))
	for {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:8200", 100*time.Millisecond)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	answer := requestSealStatus(t, clientWithProcess(t, "127.0.0.1:8200"))
	called := map[string]bool{}
	waitFor(t, "callers to call back", func() bool {
		for _, from := range pendingConnections(t, "tcp") {
			if called[from] || len(called) == len(callers) {
				continue
			}
			ip, err := strconv.ParseUint(from[:8], 16, 32)
			require.NoError(t, err)
			port, err := strconv.ParseUint(from[9:], 16, 16)
			require.NoError(t, err)
			_ = syscall.Connect(callers[len(called)], &syscall.SockaddrInet4{Port: int(port),
				Addr: [4]byte{byte(ip), byte(ip >> 8), byte(ip >> 16), byte(ip >> 24)}})
			called[from] = true
		}
		return len(called) >= 1
	})
	select {
	case err := <-answer: // it was found out
		assert.ErrorIs(t, err.(error), unseal.ErrUnreachable)
	case <-time.After(waitTimeout):
		assert.Fail(t, "no answer")
	}
	assert.False(t, receivedData(callers), "a request reached a process that does not listen")
}

// Vault on IPv4 takes no more connections for now; at the other loopback address
// another process listens.
func TestDialer_LocalhostStaysOnTheLoopbackOfVault(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	vault := boundSocket(t, syscall.AF_INET, &syscall.SockaddrInet4{Port: 8200, Addr: [4]byte{127, 0, 0, 1}})
	require.NoError(t, syscall.Listen(vault, 0))
	for {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:8200", 100*time.Millisecond)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	other := listenAt(t, "[::1]:8200", nil)
	ctx, end := context.WithTimeout(t.Context(), 3*connectWithin) // for more than one try
	defer end()
	_, err := clientWithProcess(t, "localhost:8200").SealStatus(ctx)
	require.Error(t, err)
	assert.Zero(t, other.opened.Load(), "connections to another than Vault")
}

// Both ways to open a connection, each time from another address.
func TestDialer_ConnectsFromARandomLoopbackAddress(t *testing.T) {
	from := map[string]bool{}
	for range 10 {
		s := listenAt(t, "127.0.0.1:0", nil)
		conn, err := client(t, s.URL).dialer.connect(t.Context(), "tcp", s.Listener.Addr().String())
		require.NoError(t, err)
		from[conn.LocalAddr().(*net.TCPAddr).IP.String()] = true
		require.NoError(t, conn.Close())

		var r reusable
		require.NoError(t, r.connectNow(netip.MustParseAddrPort(s.Listener.Addr().String())))
		own, err := syscall.Getsockname(int(r))
		require.NoError(t, err)
		from[net.IP(own.(*syscall.SockaddrInet4).Addr[:]).String()] = true
		r.close()
	}
	assert.Len(t, from, 20)
	assert.NotContains(t, from, "127.0.0.1")
	for ip := range from {
		assert.True(t, net.ParseIP(ip).IsLoopback(), ip)
	}
}
