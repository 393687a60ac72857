//go:build linux

package vault

import (
	"context"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pauser pauses between the looks at a port. Each pause that Go's own timers make
// wakes up to five threads, this one wakes one: of many in a second they are most
// of what the looks cost. (Go's monitor thread sleeps until the next timer and wakes
// with it, or with a system call that goes through the scheduler; runtime/proc.go.)
type pauser struct{ timer *os.File } // of the kernel; nil: it has none

func newPauser() pauser {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return pauser{}
	}
	return pauser{os.NewFile(uintptr(fd), "timer")}
}

func (p pauser) close() { _ = p.timer.Close() }

// pause returns after d, or when ctx is done.
func (p pauser) pause(ctx context.Context, d time.Duration) {
	if !p.await(d) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
}

// await reports whether the kernel's timer has waited for d.
func (p pauser) await(d time.Duration) bool {
	raw, err := p.timer.SyscallConn()
	if err != nil { // there is none
		return false
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, d.Nanoseconds()))} // 0 would stop it
	var expired [8]byte
	var set, read syscall.Errno
	err = raw.Read(func(fd uintptr) (done bool) {
		if spec.Value != (unix.Timespec{}) {
			_, _, set = syscall.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
			spec.Value = unix.Timespec{}
		}
		_, _, read = syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&expired)), unsafe.Sizeof(expired))
		return set != 0 || read != syscall.EAGAIN
	})
	return err == nil && set == 0 && read == 0
}
