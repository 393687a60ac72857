package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asStallfs in the environment makes this test binary be stallfs itself. The
// filesystem has to live in another process than its clients: when a client
// hangs, so does the thread it runs on.
const asStallfs = "STALLFS_TEST_AS_STALLFS"

// waitTimeout is for what happens at once on an idle machine.
const waitTimeout = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asStallfs) != "" {
		main()
	}
	os.Exit(m.Run())
}

// stallfs returns the command, not yet started.
func stallfs(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	// A race detector's process waits for a second before it ends by default.
	cmd.Env = append(os.Environ(), asStallfs+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// A mountedFS is a stallfs that serves, in a process of its own.
type mountedFS struct {
	t       *testing.T
	backing string
	dir     string
	socket  string
	pid     int
	exited  chan struct{}
	exit    *os.ProcessState // valid when exited is closed
	stderr  strings.Builder  // as exit
}

// mountStallfs mounts a fresh directory in the mode open, and makes sure that the
// mode is open and the mount gone when the test ends, however it ends.
func mountStallfs(t *testing.T) *mountedFS {
	t.Helper()
	require.NoError(t, checkFuse(), "this test mounts a real filesystem")
	root := t.TempDir()
	fs := &mountedFS{
		t:       t,
		backing: filepath.Join(root, "backing"),
		dir:     filepath.Join(root, "mount"),
		socket:  filepath.Join(root, "control"),
		exited:  make(chan struct{}),
	}
	require.NoError(t, os.Mkdir(fs.backing, 0o755))
	require.NoError(t, os.Mkdir(fs.dir, 0o755))
	fs.startProcess()
	t.Cleanup(fs.cleanup)
	return fs
}

func (fs *mountedFS) startProcess() {
	fs.t.Helper()
	cmd := stallfs("serve", "--backing", fs.backing, "--mount", fs.dir, "--control", fs.socket)
	cmd.Stderr = &fs.stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(fs.t, err)
	// A test binary that is killed with a thread hung in the mount cannot end
	// before the mode is open: so stallfs stops when the thread that started it
	// does. That thread is kept for nothing else, it never hangs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	serving := make(chan string, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		serving <- line
		_ = cmd.Wait()
		fs.exit = cmd.ProcessState
		close(fs.exited)
	}()
	require.NoError(fs.t, <-started)
	fs.pid = cmd.Process.Pid
	if line := <-serving; line != "stallfs: serving\n" {
		<-fs.exited
		require.FailNow(fs.t, "stallfs did not come up", "stdout: %sstderr: %s", line, &fs.stderr)
	}
}

func (fs *mountedFS) cleanup() {
	_ = syscall.Kill(fs.pid, syscall.SIGTERM)
	select {
	case <-fs.exited:
	case <-time.After(waitTimeout):
		_ = syscall.Kill(fs.pid, syscall.SIGKILL) // the kernel lets the clients go
		<-fs.exited
		fs.t.Errorf("stallfs did not end on SIGTERM: %s", &fs.stderr)
	}
	if isMounted(fs.t, fs.dir) {
		fs.t.Errorf("stallfs left its mount behind")
		_ = detach(fs.dir)
	}
}

// withT is the same filesystem with failures reported in a subtest.
func (fs *mountedFS) withT(t *testing.T) *mountedFS {
	return &mountedFS{t: t, backing: fs.backing, dir: fs.dir, socket: fs.socket}
}

// request sends a line to the control socket and decodes the answer.
func (fs *mountedFS) request(line string) map[string]any {
	fs.t.Helper()
	conn, err := net.DialTimeout("unix", fs.socket, waitTimeout)
	require.NoError(fs.t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, line+"\n")
	require.NoError(fs.t, err)
	var reply map[string]any
	require.NoError(fs.t, json.NewDecoder(conn).Decode(&reply))
	return reply
}

func (fs *mountedFS) set(mode string) {
	fs.t.Helper()
	require.Equal(fs.t, mode, fs.request(mode)["mode"])
}

// awaitWaiting returns when n operations or more wait.
func (fs *mountedFS) awaitWaiting(n int) {
	fs.t.Helper()
	require.Eventually(fs.t, func() bool {
		return fs.request("status")["waiting"].(float64) >= float64(n)
	}, waitTimeout, 5*time.Millisecond, "waited for %d operations to be held", n)
}

// path names a file on the mount, real the same one behind it.
func (fs *mountedFS) path(name string) string        { return filepath.Join(fs.dir, name) }
func (fs *mountedFS) backingPath(name string) string { return filepath.Join(fs.backing, name) }

func (fs *mountedFS) write(name, content string) {
	fs.t.Helper()
	require.NoError(fs.t, os.WriteFile(fs.path(name), []byte(content), 0o644))
}

// inBackground runs an operation that may hang.
func inBackground(op func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- op() }()
	return done
}

func requireDone(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(waitTimeout):
		require.FailNow(t, "the operation still hangs")
		return nil
	}
}

func requireHanging(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		require.FailNow(t, "the operation did not hang", "it ended with: %v", err)
	default:
	}
}

func isMounted(t *testing.T, dir string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	return strings.Contains(string(table), " "+dir+" ")
}
