//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where the filter finds things: struct seccomp_data of linux/seccomp.h. The
// low half of an argument comes first on the machines that this is built for.
const (
	atNumber   = 0
	atArgument = 16
)

// filter makes the calling thread, and what it starts, stop for the tracer at
// each reading of the wall clock. Without it every system call would stop.
//
// It also answers PR_SET_DUMPABLE with a success that does nothing: the
// memory of a process that is not dumpable is closed to a tracer that is not
// root.
func filter() error {
	const (
		trace   = unix.SECCOMP_RET_TRACE
		succeed = unix.SECCOMP_RET_ERRNO // with errno 0
		allow   = unix.SECCOMP_RET_ALLOW
	)
	program := []unix.SockFilter{
		load(atNumber),
		jumpUnless(unix.SYS_CLOCK_GETTIME, 3),
		load(atArgument),
		jumpUnless(unix.CLOCK_REALTIME, 5),
		ret(trace),
		jumpUnless(unix.SYS_PRCTL, 3),
		load(atArgument),
		jumpUnless(unix.PR_SET_DUMPABLE, 1),
		ret(succeed),
		ret(allow),
	}
	// Without root, the kernel accepts a filter only after this call.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	whole := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&whole)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("setting a seccomp filter: %w", errno)
	}
	return nil
}

func load(at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
}

// jumpUnless skips so many instructions unless what was loaded is k.
func jumpUnless(k uint32, skip uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
