package vault

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
)

// opened is a connection that a request brings with it, until it is taken.
type opened struct{ conn atomic.Pointer[net.Conn] }

type openedKey struct{}

func (o *opened) take() net.Conn {
	if conn := o.conn.Swap(nil); conn != nil {
		return *conn
	}
	return nil
}

// close ends the connection if nobody has taken it.
func (o *opened) close() {
	if conn := o.take(); conn != nil {
		_ = conn.Close()
	}
}

// connect takes the connection that the request brings, or opens one. It is tied.
func (d *dialer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if o, brought := ctx.Value(openedKey{}).(*opened); brought {
		if conn := o.take(); conn != nil {
			return conn, nil
		}
	}
	conn, err := d.tie(ctx, func() (net.Conn, error) { return d.open(ctx, network, addr) })
	if err != nil {
		d.away.Store(&addr)
		return nil, err
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
				bindsLate(int(fd))
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
// could not be opened: a request that fails costs many times as much. The
// request in the context it returns is carried by that connection. done is to
// be called after the request; it is never nil.
func (d *dialer) reach(ctx context.Context) (with context.Context, done func(), err error) {
	o := &opened{}
	kept, addr := d.kept.take(), d.away.Load()
	switch {
	case kept != nil:
		d.away.Store(nil)
	case addr == nil:
		return ctx, func() {}, nil
	default:
		if kept, err = d.connect(ctx, "tcp", *addr); err != nil {
			return ctx, func() {}, err
		}
	}
	o.conn.Store(&kept)
	return context.WithValue(ctx, openedKey{}, o), o.close, nil
}
