package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ErrMissing is in the error of Read while there is no file to read: the path
// does not exist, or is a directory without files. A Secret that is yet to be
// seeded looks like this.
var ErrMissing = errors.New("no unseal key there")

// visible returns the names in dir, the oldest first, without those that begin with a
// dot: in a mounted Secret these are the kubelet's own.
func visible(dir string) ([]string, error) {
	file, err := openDirectory(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	all, err := file.Readdirnames(maxNames + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(all) > maxNames {
		return nil, fmt.Errorf("more than %d names in the directory", maxNames)
	}
	names := all[:0]
	for _, name := range all {
		if !hidden(name) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, byAge)
	return names, nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// shown is path as errors may print it. `kubectl create secret --from-literal`
// given a padded base64 key and no name takes the key for the name, and the
// kubelet then mounts an empty file that is called like the share.
func shown(path string) string {
	if LooksLikeShare(filepath.Base(path)) {
		return filepath.Join(filepath.Dir(path), "[name withheld, it looks like a share]")
	}
	return path
}

// pathError tells why the system refused path.
func pathError(path string, err error) error {
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w: %w", shown(path), ErrMissing, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w", shown(path), denied(path, err))
	default:
		return fmt.Errorf("%s: %w", shown(path), err)
	}
}

// denied adds whose permission is missing, and where: nine times in ten the
// answer is an fsGroup or a defaultMode.
func denied(path string, err error) error {
	for at := path; ; at = filepath.Dir(at) {
		info, failed := os.Stat(at)
		if failed != nil && at != filepath.Dir(at) {
			continue
		}
		if failed != nil {
			return err
		}
		where := ""
		if at != path {
			where = " in " + shown(at)
		}
		stat := info.Sys().(*syscall.Stat_t)
		return fmt.Errorf("%w%s: mode %04o, owner uid %d gid %d, running as uid %d gid %d",
			err, where, info.Mode().Perm(), stat.Uid, stat.Gid, os.Geteuid(), os.Getegid())
	}
}

// irregular is told of what would block, or never end, when read.
func irregular(mode fs.FileMode) error {
	kind := "of an unknown kind"
	switch {
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return noShare("not a regular file, it is " + kind)
}
