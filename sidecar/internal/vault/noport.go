//go:build linux

package vault

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNoPort: no connection can be opened, whoever listens: connect(2) has found no
// port to give to this end of it.
var errNoPort = withheld("no local port is free: another process of this pod holds them all; see which it is and end it, " +
	"or let vault listen on a Unix socket, which needs no port, and set --vault-addr to unix://")

// portless reports whether dialing failed for want of a local port. EADDRNOTAVAIL
// says also that there is no such address.
func portless(err error) bool {
	var op *net.OpError
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || !errors.As(err, &op) || op.Op != "dial" {
		return false
	}
	to, ok := op.Addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := to.AddrPort().Addr().Unmap()
	if !ip.IsLoopback() {
		return ip.Is4() // without IPv6 its addresses are not to be had either
	}
	return exists(ip)
}

// exists reports whether a loopback address is there: a socket can be bound to
// it, or could if a port were free.
func exists(ip netip.Addr) bool {
	fd, err := newSocket(ip)
	if err != nil {
		return false
	}
	defer syscall.Close(fd)
	errno := call(unix.SYS_BIND, fd, netip.AddrPortFrom(ip, 0))
	return errno == 0 || errno == syscall.EADDRINUSE
}
