package statefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// TryLock keeps other processes from locking the same file until unlock is
// called or the process ends. At once when another has it, it returns nil. It
// makes the directory where it is missing.
func (f *File) TryLock() (unlock func(), err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, fmt.Errorf("locking %s: %w", f.path(), err)
	}
	file, err := os.OpenFile(filepath.Join(f.dir, f.name+".lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", f.path(), err)
	}
	switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		_ = file.Close()
		return nil, nil
	case err != nil:
		_ = file.Close()
		return nil, fmt.Errorf("locking %s: %w", f.path(), err)
	}
	return func() { _ = file.Close() }, nil
}
