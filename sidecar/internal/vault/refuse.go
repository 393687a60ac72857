//go:build linux

package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AwaitListener looks whether somebody listens, and again after each pause, as long
// as it is certain that nobody does. It returns when that is certain no more, or ctx
// is done. One goroutine may call it at a time.
//
// A look costs a fiftieth of a call. With TLS, a connection that it opens carries
// the next SealStatus, so call that then: Vault would log one that ends without a
// handshake.
func (c *Client) AwaitListener(ctx context.Context, pause func() time.Duration) {
	p := newPauser()
	defer p.close()
	for ctx.Err() == nil && c.refuses() {
		p.pause(ctx, pause())
	}
}

// refuses reports whether it is certain, without waiting, that nobody listens. It
// reports false where that cannot be known at once: on an address that is not of
// this machine, or while connections queue up.
func (c *Client) refuses() bool {
	d := c.dialer
	if d.away.Load() == nil || len(d.near) == 0 {
		return false
	}
	for i, addr := range d.near {
		err := d.refused[i].connectNow(addr)
		switch {
		case err == nil && d.secure:
			d.keepSocket(d.refused[i].take())
			return false
		case err == nil: // to whom is not known
			d.refused[i].close()
			d.away.Store(nil)
			return false
		case !nobodyThere(err):
			return false
		}
	}
	return true
}

// reusable is a socket that was refused, with which connect(2) is tried again: to
// make it and to close it would cost nearly as much as that. Zero: none; no socket
// has the number of standard input.
type reusable int

// take hands the socket over.
func (r *reusable) take() (fd int) {
	fd, *r = int(*r), 0
	return fd
}

func (r *reusable) close() { _, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(r.take()), 0, 0) }

// nobodyThere tells an error of connectNow that is final. localhost may have no
// IPv6.
func nobodyThere(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.ENETUNREACH)
}

// keepSocket keeps an open socket for the next request.
func (d *dialer) keepSocket(fd int) {
	file := os.NewFile(uintptr(fd), "vault")
	defer file.Close()
	if conn, err := net.FileConn(file); err == nil {
		to, _ := d.listens() // of whom it only knows, by TLS, who it is
		d.keep(newTied(d, conn, to))
	}
}

// connectNow connects the socket without waiting, and makes it before where there
// is none. On the loopback the kernel has the answer when connect(2) returns, and
// the second call fetches it. It is left where it was connected or refused.
//
// None of the calls blocks, so they are made without Go's scheduler, which
// would wake a thread to watch each of them: that doubles the cost.
func (r *reusable) connectNow(to netip.AddrPort) error {
	if *r == 0 {
		fd, err := newSocket(to.Addr())
		if err != nil {
			return err
		}
		prepare(fd)
		*r = reusable(fd)
	}
	fd := int(*r)
	fromNowhere(fd, to.Addr())
	errno := connect(fd, to)
	if errno == syscall.EINPROGRESS {
		errno = connect(fd, to)
	}
	switch errno {
	case 0, syscall.EISCONN:
		if !connectedToItself(fd, to) {
			return nil
		}
		_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}) // or the port would be kept from Vault for a minute
		r.close()
		return syscall.ECONNREFUSED
	case syscall.ECONNREFUSED:
		return errno
	case syscall.EADDRNOTAVAIL:
		r.close()
		if exists(to.Addr()) {
			return errNoPort
		}
		return errno
	default:
		r.close()
		return errno
	}
}

func newSocket(ip netip.Addr) (fd int, err error) {
	family := syscall.AF_INET
	if ip.Is6() {
		family = syscall.AF_INET6
	}
	return syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
}

// connectedToItself reports whether the kernel happened to choose the port that
// nobody listens on as the socket's own, as it may where that is one of those it
// gives to clients: TCP then opens from both ends at once.
func connectedToItself(fd int, to netip.AddrPort) bool {
	switch own, _ := syscall.Getsockname(fd); own := own.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(own.Addr), uint16(own.Port)) == to
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(own.Addr), uint16(own.Port)) == to
	}
	return false
}

func connect(fd int, to netip.AddrPort) syscall.Errno { return call(unix.SYS_CONNECT, fd, to) }

// call makes a system call on a socket that takes an address.
func call(trap uintptr, fd int, addr netip.AddrPort) syscall.Errno {
	port := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, addr.Port())) // in the byte order of the network
	if addr.Addr().Is6() {
		raw := syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Port: port, Addr: addr.Addr().As16()}
		_, _, errno := syscall.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&raw)), unsafe.Sizeof(raw))
		return errno
	}
	raw := syscall.RawSockaddrInet4{Family: syscall.AF_INET, Port: port, Addr: addr.Addr().As4()}
	_, _, errno := syscall.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&raw)), unsafe.Sizeof(raw))
	return errno
}
