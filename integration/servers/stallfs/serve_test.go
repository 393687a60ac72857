package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServe_StopWithWaitingOperationsCleansUp(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			fs := mountStallfs(t)
			fs.write("file", "content")
			f, err := os.OpenFile(fs.path("file"), os.O_RDWR, 0)
			require.NoError(t, err)
			fs.set("hang")
			waiting := []<-chan error{
				inBackground(func() error { _, err := os.Stat(fs.path("file")); return err }),
				inBackground(func() error { _, err := f.WriteAt([]byte("new"), 0); return err }),
				inBackground(func() error { return os.WriteFile(fs.path("other"), []byte("new"), 0o644) }),
			}
			fs.awaitWaiting(len(waiting))

			require.NoError(t, syscall.Kill(fs.pid, signal))
			time.Sleep(50 * time.Millisecond)
			require.NoError(t, syscall.Kill(fs.pid, signal), "impatience must not hurt")
			select {
			case <-fs.exited:
			case <-time.After(waitTimeout):
				require.FailNow(t, "stallfs does not end")
			}
			assert.Zero(t, fs.exit.ExitCode(), "stderr: %s", &fs.stderr)
			assert.False(t, isMounted(t, fs.dir), "the mount is still there")
			assert.NoFileExists(t, fs.socket)
			for _, done := range waiting {
				assert.NoError(t, requireDone(t, done), "who waited is let go and has time to finish")
			}
			f.Close()
			assert.NoFileExists(t, fs.path("file"), "the empty directory below is back")
		})
	}
}

func TestServe_EndsWhenUnmountedByOthers(t *testing.T) {
	fs := mountStallfs(t)
	require.NoError(t, detach(fs.dir))
	select {
	case <-fs.exited:
	case <-time.After(waitTimeout):
		require.FailNow(t, "stallfs does not notice")
	}
	assert.Equal(t, 1, fs.exit.ExitCode())
	assert.Contains(t, fs.stderr.String(), "unmounted by someone else")
	assert.NoFileExists(t, fs.socket)
}

func TestServe_MountCopyDoesNotDelayStop(t *testing.T) {
	fs := mountStallfs(t)
	elsewhere := exec.Command("unshare", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c", "echo there; exec sleep 600")
	out, err := elsewhere.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, elsewhere.Start())
	defer func() {
		_ = elsewhere.Process.Kill()
		_ = elsewhere.Wait()
	}()
	_, err = out.Read(make([]byte, 5))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(fs.pid, syscall.SIGTERM))
	select {
	case <-fs.exited:
	case <-time.After(waitTimeout):
		require.Fail(t, "stallfs waits for the other namespace")
	}
	require.Zero(t, fs.exit.ExitCode(), fs.stderr.String())
	require.False(t, isMounted(t, fs.dir))
}

func TestControl_SocketIsPrivate(t *testing.T) {
	fs := mountStallfs(t)
	info, err := os.Stat(fs.socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestControl_AnswersRequests(t *testing.T) {
	fs := mountStallfs(t)
	for _, row := range []struct{ request, mode, err string }{
		{"status", "open", ""},
		{"hang", "hang", ""},
		{"slow 1500ms", "slow 1.5s", ""},
		{"status", "slow 1.5s", ""},
		{"  open ", "open", ""},
		{"slow", "", `unknown mode "slow": want open, hang, eio or slow DURATION`},
		{"slow 0s", "", `slow needs a duration above zero such as 200ms, not "0s"`},
		{"stop", "", `unknown mode "stop": want open, hang, eio or slow DURATION`},
		{"", "", `unknown mode "": want open, hang, eio or slow DURATION`},
		{"status", "open", ""},
	} {
		t.Run(fmt.Sprintf("%q", row.request), func(t *testing.T) {
			reply := fs.withT(t).request(row.request)
			if row.err != "" {
				assert.Equal(t, map[string]any{"error": row.err}, reply)
				return
			}
			assert.Equal(t, row.mode, reply["mode"])
			assert.Contains(t, reply, "waiting")
			assert.Contains(t, reply, "passed")
		})
	}
}

func TestControl_SilentClientBlocksNoOthers(t *testing.T) {
	fs := mountStallfs(t)
	silent, err := net.Dial("unix", fs.socket)
	require.NoError(t, err)
	defer silent.Close()
	_, err = io.WriteString(silent, "ha")
	require.NoError(t, err)
	assert.Equal(t, "open", fs.request("status")["mode"])
}

func TestCommands_SetAndStatus(t *testing.T) {
	fs := mountStallfs(t)
	out, err := stallfs("set", "--control", fs.socket, "slow", "250ms").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, out)
	out, err = stallfs("status", "--control", fs.socket).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Regexp(t, `^\{"mode":"slow 250ms","waiting":\d+,"passed":\d+\}\n$`, string(out))
}

func TestCommands_RefuseInvalidUse(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, dir := range []string{"backing", "mount", "backing/below"} {
		require.NoError(t, os.Mkdir(at(dir), 0o755))
	}
	require.NoError(t, os.WriteFile(at("file"), nil, 0o644))
	live, err := net.Listen("unix", at("live"))
	require.NoError(t, err)
	defer live.Close()
	serve := func(backing, mount, control string) []string {
		return []string{"serve", "--backing", at(backing), "--mount", at(mount), "--control", at(control)}
	}
	for _, row := range []struct {
		sentence string
		args     []string
		code     int
		says     string
	}{
		{"no command", nil, 2, "no command"},
		{"an unknown command", []string{"mount"}, 2, "unknown command mount"},
		{"an unknown flag", []string{"status", "--socket", "x"}, 2, "flag provided but not defined"},
		{"serve without a mount point", []string{"serve", "--backing", root, "--control", at("c")}, 2, "--mount is missing"},
		{"serve with an argument too many", append(serve("backing", "mount", "c"), "hang"), 2, "serve takes no argument: hang"},
		{"serve with an unknown mode", append(serve("backing", "mount", "c"), "--mode", "shut"), 2, "unknown mode"},
		{"set without a mode", []string{"set", "--control", at("c")}, 2, "unknown mode"},
		{"set without a server", []string{"set", "--control", at("c"), "hang"}, 1, "is stallfs serving?"},
		{"a backing directory that is not there", serve("gone", "mount", "c"), 1, "backing directory: "},
		{"a mount point that is a file", serve("backing", "file", "c"), 1, "is no directory"},
		{"a mount point inside the backing directory", serve("backing", "backing/below", "c"), 1, "must lie outside each other"},
		{"a backing directory inside the mount point", serve("backing/below", "backing", "c"), 1, "must lie outside each other"},
		{"a socket that the mount would hide", serve("backing", "mount", "mount/c"), 1, "must lie outside the mount point"},
		{"a socket path taken by a file", serve("backing", "mount", "file"), 1, "is no socket"},
		{"a socket that someone answers", serve("backing", "mount", "live"), 1, "another process listens"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			cmd := stallfs(row.args...)
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			assert.Equal(t, row.code, cmd.ProcessState.ExitCode())
			assert.Contains(t, string(out), row.says)
			if row.code == 1 {
				assert.Equal(t, 1, strings.Count(string(out), "\n"), "an error is one line: %s", out)
			}
		})
	}
}

func TestServe_AfterAKill(t *testing.T) {
	fs := mountStallfs(t)
	require.NoError(t, syscall.Kill(fs.pid, syscall.SIGKILL))
	<-fs.exited
	serve := []string{"serve", "--backing", fs.backing, "--mount", fs.dir, "--control", fs.socket}
	out, err := stallfs(serve...).CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "a killed stallfs left its mount behind")

	require.NoError(t, detach(fs.dir))
	fs.exited = make(chan struct{})
	fs.startProcess() // over the dead socket
	assert.Equal(t, "open", fs.request("status")["mode"])
}
