//go:build linux

package vault

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// ownNetwork is set where a test runs in a network namespace of its own.
const ownNetwork = "VAULT_TEST_OWN_NETWORK"

// loopbackUp gives a new network namespace its loopback addresses.
func loopbackUp() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		panic(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		panic(err)
	}
}

// inOwnNetwork runs the test in a network namespace of its own, in another
// process, and reports whether this is that one.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownNetwork) != "" {
		return true
	}
	c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), ownNetwork+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	}
	output, err := c.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "--- PASS: "+t.Name())
	return false
}

func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	require.NoError(t, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644))
}

func TestRefuses_NoFreeLocalPortIsNoRefusal(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	for i, row := range []struct{ host, listens string }{
		{"127.0.0.1", "127.0.0.1"}, {"localhost", "127.0.0.1"}, {"[::1]", "[::1]"}, {"localhost", "[::1]"},
	} {
		t.Run(row.host+" on "+row.listens, func(t *testing.T) {
			// Ports of its own: those of connections that have ended stay taken for a minute.
			first := 40000 + 10*i
			vault := strconv.Itoa(8200 + i)
			setSysctl(t, "ipv4/ip_local_port_range", fmt.Sprintf("%d %d", first, first+7))
			c := refusedClient(t, "http://"+row.host+":"+vault)
			require.True(t, c.refuses())
			s := listenAt(t, row.listens+":"+vault, nil)
			var held []net.Listener
			for port := first; port <= first+7; port++ {
				l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", row.listens, port))
				require.NoError(t, err)
				held = append(held, l)
			}
			before := descriptors(t)
			for range 20 {
				require.False(t, c.refuses(), "a process listens")
				_, err := c.SealStatus(t.Context())
				require.ErrorContains(t, err, "no local port is free")
				assert.ErrorContains(t, err, "unix://")
				assert.NotErrorIs(t, err, unseal.ErrUnreachable)
			}
			assert.Less(t, descriptors(t), before+10)
			for _, l := range held {
				require.NoError(t, l.Close())
			}
			require.False(t, c.refuses())
			_, err := c.SealStatus(t.Context())
			require.NoError(t, err)
			s.Close()
		})
	}
}

func TestRefuses_MissingAddressIsARefusal(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	setSysctl(t, "ipv6/conf/lo/disable_ipv6", "1")
	for _, host := range []string{"localhost", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			c := refusedClient(t, "http://"+host+":8200")
			assert.True(t, c.refuses())
			assert.Less(t, testing.AllocsPerRun(100, func() { _ = c.refuses() }), 8.0)
		})
	}
	s := listenAt(t, "127.0.0.1:8200", nil)
	_, err := client(t, strings.Replace(s.URL, "127.0.0.1", "localhost", 1)).SealStatus(t.Context())
	assert.NoError(t, err)
}

func TestPortless_DetectsThatNoLocalPortIsFree(t *testing.T) {
	failed := func(op, ip string, errno syscall.Errno) error {
		to := &net.TCPAddr{IP: net.ParseIP(ip), Port: 8200}
		return &net.OpError{Op: op, Net: "tcp", Addr: to, Err: os.NewSyscallError("connect", errno)}
	}
	for _, row := range []struct {
		err  error
		want bool
	}{
		{failed("dial", "127.0.0.1", syscall.EADDRNOTAVAIL), true},
		{failed("dial", "192.0.2.1", syscall.EADDRNOTAVAIL), true},
		{failed("dial", "2001:db8::1", syscall.EADDRNOTAVAIL), false},
		{failed("dial", "127.0.0.1", syscall.ECONNREFUSED), false},
		{failed("listen", "127.0.0.1", syscall.EADDRNOTAVAIL), false},
		{&net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: "/vault.sock"}, Err: syscall.EADDRNOTAVAIL}, false},
		{errors.New("connect: cannot assign requested address"), false},
	} {
		t.Run(row.err.Error(), func(t *testing.T) { assert.Equal(t, row.want, portless(row.err)) })
	}
}
