package main

import (
	"github.com/hanwen/go-fuse/v2/fuse"
)

// The operations on files; filesystem.go says why each of them is here.

func (f *stallFS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Create(cancel, in, name, out) })
}

func (f *stallFS) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Tmpfile(cancel, in, out) })
}

func (f *stallFS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Open(cancel, in, out) })
}

func (f *stallFS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	return doValue(f, func() (fuse.ReadResult, fuse.Status) { return f.fs.Read(cancel, in, buf) })
}

func (f *stallFS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Lseek(cancel, in, out) })
}

func (f *stallFS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return doValue(f, func() (uint32, fuse.Status) { return f.fs.Write(cancel, in, data) })
}

func (f *stallFS) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	return doValue(f, func() (uint32, fuse.Status) { return f.fs.Writev(cancel, in, data) })
}

func (f *stallFS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return doValue(f, func() (uint32, fuse.Status) { return f.fs.CopyFileRange(cancel, in) })
}

func (f *stallFS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Flush(cancel, in) })
}

func (f *stallFS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Fsync(cancel, in) })
}

func (f *stallFS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Fallocate(cancel, in) })
}

func (f *stallFS) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, out *fuse.IoctlOut, outbuf []byte) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.Ioctl(cancel, in, inbuf, out, outbuf) })
}

func (f *stallFS) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.GetLk(cancel, in, out) })
}

func (f *stallFS) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.SetLk(cancel, in) })
}

func (f *stallFS) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return f.do(func() fuse.Status { return f.fs.SetLkw(cancel, in) })
}
