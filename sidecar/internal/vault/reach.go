//go:build linux

package vault

import (
	"context"
	"net"
	"syscall"
)

// keep has the next request carried by conn, and not by what was kept; nil: by a new
// connection.
func (d *dialer) keep(conn *tied) {
	if last := d.kept.Swap(conn); last != nil {
		_ = last.Close()
	}
}

// connect takes the connection that is kept, or opens one. It is tied.
func (d *dialer) connect(ctx context.Context, network, addr string) (*tied, error) {
	conn := d.kept.Swap(nil)
	if conn == nil {
		var err error
		if conn, err = d.tie(ctx, func() (net.Conn, error) { return d.open(ctx, network, addr) }); err != nil {
			d.away.Store(&addr)
			return nil, err
		}
	}
	d.away.Store(nil)
	return conn, nil
}

// open opens a connection. localhost is its two addresses, of which the first is
// tried first, as package procid looks for who listens. Nobody is asked what it
// means: one container of a pod that runs as root can write the /etc/hosts of all.
func (d *dialer) open(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	var plain net.Dialer
	switch {
	case d.socket != "":
		return plain.DialContext(ctx, "unix", d.socket)
	case len(d.near) == 0:
		return plain.DialContext(ctx, network, addr)
	}
	plain.Timeout = connectWithin
	for _, near := range d.near {
		plain.Control = func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				prepare(int(fd))
				fromNowhere(int(fd), near.Addr())
			})
		}
		opened, failed := plain.DialContext(ctx, network, near.String())
		if failed == nil {
			return opened, nil
		}
		// Only where it is certain that nobody listens: at the other address another
		// process can, and would pass for Vault while Vault has no room for one more.
		if !nobodyThere(failed) || portless(failed) {
			return nil, failed
		}
		if err == nil {
			err = failed
		}
	}
	return nil, err
}

// reach opens the connection before the request is made, while the last one
// could not be opened: a request that fails costs many times as much.
func (d *dialer) reach(ctx context.Context) error {
	addr := d.away.Load()
	if addr == nil {
		return nil
	}
	conn, err := d.connect(ctx, "tcp", *addr)
	if err == nil {
		d.keep(conn)
	}
	return err
}
