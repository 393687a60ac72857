//go:build linux

package procid

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Socket is a server that listens on a Unix socket, whose process it can name.
type Socket struct {
	path string
	proc string
	boot boot
}

// NewSocket returns the Socket at path, as this container sees it.
func NewSocket(path string) *Socket { return &Socket{path: path, proc: "/proc"} }

// Process returns a name that stays the same as long as the same process
// listens: the boot's id, and which file the socket is. A server that starts
// puts a new file in the place of the old one, and takes its own away when it
// ends in peace: then the name is empty. A mode or an owner that is set later
// renames nothing. An error means that it cannot be known now, and says why.
func (s *Socket) Process() (string, error) {
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking at the socket: %w", err)
	}
	file, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Type() != fs.ModeSocket {
		return "", fmt.Errorf("looking at the socket: %s is none", s.path)
	}
	boot, err := s.boot.id(s.proc)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/%d:%d:%d", boot, file.Dev, file.Ino, info.ModTime().UnixNano()), nil
}
