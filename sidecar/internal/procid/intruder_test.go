//go:build linux

package procid

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listenIPv6Only binds beside a listener of IPv4, which the kernel allows to
// any process in the pod.
func listenIPv6Only(t *testing.T, addr string) (net.Listener, error) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var refused error
		err := conn.Control(func(fd uintptr) {
			refused = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1)
		})
		return errors.Join(err, refused)
	}}
	server, err := config.Listen(t.Context(), "tcp", addr)
	if err == nil {
		t.Cleanup(func() { _ = server.Close() })
	}
	return server, err
}

func TestProcess_IgnoresAnIPv6ListenerBesideVault(t *testing.T) {
	for _, row := range []struct {
		sentence     string
		vault, other string
		hosts        []string
	}{
		{"every IPv6 address beside every IPv4 address", "0.0.0.0", "[::]", []string{"127.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.2", "localhost"}},
		{"every IPv6 address beside ours", "127.0.0.1", "[::]", []string{"127.0.0.1", "localhost"}},
		{"the other localhost beside every IPv4 address", "0.0.0.0", "[::1]", []string{"127.0.0.1", "localhost"}},
		{"the other localhost beside ours", "127.0.0.1", "[::1]", []string{"127.0.0.1", "localhost"}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			_, port := listen(t, "tcp4", row.vault+":0")
			names := func() (all []string) {
				for _, host := range row.hosts {
					all = append(all, process(t, host+":"+port))
				}
				return all
			}
			before := names()
			require.NotContains(t, before, "")

			other, err := listenIPv6Only(t, row.other+":"+port)
			require.NoError(t, err)
			assert.Equal(t, before, names(), "when it binds")
			require.NotEmpty(t, process(t, "[::1]:"+port), "it does listen")

			require.NoError(t, other.Close())
			assert.Equal(t, before, names(), "when it goes")
		})
	}
}

// Anybody in the pod may have thousands of them, and the kernel would print each.
func TestAskListening_LeavesOutIPv6BesideAListenerOnIPv4(t *testing.T) {
	_, port := listen(t, "tcp4", "0.0.0.0:0")
	_, err := listenIPv6Only(t, "[::]:"+port)
	require.NoError(t, err)
	for host, want := range map[string]string{"127.0.0.1": "0.0.0.0", "[::1]": "::"} {
		found, err := askListening([]netip.AddrPort{netip.MustParseAddrPort(host + ":" + port)})
		require.NoError(t, err)
		require.Len(t, found, 1, host)
		assert.Equal(t, want, found[0].local.Addr().String(), host)
	}
}

// The chart's default: one socket takes both families, and is all there is.
func TestProcess_DualStackListenerLeavesNoAddressFree(t *testing.T) {
	_, port := listen(t, "tcp", "[::]:0")
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		t.Run(host, func(t *testing.T) { assert.NotEmpty(t, process(t, host+":"+port)) })
	}
	for _, addr := range []string{"[::]:", "[::1]:", "127.0.0.1:", "0.0.0.0:"} {
		t.Run("listening at "+addr, func(t *testing.T) {
			_, err := net.Listen("tcp", addr+port)
			assert.ErrorIs(t, err, syscall.EADDRINUSE)
		})
	}
	_, err := listenIPv6Only(t, "[::]:"+port)
	assert.ErrorIs(t, err, syscall.EADDRINUSE)
}
