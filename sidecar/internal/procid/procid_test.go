//go:build linux

package procid

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func listen(t *testing.T, network, addr string) (server net.Listener, port string) {
	t.Helper()
	server, err := net.Listen(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	_, port, err = net.SplitHostPort(server.Addr().String())
	require.NoError(t, err)
	return server, port
}

// listenerAt returns the Listener of a host:port; localhost is two addresses.
func listenerAt(t testing.TB, addr string) *Listener {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var at []netip.AddrPort
	for _, host := range hosts {
		to, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
		require.NoError(t, err)
		at = append(at, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	}
	return New(at)
}

func process(t *testing.T, addr string) string {
	t.Helper()
	identity := listenerAt(t, addr)
	asked, err := identity.Process()
	require.NoError(t, err)
	require.False(t, identity.kernel.onlyTables.Load(), "the kernel could not be asked")
	identity.kernel.onlyTables.Store(true)
	read, err := identity.Process()
	require.NoError(t, err)
	require.Equal(t, asked, read, "both ways give the same name")
	return asked
}

func TestProcess_NamesARealListener(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	for _, row := range []struct {
		sentence    string
		network     string
		bound       string
		reachable   []string
		unreachable []string
	}{
		{"on 127.0.0.1", "tcp4", "127.0.0.1:0", []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"}, []string{"[::1]", "127.0.0.2"}},
		{"on [::1]", "tcp6", "[::1]:0", []string{"[::1]", "localhost"}, []string{"127.0.0.1"}},
		{"on 0.0.0.0", "tcp4", "0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2", "localhost"}, []string{"[::1]"}},
		{"on [::]", "tcp", "[::]:0", []string{"127.0.0.1", "[::1]", "localhost"}, nil},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			server, port := listen(t, row.network, row.bound)
			for _, host := range row.reachable {
				assert.Regexp(t, "^"+strings.TrimSpace(string(boot))+`/[1-9]\d*$`, process(t, host+":"+port), host)
			}
			for _, host := range row.unreachable {
				assert.Empty(t, process(t, host+":"+port), host)
			}
			require.NoError(t, server.Close())
			for _, host := range row.reachable {
				assert.Empty(t, process(t, host+":"+port), host)
			}
		})
	}
}

func TestProcess_NewListenerHasANewName(t *testing.T) {
	first, port := listen(t, "tcp4", "127.0.0.1:0")
	before := process(t, "127.0.0.1:"+port)
	require.NotEmpty(t, before)

	// Connections come and go, and have sockets of the same port.
	client, err := net.Dial("tcp4", first.Addr().String())
	require.NoError(t, err)
	accepted, err := first.Accept()
	require.NoError(t, err)
	assert.Equal(t, before, process(t, "127.0.0.1:"+port))
	require.NoError(t, client.Close())
	require.NoError(t, accepted.Close())
	assert.Equal(t, before, process(t, "127.0.0.1:"+port))

	require.NoError(t, first.Close())
	listen(t, "tcp4", "127.0.0.1:"+port)
	after := process(t, "127.0.0.1:"+port)
	assert.NotEmpty(t, after)
	assert.NotEqual(t, before, after)
}

func BenchmarkProcess(b *testing.B) {
	for _, onlyTables := range []bool{false, true} {
		b.Run(fmt.Sprintf("onlyTables=%t", onlyTables), func(b *testing.B) {
			identity := listenerAt(b, "127.0.0.1:8200")
			identity.kernel.onlyTables.Store(onlyTables)
			for b.Loop() {
				_, _ = identity.Process()
			}
		})
	}
}
