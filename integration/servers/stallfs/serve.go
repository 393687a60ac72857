package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

type serveConfig struct {
	backing string // the directory with the files
	mount   string // where they are shown
	control string // path of the Unix socket
	mode    mode   // at the start
}

// serve runs until ctx is done, or until someone else takes the mount down.
func serve(ctx context.Context, cfg serveConfig, stdout io.Writer) error {
	backing, dir, err := resolvePaths(cfg)
	if err != nil {
		return err
	}
	// The process that started stallfs may be gone when it ends, and with it the
	// reader of what it logs then: no reason to die before the mount is down.
	signal.Ignore(syscall.SIGPIPE)
	// Clients' files get the modes the clients ask for: the clients' own umask
	// is in them already.
	syscall.Umask(0)
	listener, err := listen(cfg.control)
	if err != nil {
		return err
	}
	defer listener.Close() // removes the socket too
	s := newStall(cfg.mode)
	mnt, err := mount(backing, dir, s)
	if err != nil {
		return err
	}
	go serveControl(listener, s)
	fmt.Fprintln(stdout, "stallfs: serving")
	select {
	case <-ctx.Done():
		s.openPermanently()
		return mnt.unmount()
	case <-mnt.served:
		return fmt.Errorf("%s was unmounted by someone else", dir)
	}
}

// resolvePaths returns the real paths of the backing directory and the mount point,
// after a check that the mount covers neither the files nor the socket: either
// would make stallfs wait for itself.
func resolvePaths(cfg serveConfig) (backing, dir string, err error) {
	backing, err = resolveDir(cfg.backing)
	if err != nil {
		return "", "", fmt.Errorf("backing directory: %w", err)
	}
	dir, err = resolveDir(cfg.mount)
	if err != nil {
		return "", "", fmt.Errorf("mount point: %w", err)
	}
	socketDir, err := resolveDir(filepath.Dir(cfg.control))
	if err != nil {
		return "", "", fmt.Errorf("control socket: %w", err)
	}
	switch {
	case isWithin(dir, backing), isWithin(backing, dir):
		return "", "", errors.New("the backing directory and the mount point must lie outside each other")
	case isWithin(dir, socketDir):
		return "", "", errors.New("the control socket must lie outside the mount point")
	}
	return backing, dir, nil
}

// resolveDir returns the real absolute path of an existing directory.
func resolveDir(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", explainStatError(err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", explainStatError(err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is no directory", path)
	}
	return filepath.Abs(real)
}

func explainStatError(err error) error {
	if errors.Is(err, syscall.ENOTCONN) {
		return fmt.Errorf("%w (a killed stallfs left its mount behind: umount -l takes it away)", err)
	}
	return err
}

// isWithin reports whether path is dir or lies below it. Both are absolute.
func isWithin(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
