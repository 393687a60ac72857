package keyfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// mtimeGranularity is the age from which a file's times are trusted to differ from
// those of the next write. The kernel's clock for files ticks every 1 to 10
// ms, but some network filesystems keep whole seconds, and FAT every second
// one.
const mtimeGranularity = 2 * time.Second

// Revision stands for what Read would return, without reading any of it: when it
// is the same as before, so is the key. Take it before the Read that it is
// kept for, so that a change in between shows at the next call. It is a
// digest, safe to log.
func (s *Source) Revision() string {
	digest := sha256.New()
	newest := s.describe(digest)
	// A file rewritten within one tick of the clock keeps its times, may keep
	// its size, and its inode number may be used again: nothing would show.
	// So as long as a further write could still fall into the same tick, or
	// the clocks disagree and nothing can be said, no two calls are alike,
	// and the file is simply read again.
	if time.Since(newest) < mtimeGranularity {
		fmt.Fprintln(digest, "unsettled", s.calls.Add(1))
	}
	return hex.EncodeToString(digest.Sum(nil)[:16])
}

// describe writes down all that Read depends on, and returns the newest time
// among it; the zero time when there is none.
func (s *Source) describe(to io.Writer) (newest time.Time) {
	newest, isDir := describeOne(to, s.path)
	if !isDir {
		describeLink(to, filepath.Join(filepath.Dir(s.path), dataLink))
		return newest
	}
	describeLink(to, filepath.Join(s.path, dataLink))
	names, err := visible(s.path)
	if err != nil {
		fmt.Fprintln(to, err)
	}
	for _, name := range names {
		if changed, _ := describeOne(to, filepath.Join(s.path, name)); changed.After(newest) {
			newest = changed
		}
	}
	return newest
}

func describeOne(to io.Writer, path string) (changed time.Time, isDir bool) {
	info, err := os.Stat(path)
	if err != nil {
		fmt.Fprintf(to, "%q %v\n", path, err)
		return time.Time{}, false
	}
	stat := info.Sys().(*syscall.Stat_t)
	changed = time.Unix(stat.Ctim.Unix())
	fmt.Fprintf(to, "%q size %d mtime %d ctime %d inode %d dev %d mode %o\n", path,
		info.Size(), info.ModTime().UnixNano(), changed.UnixNano(), stat.Ino, stat.Dev, stat.Mode)
	if info.ModTime().After(changed) {
		changed = info.ModTime()
	}
	return changed, info.IsDir()
}

func describeLink(to io.Writer, path string) {
	if target, err := os.Readlink(path); err == nil {
		fmt.Fprintf(to, "%q -> %q\n", path, target)
	}
}
