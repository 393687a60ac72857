//go:build linux

package procid

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Owner tells whether the process at the other end of a connection runs as a
// user. The kernel knows of each socket whose it is, and tells everybody in its
// network namespace. That another process of the same user, or root, takes
// Vault's place shows in nothing.
type Owner struct {
	uid    uint32
	kernel *kernel
}

// NewOwner returns the Owner for a user, as this process's user namespace counts
// them.
func NewOwner(uid uint32) *Owner { return &Owner{uid: uid, kernel: newKernel()} }

// Check returns nil when who holds the other end of conn runs as the user. It
// returns net.ErrClosed when nobody holds it any more.
func (o *Owner) Check(conn net.Conn) error {
	if socket, ok := conn.(*net.UnixConn); ok {
		uid, err := peerOf(socket)
		if err != nil {
			return fmt.Errorf("the uid of the process at vault's socket cannot be seen, and --vault-uid wants to know it: %w", err)
		}
		return o.judge(uid)
	}
	local, remote := addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	if !local.IsValid() || !remote.IsValid() {
		return errors.New("--vault-uid is for a Vault that is reached over TCP or a Unix socket")
	}
	return o.checkTCP(local, remote)
}

// checkTCP looks at the other end. While no process has accepted it, whoever
// listens may: all of those have to run as the user. The one in whose queue it
// waits was among them, for it is older than the connection.
//
// That root has accepted it says nothing of who listens: for an AF_SMC socket of
// any user the kernel itself accepts (net/smc/af_smc.c, smc_tcp_listen_work).
func (o *Owner) checkTCP(local, remote netip.AddrPort) error {
	listen, err := o.kernel.listening([]netip.AddrPort{remote})
	if err != nil {
		return unseen(err)
	}
	other, err := o.otherEnd(local, remote)
	if err != nil {
		return err
	}
	if other.taken() {
		if err := o.judge(other.uid); err != nil || o.uid != 0 {
			return err
		}
	}
	if len(listen) == 0 {
		return net.ErrClosed
	}
	for _, l := range listen {
		if err := o.judge(l.uid); err != nil {
			return err
		}
	}
	return nil
}

// otherEnd returns the other end of a connection that is open.
func (o *Owner) otherEnd(local, remote netip.AddrPort) (tcpSocket, error) {
	other, err := o.kernel.connection(remote, local)
	if err != nil {
		return tcpSocket{}, unseen(err)
	}
	if other.taken() || other.open() {
		return other, nil
	}
	own, err := o.kernel.connection(local, remote)
	switch {
	case err != nil:
		return tcpSocket{}, unseen(err)
	case own.open() && !other.found():
		return tcpSocket{}, errors.New("whose process is at vault's address cannot be seen from this pod, and --vault-uid wants to know it: " +
			"take out what is between, or leave it to TLS to tell who that is")
	}
	return tcpSocket{}, net.ErrClosed
}

func unseen(err error) error {
	return fmt.Errorf("whose process is at vault's address cannot be seen, and --vault-uid wants to know it: %w", err)
}

// unmapped is what the kernel shows in the place of a user that the asking
// process's user namespace has no number for.
const unmapped = 65534

func (o *Owner) judge(uid uint32) error {
	if uid == o.uid {
		return nil
	}
	return OtherUserError{uid, o.uid}
}

// OtherUserError says that a process of another user is at the other end.
type OtherUserError struct{ UID, Want uint32 }

// Error is worded for Vault's end.
func (e OtherUserError) Error() string {
	also := ""
	if e.UID == unmapped {
		also = ", which may stand for any that has no number in this pod's user namespace,"
	}
	return fmt.Sprintf("the process at vault's address runs as uid %d%s and --vault-uid says %d: "+
		"see whether another container has taken vault's port, or correct --vault-uid", e.UID, also, e.Want)
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().WithZone("").Unmap(), at.Port())
}

// peerOf returns the user who made the socket that conn is connected to listen.
func peerOf(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var refused error
	err = raw.Control(func(fd uintptr) {
		cred, refused = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, refused); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
