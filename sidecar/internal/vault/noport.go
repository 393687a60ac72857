package vault

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// noPort marks that no connection can be opened, whoever listens: connect(2) has
// found no port to give to this end of it.
type noPort struct{}

var errNoPort error = noPort{}

func (noPort) Error() string {
	return "no local port is free: another process of this pod holds them all; see which it is and end it, " +
		"or let vault listen on a Unix socket, which needs no port, and set --vault-addr to unix://"
}

// Unwrap returns the sentinel.
func (noPort) Unwrap() error { return unseal.ErrWithheld }

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
