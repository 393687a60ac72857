package main

import (
	"github.com/hanwen/go-fuse/v2/fuse"
)

// stallFS stands between the kernel and a filesystem, on the level of the FUSE
// protocol. It embeds nothing on purpose: an operation that a later go-fuse
// adds is then a compile error here and not an operation that never stalls. (Writev is
// such a one: it is asked before Write, and Write never comes.)
//
// The cancel channels are passed on but not listened to while an operation
// waits: a process in a hung disk cannot be interrupted either.
type stallFS struct {
	fs    fuse.RawFileSystem
	stall *stall
}

var _ fuse.RawFileSystem = (*stallFS)(nil)

func (f *stallFS) do(op func() fuse.Status) fuse.Status {
	if errno := f.stall.admit(); errno != 0 {
		return fuse.Status(errno)
	}
	return op()
}

func doValue[T any](f *stallFS, op func() (T, fuse.Status)) (T, fuse.Status) {
	if errno := f.stall.admit(); errno != 0 {
		var none T
		return none, fuse.Status(errno)
	}
	return op()
}

// Never stalled: these are between the kernel and this process, no storage is asked.

func (f *stallFS) String() string                                     { return "stallfs" }
func (f *stallFS) SetDebug(on bool)                                   { f.fs.SetDebug(on) }
func (f *stallFS) Init(s *fuse.Server)                                { f.fs.Init(s) }
func (f *stallFS) OnUnmount()                                         { f.fs.OnUnmount() }
func (f *stallFS) Forget(node, lookups uint64)                        { f.fs.Forget(node, lookups) }
func (f *stallFS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) { f.fs.Release(cancel, in) }
func (f *stallFS) ReleaseDir(in *fuse.ReleaseIn)                      { f.fs.ReleaseDir(in) }

// Names and attributes.

func (f *stallFS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Lookup(cancel, in, name, out) })
}

func (f *stallFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.GetAttr(cancel, in, out) })
}

func (f *stallFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.SetAttr(cancel, in, out) })
}

func (f *stallFS) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Statx(cancel, in, out) })
}

func (f *stallFS) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Access(cancel, in) })
}

func (f *stallFS) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.StatFs(cancel, in, out) })
}

func (f *stallFS) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	return doValue(f, func() (uint32, fuse.Status) { return f.fs.GetXAttr(cancel, in, attr, dest) })
}

func (f *stallFS) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	return doValue(f, func() (uint32, fuse.Status) { return f.fs.ListXAttr(cancel, in, dest) })
}

func (f *stallFS) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.SetXAttr(cancel, in, attr, data) })
}

func (f *stallFS) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.RemoveXAttr(cancel, in, attr) })
}

// The tree.

func (f *stallFS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Mknod(cancel, in, name, out) })
}

func (f *stallFS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Mkdir(cancel, in, name, out) })
}

func (f *stallFS) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Unlink(cancel, in, name) })
}

func (f *stallFS) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Rmdir(cancel, in, name) })
}

func (f *stallFS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Rename(cancel, in, from, to) })
}

func (f *stallFS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Link(cancel, in, name, out) })
}

func (f *stallFS) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Symlink(cancel, in, target, name, out) })
}

func (f *stallFS) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	return doValue(f, func() ([]byte, fuse.Status) { return f.fs.Readlink(cancel, in) })
}

// Directories.

func (f *stallFS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.OpenDir(cancel, in, out) })
}

func (f *stallFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.ReadDir(cancel, in, out) })
}

func (f *stallFS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.ReadDirPlus(cancel, in, out) })
}

func (f *stallFS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.FsyncDir(cancel, in) })
}
