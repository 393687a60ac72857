//go:build linux

package procid

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// user returns uid when the tests run as root, otherwise the user of the tests.
func user(uid int) int {
	if os.Geteuid() == 0 {
		return uid
	}
	return os.Geteuid()
}

var otherUID = user(1234)

// asUser runs f on a thread of its own that makes its sockets as a user.
func asUser(t *testing.T, uid int, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with it
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(uid), 0, 0)
		now, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, ^uintptr(0), 0, 0)
		if int(now) != uid {
			done <- fmt.Errorf("this thread makes its sockets as uid %d, not %d", now, uid)
			return
		}
		done <- f()
	}()
	return <-done
}

func listenAs(t *testing.T, uid int, network, addr string) (l net.Listener) {
	t.Helper()
	require.NoError(t, asUser(t, uid, func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func acceptAs(t *testing.T, uid int, l net.Listener) (conn net.Conn) {
	t.Helper()
	require.NoError(t, asUser(t, uid, func() (err error) {
		conn, err = l.Accept()
		return err
	}))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// checkBothWays checks over netlink and then with the kernel's tables.
func checkBothWays(t *testing.T, uid int, conn net.Conn, assertErr func(err error, how string)) {
	t.Helper()
	for _, onlyTables := range []bool{false, true} {
		o := NewOwner(uint32(uid))
		o.kernel.onlyTables.Store(onlyTables)
		err := o.Check(conn)
		assert.Equal(t, onlyTables, o.kernel.onlyTables.Load(), "the kernel could be asked")
		assertErr(err, fmt.Sprintf("uid %d, onlyTables %v", uid, onlyTables))
	}
}

func TestOwner_ChecksTheUserOfThePeer(t *testing.T) {
	for _, row := range []struct{ network, bound, host string }{
		{"tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"tcp6", "[::1]:0", "[::1]"},
		{"tcp", "[::]:0", "127.0.0.1"}, // of both families, as the chart's Vault
		{"tcp", "[::]:0", "[::1]"},
		{"tcp4", "0.0.0.0:0", "127.0.0.2"},
	} {
		t.Run(row.bound+" by "+row.host, func(t *testing.T) {
			l := listenAs(t, otherUID, row.network, row.bound)
			_, port, err := net.SplitHostPort(l.Addr().String())
			require.NoError(t, err)
			conn := dial(t, "tcp", row.host+":"+port)
			ends := func(whose string, uid int) {
				t.Helper()
				checkBothWays(t, uid, conn, func(err error, how string) { assert.NoError(t, err, "%s, %s", whose, how) })
				checkBothWays(t, uid+1, conn, func(err error, how string) {
					assert.ErrorContains(t, err, fmt.Sprintf("runs as uid %d and --vault-uid says %d", uid, uid+1), "%s, %s", whose, how)
				})
			}
			ends("it waits to be accepted", otherUID)
			another := user(4321)
			far := acceptAs(t, another, l)
			ends("a process of another user has accepted it", another)
			require.NoError(t, l.Close())
			ends("the listener is closed", another)

			require.NoError(t, far.Close())
			checkBothWays(t, another, conn, func(err error, how string) { assert.ErrorIs(t, err, net.ErrClosed, how) })
		})
	}
}

// The queue of a listener outlives no listener: who takes the port later has not
// got the connection.
func TestOwner_ClosedListenerIsAClosedConnection(t *testing.T) {
	l := listenAs(t, otherUID, "tcp4", "127.0.0.1:0")
	conn := dial(t, "tcp", l.Addr().String())
	require.NoError(t, l.Close())
	listenAs(t, user(100), "tcp4", l.Addr().String())
	checkBothWays(t, user(100), conn, func(err error, how string) { assert.ErrorIs(t, err, net.ErrClosed, how) })
}

// While the kernel is asked who listens, another process, in whose backlog the
// connection is, accepts it and closes its listener.
func TestOwner_FindsAPeerThatAcceptsDuringTheCheck(t *testing.T) {
	l := listenAs(t, otherUID, "tcp4", "127.0.0.1:0")
	conn := dial(t, "tcp", l.Addr().String())
	o := NewOwner(uint32(otherUID + 1))
	calls := 0
	o.kernel.askListening = func(at []netip.AddrPort) ([]tcpSocket, error) {
		found, err := askListening(at)
		if calls++; calls == 1 {
			acceptAs(t, otherUID, l)
			require.NoError(t, l.Close())
			listenAs(t, user(100), "tcp4", l.Addr().String())
		}
		return found, err
	}
	assert.ErrorContains(t, o.Check(conn), fmt.Sprintf("runs as uid %d", otherUID))
	assert.Equal(t, 1, calls)
}

// The kernel itself accepts what comes to an AF_SMC socket, as root, for whoever
// listens with it.
func TestOwner_RootIsWhoListensAsWell(t *testing.T) {
	local, remote := netip.MustParseAddrPort("127.0.0.1:40000"), netip.MustParseAddrPort("127.0.0.1:8200")
	listener := func(uid uint32) tcpSocket { return tcpSocket{local: remote, state: stateListen, uid: uid, inode: 11} }
	for _, row := range []struct {
		sentence string
		uid      uint32 // that --vault-uid says, and the other end has
		listen   []tcpSocket
		message  string // in the error; empty: none
	}{
		{"root accepts what root listens for", 0, []tcpSocket{listener(0)}, ""},
		{"root accepts what another listens for", 0, []tcpSocket{listener(1234)}, "runs as uid 1234 and --vault-uid says 0"},
		{"root accepts what no socket that shows listens for", 0, nil, net.ErrClosed.Error()},
		{"another accepts what root listens for", 100, []tcpSocket{listener(0)}, ""},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			o := NewOwner(row.uid)
			o.kernel.askListening = func([]netip.AddrPort) ([]tcpSocket, error) { return row.listen, nil }
			o.kernel.askConnection = func(local, remote netip.AddrPort) ([]tcpSocket, error) {
				return []tcpSocket{{local: local, remote: remote, state: stateOpen, uid: row.uid, inode: 12}}, nil
			}
			err := o.checkTCP(local, remote)
			if row.message == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, row.message)
		})
	}
}

// A full queue: the kernel has answered us, and has yet to open its own end.
func TestOwner_ChecksAConnectionInAFullBacklog(t *testing.T) {
	var socket int
	require.NoError(t, asUser(t, otherUID, func() (err error) {
		socket, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		return errors.Join(err, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(socket, 0))
	}))
	defer syscall.Close(socket)
	name, err := syscall.Getsockname(socket)
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 2 {
		conn, err := net.DialTimeout("tcp", addr, 200_000_000)
		if err != nil {
			break
		}
		defer conn.Close()
		checkBothWays(t, otherUID, conn, func(err error, how string) { assert.NoError(t, err, how) })
		checkBothWays(t, otherUID+1, conn, func(err error, how string) {
			assert.ErrorContains(t, err, fmt.Sprintf("runs as uid %d", otherUID), how)
		})
	}
}

func TestOwner_ChecksAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.sock")
	l := listenAs(t, os.Getuid(), "unix", path)
	defer l.Close()
	conn := dial(t, "unix", path)
	assert.NoError(t, NewOwner(uint32(os.Getuid())).Check(conn))
	assert.ErrorContains(t, NewOwner(uint32(os.Getuid()+1)).Check(conn), fmt.Sprintf("and --vault-uid says %d", os.Getuid()+1))
}

// What lies elsewhere, or behind something that changes addresses, is not known.
func TestOwner_RejectsARemoteOrUnknownPeer(t *testing.T) {
	l := listenAs(t, otherUID, "tcp4", "127.0.0.1:0")
	conn := dial(t, "tcp", l.Addr().String())
	o := NewOwner(uint32(otherUID))
	o.kernel.askConnection = func(local, remote netip.AddrPort) ([]tcpSocket, error) {
		if local == addrPort(conn.LocalAddr()) {
			return askConnection(local, remote)
		}
		return nil, nil
	}
	assert.ErrorContains(t, o.Check(conn), "cannot be seen from this pod")
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	assert.ErrorContains(t, NewOwner(uint32(otherUID)).Check(near), "over TCP or a Unix socket")
}

func TestOwner_ReadsTheTablesOnceNetlinkIsRefused(t *testing.T) {
	l := listenAs(t, otherUID, "tcp4", "127.0.0.1:0")
	conn := dial(t, "tcp", l.Addr().String())
	o := NewOwner(uint32(otherUID))
	asked := 0
	o.kernel.askConnection = func(netip.AddrPort, netip.AddrPort) ([]tcpSocket, error) { asked++; return nil, syscall.ENOENT }
	assert.NoError(t, o.Check(conn), "its tables do")
	assert.NoError(t, o.Check(conn))
	assert.Equal(t, 1, asked)
	o.kernel.proc = t.TempDir()
	assert.ErrorContains(t, o.Check(conn), "--vault-uid wants to know it")
}

func TestOwner_RejectsTheOverflowUser(t *testing.T) {
	assert.ErrorContains(t, NewOwner(100).judge(65534), "uid 65534, which may stand for any that has no number in this pod's user namespace, and")
}

func BenchmarkOwner(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	defer conn.Close()
	for _, accepted := range []bool{false, true} {
		b.Run(fmt.Sprintf("accepted=%t", accepted), func(b *testing.B) {
			if accepted {
				far, err := l.Accept()
				require.NoError(b, err)
				defer far.Close()
			}
			o := NewOwner(uint32(os.Getuid()))
			for b.Loop() {
				if err := o.Check(conn); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
