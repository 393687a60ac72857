package statefile_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
)

// The numbers of linux/seccomp.h and linux/prctl.h that package syscall lacks.
const (
	prSetNoNewPrivs   = 38
	prSetSeccomp      = 22
	seccompModeFilter = 2
	seccompRetAllow   = 0x7fff0000
	seccompRetErrno   = 0x00050000
)

// withoutSync runs f on a thread of its own, on which the kernel refuses to
// wait for the disk. The thread ends with f, and the refusal with it.
func withoutSync(t *testing.T, f func()) {
	t.Helper()
	filter := []syscall.SockFilter{
		{Code: syscall.BPF_LD | syscall.BPF_W | syscall.BPF_ABS, K: 0}, // the number of the call
		{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, Jt: 2, K: syscall.SYS_FSYNC},
		{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, Jt: 1, K: syscall.SYS_FDATASYNC},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: seccompRetAllow},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: seccompRetErrno | uint32(syscall.EIO)},
	}
	program := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	refused := make(chan syscall.Errno, 1)
	go func() {
		defer close(refused)
		runtime.LockOSThread() // never unlocked: Go ends the thread
		_, _, err := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0)
		if err == 0 {
			_, _, err = syscall.RawSyscall(syscall.SYS_PRCTL, prSetSeccomp, seccompModeFilter, uintptr(unsafe.Pointer(&program)))
		}
		if err != 0 {
			refused <- err
			return
		}
		f()
	}()
	err, failed := <-refused
	require.False(t, failed, "filtering the calls of a thread: %v", err)
}

func TestSave_DoesNotWaitForTheDisk(t *testing.T) {
	dir := t.TempDir()
	var sync, save error
	withoutSync(t, func() {
		probe, err := os.CreateTemp(dir, "probe")
		if err == nil {
			sync = probe.Sync()
			_ = probe.Close()
		}
		save = statefile.New(dir, "state.json").Save(sample)
	})
	require.ErrorIs(t, sync, syscall.EIO, "a wait would be noticed")
	require.NoError(t, save)
	var got memory
	require.NoError(t, statefile.New(dir, "state.json").Load(&got))
	assert.Equal(t, sample, got)
}
