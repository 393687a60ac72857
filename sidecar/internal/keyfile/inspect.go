package keyfile

import (
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
		p, err := readFile(file)
		if err != nil {
			return Facts{}, err
		}
		repeated := len(all) + len(p.shares)
		all = addNew(all, p.shares)
		f.Repeated += repeated - len(all)
		if p.padded {
			f.Padded++
		}
		if info, err := os.Stat(file); err == nil && info.Mode()&writableByOthers != 0 {
			f.Loose = append(f.Loose, filepath.Base(shown(file)))
		}
	}
	// Where somebody would have to write to replace a file: the kubelet's own
	// directory, below a mounted Secret, is no other.
	f.Writable = syscall.Access(filepath.Dir(files[0]), mayWrite) == nil
	return f, nil
}
