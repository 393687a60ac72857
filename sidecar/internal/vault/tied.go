//go:build linux

package vault

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain is how often it is looked who listens while an answer is awaited.
const lookAgain = 3 * time.Second

// errMoved ends a connection to a process that does not listen any more. Vault
// closes its listeners as it ends. Another that took its port while it was down
// need not end its connections: held open, they would keep the answers of the
// Vault that came after it away, and what they say would pass for that Vault's.
var errMoved = errors.New("who listens has changed")

// tied is a connection to the process that listened when it was opened. No
// request is written once another listens, and no answer is waited for.
type tied struct {
	net.Conn
	dialer *dialer
	to     string // that process; empty where processes have no names
}

const (
	// connectWithin is how long one try to open a connection to this machine takes.
	// It ends before the kernel sends its SYN again, in a second: the first nobody
	// can foresee, while who finds that Vault's queue is full can read its ports in
	// /proc/net/tcp, and answer the second.
	connectWithin = 500 * time.Millisecond
	// connectFor is how long it is tried, as long as the kernel would.
	connectFor = 2 * time.Minute
)

// tie opens a connection to the process that listens both before and after that.
func (d *dialer) tie(ctx context.Context, open func() (net.Conn, error)) (*tied, error) {
	for until := time.Now().Add(connectFor); ; {
		before, known := d.listens()
		conn, err := open()
		again := ctx.Err() == nil && time.Now().Before(until)
		if slow := net.Error(nil); errors.As(err, &slow) && slow.Timeout() && len(d.near) > 0 && again {
			continue
		}
		if err != nil {
			return nil, err
		}
		after, _ := d.listens()
		switch {
		case len(d.near) > 0 && openedFromBothEnds(conn):
		case !known || before != "" && before == after:
			return newTied(d, conn, before), nil
		case before == "" && after != "" && again: // who was there in between is not known
			_ = conn.Close()
			continue
		}
		_ = conn.Close()
		return nil, errMoved
	}
}

// openedFromBothEnds reports whether the other end of a connection is of a process
// that called this one, and need not listen (RFC 9293, 3.5). A process that listens
// has sent one segment so far, its SYN and ACK; one that called has sent two.
func openedFromBothEnds(conn net.Conn) (is bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		is = err == nil && info.Segs_in > 1
	})
	return is
}

func newTied(d *dialer, conn net.Conn, to string) *tied {
	t := &tied{Conn: conn, dialer: d, to: to}
	if to != "" {
		_ = t.waitOn()
	}
	return t
}

// listens names the process that listens now, "" when nobody does, and reports
// whether that can be known.
func (d *dialer) listens() (process string, known bool) {
	if d.config.Process == nil {
		return "", false
	}
	process, err := d.config.Process()
	if err != nil {
		return "", false
	}
	return process, true
}

// moved ends the connection when another process listens now, or none.
func (t *tied) moved() error {
	if t.to == "" {
		return nil
	}
	if now, known := t.dialer.listens(); !known || now == t.to {
		return t.waitOn()
	}
	_ = t.Conn.Close()
	return errMoved
}

// waitOn has Read wait for another while, until it looks again.
func (t *tied) waitOn() error { return t.Conn.SetReadDeadline(time.Now().Add(t.dialer.lookAgain)) }

// Read looks now and then who listens, whether anything comes or not: an answer
// that trickles could go on for days.
func (t *tied) Read(b []byte) (int, error) {
	for {
		n, err := t.Conn.Read(b)
		if t.to == "" || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if err := t.moved(); err != nil {
			return 0, err
		}
	}
}

func (t *tied) Write(b []byte) (int, error) {
	if err := t.moved(); err != nil {
		return 0, err
	}
	return t.Conn.Write(b)
}
