package procid

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// Owner tells whether the process at the other end of a connection runs as a
// user. The kernel knows of each socket whose it is, and tells everybody in its
// network namespace. That another process of the same user, or root, takes
// Vault's place shows in nothing.
type Owner struct {
	uid  uint32
	proc string
	ask  func(local, remote netip.AddrPort) (end, error)
	// onlyTables is set when asking has failed; see Listener.sockets.
	onlyTables atomic.Bool
}

// end is one end of a TCP connection, as the kernel shows it.
type end struct {
	found bool
	open  bool   // neither side has closed it
	taken bool   // a process holds it; before it is accepted, none does
	uid   uint32 // whose that process is
}

// NewOwner returns the Owner for a user, as this process's user namespace counts
// them.
func NewOwner(uid uint32) *Owner { return &Owner{uid: uid, proc: "/proc", ask: askConnection} }

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
// listens may: all of those have to run as the user, and a second look makes
// sure that none had accepted it by then. The one in whose queue it waits was
// among them, for it is older than the connection.
func (o *Owner) checkTCP(local, remote netip.AddrPort) error {
	other, err := o.otherEnd(local, remote)
	if err != nil {
		return err
	}
	if other.taken {
		return o.judge(other.uid)
	}
	listen, err := o.listeners(remote)
	if err != nil {
		return unseen(err)
	}
	if other, err = o.otherEnd(local, remote); err != nil {
		return err
	}
	if other.taken {
		return o.judge(other.uid)
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
func (o *Owner) otherEnd(local, remote netip.AddrPort) (end, error) {
	other, err := o.connection(remote, local)
	if err != nil {
		return end{}, unseen(err)
	}
	if other.taken || other.open {
		return other, nil
	}
	own, err := o.connection(local, remote)
	switch {
	case err != nil:
		return end{}, unseen(err)
	case own.open && !other.found:
		return end{}, errors.New("whose process is at vault's address cannot be seen from this pod, and --vault-uid wants to know it: " +
			"take out what is between, or leave it to TLS to tell who that is")
	}
	return end{}, net.ErrClosed
}

// listeners returns who may accept a connection to an address.
func (o *Owner) listeners(at netip.AddrPort) ([]listed, error) {
	i := &Listener{hosts: []netip.Addr{at.Addr()}, port: at.Port(), proc: o.proc}
	i.ask = i.askKernel
	i.onlyTables.Store(o.onlyTables.Load())
	found, err := i.sockets()
	return found.chosen(), err
}

// connection looks for an end of a connection.
func (o *Owner) connection(local, remote netip.AddrPort) (end, error) {
	if !o.onlyTables.Load() {
		found, err := o.ask(local, remote)
		if err == nil {
			return found, nil
		}
		o.onlyTables.Store(true)
	}
	for _, name := range []string{"self/net/tcp", "self/net/tcp6"} {
		found, err := scanConnection(filepath.Join(o.proc, name), local, remote)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && name == "self/net/tcp6") || found.found {
			return found, err
		}
	}
	return end{}, nil
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
	also := ""
	if uid == unmapped {
		also = ", which may stand for any that has no number in this pod's user namespace,"
	}
	return fmt.Errorf("the process at vault's address runs as uid %d%s and --vault-uid says %d: "+
		"see whether another container has taken vault's port, or correct --vault-uid", uid, also, o.uid)
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
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
