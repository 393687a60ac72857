//go:build linux

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
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Listener is a server's addresses, whose process it can name.
type Listener struct {
	at     []netip.AddrPort
	kernel *kernel
	boot   boot
}

// New returns the Listener of the server that is reached at one of these loopback
// addresses: what listens elsewhere is in another network namespace, or may be.
func New(at []netip.AddrPort) *Listener { return &Listener{at: at, kernel: newKernel()} }

// Process returns a name that stays the same as long as the same process
// listens: the boot's id and the inodes of its sockets, as in
// "6f1c…/184467". It is empty when nobody listens. An error means that it
// cannot be known now, and says why.
func (l *Listener) Process() (string, error) {
	servers, err := l.kernel.listening(l.at)
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
