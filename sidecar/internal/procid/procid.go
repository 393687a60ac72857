// Package procid names the process that serves Vault. It exists because a
// Vault that was restarted must be told from one that an operator sealed on
// purpose, and the sidecar should need no right in the cluster to do so: the
// inode of a listening socket is visible to everybody in the network
// namespace, which the containers of a pod share, and no later socket gets the
// same one before the kernel's count of 32 bits has come round.
//
// It must not know Vault's API or what a changed name leads to.
package procid

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Listener is the address of a server, whose process it can name.
type Listener struct {
	hosts []netip.Addr
	port  uint16
	proc  string
	boot  boot
	ask   func() (sockets, error)
	// onlyTables is set when asking has failed; see Listener.sockets.
	onlyTables atomic.Bool
}

// New returns the Listener of the server at addr, the host:port of VAULT_ADDR.
// It fails unless the host is a loopback address or localhost: what listens
// elsewhere is in another network namespace, or may be.
func New(addr string) (*Listener, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("naming the process behind %q: %w", addr, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("naming the process behind %q: the port is not a number from 1 to 65535", addr)
	}
	hosts := loopback(host)
	if hosts == nil {
		return nil, fmt.Errorf("naming the process behind %q: not a loopback address, so its sockets cannot be seen from here", addr)
	}
	i := &Listener{hosts: hosts, port: uint16(port), proc: "/proc"}
	i.ask = i.askKernel
	return i, nil
}

// loopback returns the addresses that host stands for, none when one of them
// may lie outside.
func loopback(host string) []netip.Addr {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	addr = addr.WithZone("").Unmap()
	if !addr.IsLoopback() {
		return nil
	}
	return []netip.Addr{addr}
}

// Process returns a name that stays the same as long as the same process
// listens: the boot's id and the inodes of its sockets, as in
// "6f1c…/184467". It is empty when nobody listens. An error means that it
// cannot be known now, and says why.
func (i *Listener) Process() (string, error) {
	found, err := i.sockets()
	if err != nil {
		return "", fmt.Errorf("reading the listening sockets: %w", err)
	}
	servers := found.chosen()
	if len(servers) == 0 {
		return "", nil
	}
	boot, err := i.boot.id(i.proc)
	if err != nil {
		return "", err
	}
	return name(boot, servers), nil
}

// boot is the boot that this process lives in, read once.
type boot struct{ read atomic.Pointer[string] }

func (b *boot) id(proc string) (string, error) {
	if id := b.read.Load(); id != nil {
		return *id, nil
	}
	text, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	id := strings.TrimSpace(string(text))
	b.read.Store(&id)
	return id, nil
}

// sockets returns the sockets that listen for i. To print its tables in /proc
// the kernel walks through the places of all connections that the node could
// have, some milliseconds even when there are none; asked for listeners alone
// it takes a hundredth of that. But it may not be willing, under gVisor or
// where a module is missing, and is then not asked again, since each time it
// might start modprobe.
func (i *Listener) sockets() (sockets, error) {
	if !i.onlyTables.Load() {
		found, err := i.ask()
		if err == nil {
			return found, nil
		}
		i.onlyTables.Store(true)
	}
	var found sockets
	// Not thread-self: no thread of ours leaves the namespace of the others.
	if err := i.scan(filepath.Join(i.proc, "self/net/tcp"), &found); err != nil {
		return sockets{}, err
	}
	err := i.scan(filepath.Join(i.proc, "self/net/tcp6"), &found)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // booted with ipv6.disable=1
		return sockets{}, err
	}
	return found, nil
}

func name(boot string, servers []listed) string {
	slices.SortFunc(servers, func(a, b listed) int { return cmp.Compare(a.inode, b.inode) })
	var out strings.Builder
	out.WriteString(boot)
	// A table that changes while it is read can show a socket twice.
	for n, server := range slices.Compact(servers) {
		out.WriteByte("/,"[min(n, 1)])
		out.WriteString(strconv.FormatUint(server.inode, 10))
	}
	return out.String()
}

// sockets are those that may serve a Listener, apart by the addresses that they
// are bound to.
type sockets struct {
	ipv4, ipv6 []listed
}

// listed is a socket that listens: its number, and the user of the process that
// made it.
type listed struct {
	inode uint64
	uid   uint32
}

// add takes in the socket that is bound to local, which is not IPv4-mapped.
func (s *sockets) add(local netip.Addr, l listed) {
	if local.Is4() {
		s.ipv4 = append(s.ipv4, l)
	} else {
		s.ipv6 = append(s.ipv6, l)
	}
}

// chosen returns those that count: the ones on IPv4 where there are any, or
// else the ones on IPv6.
//
// Everybody in the pod may bind [::] or [::1] beside a Vault that listens on
// IPv4, with IPV6_V6ONLY, and must not look like a Vault that was restarted.
// The kernel gives such a socket no connection to an IPv4 address, but its
// tables do not tell it from one that takes both families. Beside one of those,
// the kernel refuses to bind a socket on IPv4 (net/ipv4/inet_connection_sock.c,
// inet_csk_get_port): where there is one on IPv4, no other takes IPv4.
func (s *sockets) chosen() []listed {
	if len(s.ipv4) > 0 {
		return s.ipv4
	}
	return s.ipv6
}

// serves tells whether a socket bound to local may take connections to one of
// the hosts. One bound to [::] may refuse IPv4, hence chosen.
func (i *Listener) serves(local netip.Addr) bool {
	for _, host := range i.hosts {
		if local == host || local.IsUnspecified() && (local.Is6() || host.Is4()) {
			return true
		}
	}
	return false
}
