package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// lazyGrace is how long the operations that were let go at the end may take
// after a lazy unmount, before the process ends and the kernel fails them.
const lazyGrace = time.Second

// copyGrace is how long an unmount may take. It waits for the kernel to let the
// filesystem go.
const copyGrace = 3 * time.Second

type mounted struct {
	dir    string
	server *fuse.Server
	served chan struct{} // closed when the kernel has let the filesystem go
}

// mount shows the directory backing at dir, behind g. Both are absolute paths
// of directories, neither inside the other.
func mount(backing, dir string, s *stall) (*mounted, error) {
	if err := checkFuse(); err != nil {
		return nil, err
	}
	loopback, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return nil, fmt.Errorf("backing directory: %w", err)
	}
	var never time.Duration // what the kernel remembers, is not stalled
	raw := fs.NewNodeFS(loopback, &fs.Options{
		EntryTimeout:    &never,
		AttrTimeout:     &never,
		NegativeTimeout: &never,
		NullPermissions: true,
	})
	root := os.Geteuid() == 0
	server, err := fuse.NewServer(&stallFS{fs: raw, stall: s}, dir, &fuse.MountOptions{
		Name:              "stallfs",
		FsName:            "stallfs",
		DirectMountStrict: root,
		AllowOther:        root, // an ordinary user may not ask for it
		Options:           []string{"default_permissions"},
		// A file handed to the kernel whole would be read and written without a stall.
		DisabledCapabilities: fuse.CAP_PASSTHROUGH,
		// The kernel asks for a file's capabilities at each write: in the mode slow
		// a write would wait twice. Refused once, it stops asking.
		DisableXAttrs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("mounting on %s: %s%s", dir, strings.TrimSpace(err.Error()), mountHint(err))
	}
	m := &mounted{dir: dir, server: server, served: make(chan struct{})}
	go func() {
		server.Serve()
		close(m.served)
	}()
	return m, nil
}

// checkFuse says what is missing, and how to get it, before a mount fails with
// less to go by.
func checkFuse() error {
	const readAndWrite = 4 | 2
	switch err := syscall.Access("/dev/fuse", readAndWrite); {
	case errors.Is(err, syscall.ENOENT):
		return errors.New("/dev/fuse is missing: load the kernel module (modprobe fuse), in a container pass the device in")
	case err != nil:
		return fmt.Errorf("/dev/fuse: %w: it should be open to all users (chmod 666 /dev/fuse)", err)
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return errors.New("fusermount3 is missing, without it only root can mount: install the package fuse3")
	}
	return nil
}

func mountHint(err error) string {
	if errors.Is(err, syscall.EPERM) {
		return " (mounting needs CAP_SYS_ADMIN)"
	}
	return ""
}

// unmount takes the mount down, lazily if someone still has a file open in it.
// The stall must be open permanently. Another mount namespace can have a copy of the
// mount, which is out of reach: it fails when the process ends.
func (m *mounted) unmount() error {
	tried := make(chan error, 1)
	go func() { tried <- m.server.Unmount() }()
	select {
	case err := <-tried:
		if err == nil {
			return nil
		}
	case <-time.After(copyGrace):
		return nil
	}
	if err := detach(m.dir); err != nil {
		return fmt.Errorf("unmounting %s: %w", m.dir, err)
	}
	select {
	case <-m.served:
	case <-time.After(lazyGrace):
	}
	return nil
}

func detach(dir string) error {
	if os.Geteuid() == 0 {
		return syscall.Unmount(dir, syscall.MNT_DETACH)
	}
	out, err := exec.Command("fusermount3", "-u", "-z", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
