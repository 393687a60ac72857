package keyfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// Inspection are what is worth telling of the files beside their shares.
type Inspection struct {
	Repeated          int      // shares that are there again
	HaveWhitespace    int      // files with white space other than the ends of lines
	WritableByOthers  []string // names of files that their group or everybody may write
	DirectoryWritable bool     // this process may write where the files are
}

const writableByOthers fs.FileMode = 0o022

// mayWrite is W_OK of access(2).
const mayWrite = 2

// Inspect looks at the files that Read reads. It fails where they cannot be
// read.
func (s *Source) Inspect() (Inspection, error) {
	files, err := s.files()
	if err != nil {
		return Inspection{}, err
	}
	var f Inspection
	var all []unseal.Share
	defer func() { unseal.WipeAll(all) }()
	for _, file := range files {
		p, err := readFile(file)
		if err != nil {
			return Inspection{}, err
		}
		repeated := len(all) + len(p.shares)
		all = addNew(all, p.shares)
		f.Repeated += repeated - len(all)
		if p.padded {
			f.HaveWhitespace++
		}
		if info, err := os.Stat(file); err == nil && info.Mode()&writableByOthers != 0 {
			f.WritableByOthers = append(f.WritableByOthers, filepath.Base(shown(file)))
		}
	}
	// Where somebody would have to write to replace a file: the kubelet's own
	// directory, below a mounted Secret, is no other.
	f.DirectoryWritable = syscall.Access(filepath.Dir(files[0]), mayWrite) == nil
	return f, nil
}
