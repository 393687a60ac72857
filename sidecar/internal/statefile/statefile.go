// Package statefile keeps a little JSON in a volume of the pod, so that what
// the sidecar knows outlives a restart of the sidecar alone. It exists because
// such a file must never be a reason not to start, and must not be a way for
// another container on the volume to have a file read or overwritten.
//
// It must not know what it keeps. Nothing secret belongs in it.
package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
)

const (
	// version is of the wrapper and of what is in it.
	version = 1
	// maxSize bounds what is read and written, in bytes.
	maxSize = 64 << 10
	// namesAtOnce bounds the names of a directory that are in memory.
	namesAtOnce = 100
)

// File is a state file in a directory.
type File struct {
	dir  string
	name string
}

// content is what the file holds.
type content struct {
	Version int             `json:"version"`
	Memory  json.RawMessage `json:"memory"`
}

// New returns the state file of that name in dir, which need not exist before
// the first Save.
func New(dir, name string) *File { return &File{dir: dir, name: name} }

// Load reads into what into points to. Where there is no file yet, and after
// every error, that is the zero value: the error only tells what was lost.
func (f *File) Load(into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("loading the state into %T: not a pointer", into)
	}
	target.Elem().SetZero()
	raw, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return f.starting(err)
	}
	var found content
	if err := json.Unmarshal(raw, &found); err != nil {
		return f.starting(fmt.Errorf("corrupt: %w", err))
	}
	if found.Version != version {
		return f.starting(fmt.Errorf("has version %d, known is %d", found.Version, version))
	}
	if len(found.Memory) == 0 || string(found.Memory) == "null" {
		return f.starting(errors.New("corrupt: holds no memory"))
	}
	// Apart, because a failed Unmarshal leaves half of it filled in.
	fresh := reflect.New(target.Elem().Type())
	if err := json.Unmarshal(found.Memory, fresh.Interface()); err != nil {
		return f.starting(fmt.Errorf("corrupt: %w", err))
	}
	target.Elem().Set(fresh.Elem())
	return nil
}

func (f *File) starting(err error) error {
	return fmt.Errorf("starting without the state of %s: %w", f.path(), err)
}

func (f *File) path() string { return filepath.Join(f.dir, f.name) }

// tempPrefix begins the name of a file that is still being written.
func (f *File) tempPrefix() string { return "." + f.name + "." }

func (f *File) read() ([]byte, error) {
	// O_NOFOLLOW and O_NONBLOCK: others may write in the directory, and a link
	// or a named pipe there would lead elsewhere or nowhere.
	file, err := os.OpenFile(f.path(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errors.New("is a symbolic link")
	}
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	raw, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(raw) > maxSize {
		return nil, fmt.Errorf("larger than %d KiB", maxSize>>10)
	}
	return raw, nil
}

// Save replaces the file by v as JSON, whole or not at all. It makes the
// directory where it is missing.
func (f *File) Save(v any) error {
	if err := f.save(v); err != nil {
		return fmt.Errorf("saving the state to %s: %w", f.path(), err)
	}
	return nil
}

func (f *File) save(v any) error {
	memory, err := json.Marshal(v)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(content{Version: version, Memory: memory})
	if err != nil {
		return err
	}
	if len(raw) > maxSize {
		return fmt.Errorf("larger than %d KiB", maxSize>>10)
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	f.removeLeftovers()
	temp, err := f.write(raw)
	if err != nil {
		return err
	}
	// A rename takes the place of a link, it does not follow it.
	if err := os.Rename(temp, f.path()); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return nil
}

// write makes a file that nobody could have planted: CreateTemp opens with
// O_EXCL, mode 0600 and a random name. Nothing is synced, since on a busy disk
// that holds up the caller, and buys nothing: only a crash of the node can lose
// what was written, and that changes the boot id in every process name that is
// remembered, so that the memory means nothing any more.
func (f *File) write(raw []byte) (path string, err error) {
	temp, err := os.CreateTemp(f.dir, f.tempPrefix()+"*")
	if err != nil {
		return "", err
	}
	_, err = temp.Write(raw)
	err = errors.Join(err, temp.Close())
	if err != nil {
		_ = os.Remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}

// removeLeftovers takes away what a crash between write and rename has left. It reads
// the directory in parts: others may have filled it with names.
func (f *File) removeLeftovers() {
	dir, err := os.Open(f.dir)
	if err != nil {
		return
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(namesAtOnce)
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), f.tempPrefix()) {
				_ = os.Remove(filepath.Join(f.dir, entry.Name()))
			}
		}
		if err != nil { // io.EOF, at the end
			return
		}
	}
}

// withoutPath drops what the caller names anyway.
func withoutPath(err error) error {
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		return inner.Err
	}
	return err
}
