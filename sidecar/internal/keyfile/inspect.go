package keyfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Facts are what is worth telling of the files beside their shares.
type Facts struct {
	Repeated int      // shares that are there again
	Padded   int      // files with white space other than the ends of lines
	Loose    []string // names of files that their group or everybody may write
	Writable bool     // this process may write where the files are
}

const writableByOthers fs.FileMode = 0o022

// mayWrite is W_OK of access(2).
const mayWrite = 2

// Inspect looks at the files that Read reads. It fails where they cannot be
// read.
func (s *Source) Inspect() (Facts, error) {
	files, err := s.files()
	if err != nil {
		return Facts{}, err
	}
	var f Facts
	var all []unseal.Share
	defer func() { unseal.WipeAll(all) }()
	for _, file := range files {
		found, padded, err := inspectFile(file)
		if err != nil {
			return Facts{}, err
		}
		repeated := len(all) + len(found)
		all = addNew(all, found)
		f.Repeated += repeated - len(all)
		if padded {
			f.Padded++
		}
		if info, err := os.Stat(file); err == nil && info.Mode()&writableByOthers != 0 {
			f.Loose = append(f.Loose, filepath.Base(shown(file)))
		}
	}
	f.Writable = syscall.Access(s.folder(), mayWrite) == nil
	return f, nil
}

// folder returns the directory in which somebody would have to write to
// replace a file: the kubelet's own, below a mounted Secret, is no other.
func (s *Source) folder() string {
	if info, err := os.Stat(s.path); err == nil && info.IsDir() {
		return s.path
	}
	return filepath.Dir(s.path)
}

func inspectFile(path string) (shares []unseal.Share, padded bool, err error) {
	buf := make([]byte, maxFile+1)
	defer clear(buf)
	n, err := fill(buf, path)
	if _, ok := errors.AsType[noShare](err); ok {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	p := parse(buf[:n])
	for line := range bytes.Lines(buf[:n]) {
		ended := bytes.TrimSuffix(line, []byte("\n"))
		padded = padded || !p.json && (len(bytes.TrimSpace(ended)) != len(ended) || len(ended) == 0)
	}
	return p.shares, padded, nil
}
