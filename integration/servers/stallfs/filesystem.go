package main

import (
	"github.com/hanwen/go-fuse/v2/fuse"
)

// gatedFS stands between the kernel and a filesystem, on the level of the FUSE
// protocol. It embeds nothing on purpose: an operation that a later go-fuse
// adds is then a compile error here and not a hole beside the gate. (Writev is
// such a one: it is asked before Write, and Write never comes.)
//
// The cancel channels are passed on but not listened to while an operation
// waits: a process in a hung disk cannot be interrupted either.
type gatedFS struct {
	fs   fuse.RawFileSystem
	gate *gate
}

var _ fuse.RawFileSystem = (*gatedFS)(nil)

func (f *gatedFS) through(op func() fuse.Status) fuse.Status {
	if errno := f.gate.pass(); errno != 0 {
		return fuse.Status(errno)
	}
	return op()
}

func throughFor[T any](f *gatedFS, op func() (T, fuse.Status)) (T, fuse.Status) {
	if errno := f.gate.pass(); errno != 0 {
		var none T
		return none, fuse.Status(errno)
	}
	return op()
}

// Not gated: these are between the kernel and this process, no storage is asked.

func (f *gatedFS) String() string                                     { return "stallfs" }
func (f *gatedFS) SetDebug(on bool)                                   { f.fs.SetDebug(on) }
func (f *gatedFS) Init(s *fuse.Server)                                { f.fs.Init(s) }
func (f *gatedFS) OnUnmount()                                         { f.fs.OnUnmount() }
func (f *gatedFS) Forget(node, lookups uint64)                        { f.fs.Forget(node, lookups) }
func (f *gatedFS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) { f.fs.Release(cancel, in) }
func (f *gatedFS) ReleaseDir(in *fuse.ReleaseIn)                      { f.fs.ReleaseDir(in) }

// Names and attributes.

func (f *gatedFS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Lookup(cancel, in, name, out) })
}

func (f *gatedFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.GetAttr(cancel, in, out) })
}

func (f *gatedFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.SetAttr(cancel, in, out) })
}

func (f *gatedFS) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Statx(cancel, in, out) })
}

func (f *gatedFS) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Access(cancel, in) })
}

func (f *gatedFS) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.StatFs(cancel, in, out) })
}

func (f *gatedFS) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	return throughFor(f, func() (uint32, fuse.Status) { return f.fs.GetXAttr(cancel, in, attr, dest) })
}

func (f *gatedFS) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	return throughFor(f, func() (uint32, fuse.Status) { return f.fs.ListXAttr(cancel, in, dest) })
}

func (f *gatedFS) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.SetXAttr(cancel, in, attr, data) })
}

func (f *gatedFS) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.RemoveXAttr(cancel, in, attr) })
}

// The tree.

func (f *gatedFS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Mknod(cancel, in, name, out) })
}

func (f *gatedFS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Mkdir(cancel, in, name, out) })
}

func (f *gatedFS) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Unlink(cancel, in, name) })
}

func (f *gatedFS) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Rmdir(cancel, in, name) })
}

func (f *gatedFS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Rename(cancel, in, from, to) })
}

func (f *gatedFS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Link(cancel, in, name, out) })
}

func (f *gatedFS) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.Symlink(cancel, in, target, name, out) })
}

func (f *gatedFS) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	return throughFor(f, func() ([]byte, fuse.Status) { return f.fs.Readlink(cancel, in) })
}

// Directories.

func (f *gatedFS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.OpenDir(cancel, in, out) })
}

func (f *gatedFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.ReadDir(cancel, in, out) })
}

func (f *gatedFS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.ReadDirPlus(cancel, in, out) })
}

func (f *gatedFS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.through(func() fuse.Status { return f.fs.FsyncDir(cancel, in) })
}
