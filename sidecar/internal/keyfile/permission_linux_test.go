package keyfile_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
)

func TestRead_ReportsModeAndOwnerWhenPermissionIsDenied(t *testing.T) {
	const otherUID = 65532
	k := key(32)
	for _, row := range []struct {
		sentence string
		file     os.FileMode // of DIR/in/key
		folder   os.FileMode // of DIR/in
		path     string
		want     string
	}{
		{"a file that no user may read", 0o000, 0o755, "/in/key", "DIR/in/key: permission denied: mode 0000"},
		{"that file among others", 0o000, 0o755, "/in", "DIR/in/key: permission denied: mode 0000"},
		{"a directory that cannot be listed", 0o444, 0o311, "/in", "DIR/in: permission denied: mode 0311"},
		{"a directory that cannot be entered", 0o444, 0o000, "/in/key", "DIR/in/key: permission denied in DIR/in: mode 0000"},
		{"the same, two levels down", 0o444, 0o000, "/in/way/key", "DIR/in/way/key: permission denied in DIR/in: mode 0000"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			dir := openDir(t)
			require.NoError(t, os.Mkdir(dir+"/in", 0o755))
			write(t, dir+"/in/key", b64(k))
			require.NoError(t, os.Chmod(dir+"/in/key", row.file))
			require.NoError(t, os.Chmod(dir+"/in", row.folder))
			t.Cleanup(func() { _ = os.Chmod(dir+"/in", 0o755) }) // or it could not be removed
			uid, gid := os.Geteuid(), os.Getegid()
			running := uid
			if uid == 0 { // whom no mode keeps out
				running = otherUID
			}
			var err error
			asUser(t, otherUID, func() { _, _, err = keyfile.New(dir + row.path).Read() })
			require.EqualError(t, err, strings.ReplaceAll(row.want, "DIR", dir)+
				fmt.Sprintf(", owner uid %d gid %d, running as uid %d gid %d", uid, gid, running, gid))
			assert.NotErrorIs(t, err, keyfile.ErrMissing)
		})
	}
}

// asUser runs f as the user uid and without root's rights to files, on a
// thread that ends with it.
func asUser(t *testing.T, uid int, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f() // an ordinary user already
		return
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread is not used again
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0))
		if errno != 0 {
			done <- errno
			return
		}
		f()
		done <- nil
	}()
	require.NoError(t, <-done)
}
