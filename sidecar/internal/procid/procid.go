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
	"fmt"
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
	hosts  []netip.Addr
	port   uint16
	kernel *kernel
	boot   boot
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
	return &Listener{hosts: hosts, port: uint16(port), kernel: newKernel()}, nil
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
func (l *Listener) Process() (string, error) {
	servers, err := l.kernel.listening(l.hosts, l.port)
	if err != nil {
		return "", fmt.Errorf("reading the listening sockets: %w", err)
	}
	if len(servers) == 0 {
		return "", nil
	}
	boot, err := l.boot.id(l.kernel.proc)
	if err != nil {
		return "", err
	}
	inodes := make([]uint64, 0, len(servers))
	for _, server := range servers {
		inodes = append(inodes, server.inode)
	}
	slices.Sort(inodes)
	var names []string
	for _, inode := range slices.Compact(inodes) { // a table that changes while it is read can show a socket twice
		names = append(names, strconv.FormatUint(inode, 10))
	}
	return boot + "/" + strings.Join(names, ","), nil
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
