// Package keyfile turns a mounted Secret into key shares. It exists because
// what lies in the mount is seldom exactly what Vault printed: it carries a
// newline, a byte order mark, a second round of base64, the whole JSON of
// `vault operator init`, or a root token beside the key. What is unambiguous is
// taken; the rest is told in one sentence that names the entry and shows nothing
// of what is in it.
//
// It must not know Vault, the Kubernetes API, or when a share is wanted: it
// reads, says cheaply whether a read could give something else, and wakes
// whoever waits for that.
package keyfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	// maxFile bounds what is read of one file, in bytes. A share takes at
	// most 68.
	maxFile = 64 << 10
	// maxShares is the most that Shamir's scheme over bytes can split a key
	// into, and so the most that Vault hands out.
	maxShares = 255
	// maxNames bounds the listing of a directory, in case the path is that
	// of a whole filesystem.
	maxNames = 1024
	// maxRemarks bounds what is told of what is no share, in case the path is
	// that of something else.
	maxRemarks = 16
	// maxReads is how often a directory is read that changes meanwhile.
	maxReads = 3

	// dataLink is the link inside a mounted Secret that the kubelet renames
	// over to publish all files of a new version at once
	// (kubernetes pkg/volume/util/atomic_writer.go).
	dataLink = "..data"
)

// Source is a file, or a directory of files, that holds key shares.
type Source struct {
	path  string
	calls atomic.Uint64 // told apart by Revision
}

// New returns the Source at path, which is absolute. Whether it is a file or a
// directory is found out anew by every call, since it may not exist yet.
func New(path string) *Source { return &Source{path: filepath.Clean(path)} }

// Read returns the shares, each once: those of the oldest entry first, as far
// as its name tells, and in the order of the lines. The caller wipes them. What
// is no share is told in the remarks and keeps no share from being used. With an
// error there are no shares; it names each entry and what it looks like, and
// holds nothing of the content. It is ErrMissing when there is nothing to read
// yet.
func (s *Source) Read() ([]unseal.Share, []unseal.Remark, error) {
	for range maxReads {
		// Shares of two versions of a Secret make a key that fits neither,
		// and Vault would not say which share was wrong.
		before := s.version()
		shares, remarks, err := s.readOnce()
		if s.version() == before {
			return shares, remarks, err
		}
		unseal.WipeAll(shares)
	}
	return nil, nil, fmt.Errorf("%s: changed every time it was read", shown(s.path))
}

// version names the state of the whole directory where the kubelet keeps it.
func (s *Source) version() string {
	target, _ := os.Readlink(filepath.Join(s.path, dataLink))
	return target
}

func (s *Source) readOnce() ([]unseal.Share, []unseal.Remark, error) {
	files, err := s.files()
	if err != nil {
		return nil, nil, err
	}
	var all []unseal.Share
	var remarks []unseal.Remark
	for _, file := range files {
		p, err := readFile(file)
		if err != nil {
			unseal.WipeAll(all)
			return nil, nil, err
		}
		all = addNew(all, p.shares)
		remarks = append(remarks, p.remarks(filepath.Base(shown(file)))...)
		if len(all) > maxShares {
			unseal.WipeAll(all)
			return nil, nil, fmt.Errorf("%s: more than %d shares", shown(s.path), maxShares)
		}
	}
	if len(all) == 0 {
		err = describeRemarks(remarks, filepath.Dir(files[0]))
	}
	return all, shorten(remarks), err
}

// describeRemarks is the error for files in dir without a share.
func describeRemarks(remarks []unseal.Remark, dir string) error {
	var told []string
	for _, r := range remarks[:min(len(remarks), maxRemarks)] {
		told = append(told, filepath.Join(dir, r.Entry)+": "+r.What)
	}
	if more := len(remarks) - maxRemarks; more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(told, "; "))
}

// shorten keeps the most important of many.
func shorten(remarks []unseal.Remark) []unseal.Remark {
	more := len(remarks) - maxRemarks
	if more <= 0 {
		return remarks
	}
	rank := map[bool]int{true: 0, false: 1}
	slices.SortStableFunc(remarks, func(a, b unseal.Remark) int { return cmp.Compare(rank[a.Token], rank[b.Token]) })
	return append(remarks[:maxRemarks:maxRemarks], unseal.Remark{Entry: fmt.Sprint(more, " more"), What: "no share either"})
}

// files returns the paths of the files to read, at least one.
func (s *Source) files() ([]string, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, pathError(s.path, err)
	}
	if !info.IsDir() {
		return []string{s.path}, nil
	}
	names, err := visible(s.path)
	if err != nil {
		return nil, pathError(s.path, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: %w: empty directory", shown(s.path), ErrMissing)
	}
	files := make([]string, len(names))
	for i, name := range names {
		files[i] = filepath.Join(s.path, name)
	}
	return files, nil
}

// addNew appends to all what is not yet in it, and wipes the rest of found.
func addNew(all, found []unseal.Share) []unseal.Share {
next:
	for _, share := range found {
		for _, known := range all {
			if known.Equal(share) {
				share.Wipe()
				continue next
			}
		}
		all = append(all, share)
	}
	return all
}

func readFile(path string) (p parsed, err error) {
	buf := make([]byte, maxFile+1)
	defer clear(buf)
	n, err := fill(buf, path)
	if what, ok := errors.AsType[noShare](err); ok {
		p.refuse(string(what), 0)
		return p, nil
	}
	if err != nil {
		return p, err
	}
	return parse(buf[:n]), nil
}

// noShare is what is told of an entry that cannot be one, whatever is in it.
type noShare string

func (what noShare) Error() string { return string(what) }

// fill reads the file into buf. A file that fills it is too large.
func fill(buf []byte, path string) (int, error) {
	// Before the open, because opening alone can set a device in motion;
	// after it, because another file may have taken the name.
	info, err := os.Stat(path)
	if err != nil {
		return 0, pathError(path, err)
	}
	if !info.Mode().IsRegular() {
		return 0, irregular(info.Mode())
	}
	// O_NONBLOCK, or a named pipe would hold the open until somebody writes.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return 0, pathError(path, err)
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return 0, pathError(path, err)
	}
	if !info.Mode().IsRegular() {
		return 0, irregular(info.Mode())
	}
	switch n, err := io.ReadFull(file, buf); {
	case err == nil:
		return 0, noShare(fmt.Sprintf("larger than %d KiB, a share takes less than 100 bytes", maxFile>>10))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, nil
	default:
		return 0, pathError(path, err)
	}
}
