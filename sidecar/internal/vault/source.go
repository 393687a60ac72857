//go:build linux

package vault

import (
	"crypto/rand"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// fromNowhere binds the socket of a connection to this machine to an address of
// 127.0.0.0/8 that nobody can guess. Otherwise another process of the pod could
// bind sockets to Vault's port while Vault is away, and call from it each port that
// the kernel may give to this end: TCP then opens from both ends at once, and leads
// to that process whoever listens (RFC 9293, 3.5). IPv6 has one loopback address.
//
// A kernel that has only 127.0.0.1 refuses, and chooses the address as ever. The
// socket has been through prepare.
func fromNowhere(fd int, to netip.Addr) {
	if !to.Is4() || !to.IsLoopback() {
		return
	}
	from := [4]byte{127}
	for from == [4]byte{127} || from == [4]byte{127, 0, 0, 1} || from == to.As4() || from == [4]byte{127, 255, 255, 255} {
		_, _ = rand.Read(from[1:]) // never fails (crypto/rand)
	}
	_ = call(unix.SYS_BIND, fd, netip.AddrPortFrom(netip.AddrFrom4(from), 0))
}

// receiveBuffer bounds the bytes that the kernel keeps unread of a connection: it counts
// them as the container's memory, and would keep megabytes of what an intruder in the pod
// puts into one.
const receiveBuffer = 16 << 10

// prepare readies a socket for fromNowhere and connect. Its port is chosen as it is
// connected, and not as it is bound, when it would have to be free at every address.
func prepare(fd int) {
	_ = syscall.SetsockoptInt(fd, syscall.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
}
