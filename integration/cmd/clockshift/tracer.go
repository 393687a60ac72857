//go:build linux && (amd64 || arm64)

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The types of entries in the auxiliary vector: linux/auxvec.h.
const (
	auxEnd    = 0
	auxIgnore = 1
	auxVDSO   = 33 // AT_SYSINFO_EHDR
)

// tracer runs a program and corrects what it reads of the wall clock.
type tracer struct {
	clock   *clock
	pid     int
	threads map[int]uint64 // by id; where a clock is being read into, or 0
}

func newTracer(c *clock) *tracer {
	return &tracer{clock: c, threads: map[int]uint64{}}
}

// start starts the program and leaves it stopped before its first
// instruction. The calling goroutine must go on with follow: the kernel lets
// only the thread that traces give orders.
func (t *tracer) start(program []string) error {
	runtime.LockOSThread()
	if err := filter(); err != nil {
		return err
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.pid = cmd.Process.Pid
	t.threads[t.pid] = 0
	_, status, err := wait(t.pid)
	switch {
	case err != nil:
		return fmt.Errorf("waiting for %s to stop at its start: %w", program[0], err)
	case !status.Stopped():
		return fmt.Errorf("%s did not stop at its start", program[0])
	}
	const options = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACESYSGOOD
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	return t.removeVDSO()
}

// removeVDSO strikes the vDSO off the auxiliary vector, which lies on the stack
// above the arguments and the environment. A Go program that does not find it
// asks the kernel for the time (runtime/vdso_linux.go).
func (t *tracer) removeVDSO() error {
	info, err := getSyscallInfo(t.pid)
	if err != nil {
		return err
	}
	word := info.stack + 8 // past the number of arguments
	for lists := 2; lists > 0; word += 8 {
		v, err := t.peek(t.pid, word)
		if err != nil {
			return err
		}
		if v[0] == 0 {
			lists--
		}
	}
	for ; ; word += 16 {
		entry, err := t.peek(t.pid, word)
		if err != nil {
			return err
		}
		switch entry[0] {
		case auxEnd:
			return nil // there was none
		case auxVDSO:
			return t.poke(t.pid, word, [2]uint64{auxIgnore, entry[1]})
		}
	}
}

// trace lets the program run and returns how it ended.
func (t *tracer) trace() (code int, err error) {
	for tid, signal := t.pid, 0; ; {
		if t.threads[tid] != 0 {
			err = unix.PtraceSyscall(tid, signal) // stop again when the call returns
		} else {
			err = unix.PtraceCont(tid, signal)
		}
		// A thread can be killed while it is stopped; wait reports it.
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("letting thread %d go on: %w", tid, err)
		}
		var status unix.WaitStatus
		for {
			if tid, status, err = wait(-1); err != nil {
				return 0, fmt.Errorf("waiting: %w", err)
			}
			if status.Stopped() {
				break
			}
			delete(t.threads, tid)
			if tid == t.pid && status.Signaled() {
				return 128 + int(status.Signal()), nil
			}
			if tid == t.pid {
				return status.ExitStatus(), nil
			}
		}
		signal, err = t.handleStop(tid, status)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
	}
}

// handleStop does what a stop is for, and returns the signal to go on with.
func (t *tracer) handleStop(tid int, status unix.WaitStatus) (signal int, err error) {
	_, known := t.threads[tid]
	switch stop := status.StopSignal(); {
	case stop == unix.SIGTRAP|0x80: // the call returns
		to := t.threads[tid]
		t.threads[tid] = 0
		return 0, t.addOffset(tid, to)
	case status.TrapCause() == unix.PTRACE_EVENT_SECCOMP: // the call begins
		info, err := getSyscallInfo(tid)
		t.threads[tid] = info.arguments[1]
		return 0, err
	case status.TrapCause() > 0: // it started a thread
		return 0, nil
	case stop == unix.SIGSTOP && !known: // which begins with this
		t.threads[tid] = 0
		return 0, nil
	default:
		return int(stop), nil
	}
}

// addOffset adds the offset to the time at an address: seconds, nanoseconds.
func (t *tracer) addOffset(tid int, at uint64) error {
	info, err := getSyscallInfo(tid)
	if err != nil || info.op != unix.PTRACE_SYSCALL_INFO_EXIT || info.result != 0 {
		return err
	}
	read, err := t.peek(tid, at)
	if err != nil {
		return err
	}
	const second = 1_000_000_000
	now := int64(read[0])*second + int64(read[1]) + t.clock.offset.Load()
	t.clock.readings.Add(1)
	return t.poke(tid, at, [2]uint64{uint64(now / second), uint64(now % second)})
}

func (t *tracer) peek(tid int, at uint64) (words [2]uint64, err error) {
	var b [16]byte
	if _, err := unix.PtracePeekData(tid, uintptr(at), b[:]); err != nil {
		return words, fmt.Errorf("reading the program's memory: %w", err)
	}
	return [2]uint64{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}, nil
}

func (t *tracer) poke(tid int, at uint64, words [2]uint64) error {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], words[0])
	binary.LittleEndian.PutUint64(b[8:], words[1])
	if _, err := unix.PtracePokeData(tid, uintptr(at), b[:]); err != nil {
		return fmt.Errorf("writing the program's memory: %w", err)
	}
	return nil
}

// syscallInfo is struct ptrace_syscall_info of linux/ptrace.h, which is the same on
// every machine (Linux 5.3).
type syscallInfo struct {
	op        uint8
	_         [7]byte
	_         uint64
	stack     uint64
	result    uint64 // of a call that returns; of one that begins the number
	arguments [6]uint64
	_         [2]uint64
}

// getSyscallInfo returns the system call, if any, in which a thread is stopped.
func getSyscallInfo(tid int) (syscallInfo, error) {
	var c syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c)), 0, 0)
	if errno != 0 {
		return c, fmt.Errorf("asking for the system call: %w", errno)
	}
	return c, nil
}

func wait(pid int) (int, unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		tid, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			return tid, status, err
		}
	}
}
