//go:build linux

package procid

import (
	"errors"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
)

// tcpSocket is a TCP socket as the kernel shows it.
type tcpSocket struct {
	local, remote netip.AddrPort // an IPv4-mapped address comes as IPv4
	state         uint8
	uid           uint32 // of the process that made it
	inode         uint64 // 0 while no process holds it
}

// The states that count (Linux include/net/tcp_states.h).
const (
	stateOpen    = 1  // ESTABLISHED
	stateOpening = 3  // SYN_RECV: the other side may take it for open
	stateListen  = 10 // LISTEN
)

func (s tcpSocket) found() bool { return s.local.IsValid() }

// open reports whether neither side has closed the connection.
func (s tcpSocket) open() bool { return s.state == stateOpen || s.state == stateOpening }

// taken reports whether a process holds it: before it is accepted, none does.
func (s tcpSocket) taken() bool { return s.inode != 0 }

// kernel shows the TCP sockets of this network namespace. To print its tables in
// /proc the kernel walks through the places of all connections that the node could
// have, some milliseconds even when there are none; asked for listeners alone it
// takes a hundredth of that. But it may not be willing, under gVisor or where a
// module is missing, and is then not asked again, since each time it might start
// modprobe.
type kernel struct {
	proc          string
	askListening  func(at []netip.AddrPort) ([]tcpSocket, error)
	askConnection func(local, remote netip.AddrPort) ([]tcpSocket, error)
	onlyTables    atomic.Bool // it is not willing
}

func newKernel() *kernel {
	return &kernel{proc: "/proc", askListening: askListening, askConnection: askConnection}
}

// listening returns the sockets that take connections to an address of at, whose
// port is the same: the ones on IPv4 where there are any, or else the ones on IPv6.
//
// Everybody in the pod may bind [::] or [::1] beside a Vault that listens on
// IPv4, with IPV6_V6ONLY, and must not look like a Vault that was restarted.
// The kernel gives such a socket no connection to an IPv4 address, but its
// tables do not tell it from one that takes both families. Beside one of those,
// the kernel refuses to bind a socket on IPv4 (net/ipv4/inet_connection_sock.c,
// inet_csk_get_port): where there is one on IPv4, no other takes IPv4.
func (k *kernel) listening(at []netip.AddrPort) ([]tcpSocket, error) {
	ask := func() ([]tcpSocket, error) { return k.askListening(at) }
	found, err := k.find(ask, func(s tcpSocket) bool {
		local := s.local.Addr()
		return s.state == stateListen && slices.ContainsFunc(at, func(to netip.AddrPort) bool {
			anyAddress := local.IsUnspecified() && (local.Is6() || to.Addr().Is4())
			return s.local.Port() == to.Port() && (local == to.Addr() || anyAddress)
		})
	})
	onIPv6 := func(s tcpSocket) bool { return s.local.Addr().Is6() }
	if slices.ContainsFunc(found, func(s tcpSocket) bool { return !onIPv6(s) }) {
		found = slices.DeleteFunc(found, onIPv6)
	}
	return found, err
}

// connection returns one end of a connection, the zero value where there is none.
func (k *kernel) connection(local, remote netip.AddrPort) (tcpSocket, error) {
	ask := func() ([]tcpSocket, error) { return k.askConnection(local, remote) }
	found, err := k.find(ask, func(s tcpSocket) bool {
		return s.state != stateListen && s.local == local && s.remote == remote
	})
	if err != nil || len(found) == 0 {
		return tcpSocket{}, err
	}
	return found[0], nil
}

// find returns the sockets that match, of those that the kernel names when asked, or
// of its tables.
func (k *kernel) find(ask func() ([]tcpSocket, error), match func(tcpSocket) bool) ([]tcpSocket, error) {
	if !k.onlyTables.Load() {
		found, err := ask()
		if err == nil {
			return slices.DeleteFunc(found, func(s tcpSocket) bool { return !match(s) }), nil
		}
		if !passes(err) {
			k.onlyTables.Store(true)
		}
	}
	var found []tcpSocket
	for _, table := range []string{"tcp", "tcp6"} {
		// Not thread-self: no thread of ours leaves the namespace of the others.
		err := eachRow(filepath.Join(k.proc, "self/net", table), func(s tcpSocket) {
			if match(s) {
				found = append(found, s)
			}
		})
		if err != nil && !(table == "tcp6" && errors.Is(err, fs.ErrNotExist)) { // booted with ipv6.disable=1
			return nil, err
		}
	}
	return found, nil
}

// passes reports whether the kernel lacked time or room, and nothing else.
func passes(err error) bool {
	for _, lack := range []error{syscall.EAGAIN, syscall.ENOBUFS, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}
