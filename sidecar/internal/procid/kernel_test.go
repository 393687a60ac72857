//go:build linux

package procid

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listenRaw listens at an address of either family, also where Go would choose the other; the
// port 0 is any. It returns the port.
func listenRaw(t *testing.T, family int, at netip.AddrPort) uint16 {
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if family == syscall.AF_INET {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	} else {
		require.NoError(t, syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 0))
		err = syscall.Bind(fd, &syscall.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	}
	require.NoError(t, err)
	require.NoError(t, syscall.Listen(fd, 1))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	if v4, is := name.(*syscall.SockaddrInet4); is {
		return uint16(v4.Port)
	}
	return uint16(name.(*syscall.SockaddrInet6).Port)
}

// Any process of the pod may listen at Vault's port, on other addresses of 127.0.0.0/8: a
// look at who listens must not grow with them.
func TestAskListening_NamesNoListenerAtOtherAddresses(t *testing.T) {
	vault := netip.MustParseAddr("127.0.0.1")
	port := listenRaw(t, syscall.AF_INET, netip.AddrPortFrom(vault, 0))
	for n := range byte(100) {
		listenRaw(t, syscall.AF_INET, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, 0, n}), port))
	}
	found, err := askListening([]netip.AddrPort{netip.AddrPortFrom(vault, port), netip.AddrPortFrom(netip.IPv6Loopback(), port)})
	require.NoError(t, err)
	assert.Len(t, found, 1)
}

func TestAskListening_NamesEachFormOfTheAddress(t *testing.T) {
	for sentence, row := range map[string]struct {
		family         int
		listens, asked string
	}{
		"one IPv4 address":           {syscall.AF_INET, "127.0.0.1", "127.0.0.1"},
		"every IPv4 address":         {syscall.AF_INET, "0.0.0.0", "127.0.0.1"},
		"one IPv6 address":           {syscall.AF_INET6, "::1", "::1"},
		"every address":              {syscall.AF_INET6, "::", "127.0.0.1"},
		"every address, over IPv6":   {syscall.AF_INET6, "::", "::1"},
		"an IPv4 address, in IPv6's": {syscall.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"},
	} {
		t.Run(sentence, func(t *testing.T) {
			port := listenRaw(t, row.family, netip.AddrPortFrom(netip.MustParseAddr(row.listens), 0))
			found, err := newKernel().listening([]netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(row.asked), port)})
			require.NoError(t, err)
			assert.Len(t, found, 1)
		})
	}
}

// That the kernel had no time or no memory once says nothing of the next time.
func TestKernel_IsAskedAgainAfterAPassingError(t *testing.T) {
	for sentence, row := range map[string]struct {
		err   error
		again bool
	}{
		"it did not answer in time":   {syscall.EAGAIN, true},
		"it has no buffer left":       {syscall.ENOBUFS, true},
		"it has no memory left":       {syscall.ENOMEM, true},
		"we have no descriptor left":  {syscall.EMFILE, true},
		"the node has none left":      {syscall.ENFILE, true},
		"it does not know the family": {syscall.ENOENT, false},
		"a filter refuses the call":   {syscall.EPERM, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			k := newKernel()
			asked := 0
			k.askListening = func([]netip.AddrPort) ([]tcpSocket, error) { asked++; return nil, row.err }
			for range 2 {
				_, err := k.listening([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
				require.NoError(t, err)
			}
			assert.Equal(t, row.again, asked == 2)
		})
	}
}
