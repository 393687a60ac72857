package hardening_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/hardening"
)

// role makes this binary, started again, one of the processes that the tests
// need: "hardened" or "plain" waits to be inspected, "read" tries to read what
// its argument names.
const role = "HARDEN_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "hardened":
		if err := hardening.Process(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		wait()
	case "plain":
		wait()
	case "read":
		_, err := os.Open(os.Args[1])
		fmt.Print(err)
	default:
		os.Exit(m.Run())
	}
}

// wait reports the dumpable flag and stays until its input is closed.
func wait() {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	fmt.Println(dumpable, err)
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// restart starts this binary in a role, as an ordinary user if root can do that.
func restart(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	// Not os.Args[0]: an ordinary user may not enter its directory.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	return cmd
}

// start returns the PID of a process that waits, and the flag it reported.
func start(t *testing.T, as string) (pid int, dumpable string) {
	t.Helper()
	cmd := restart(t, as)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		assert.NoError(t, cmd.Wait())
	})
	dumpable, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd.Process.Pid, strings.TrimSpace(dumpable)
}

func coreLimit(t *testing.T, pid int) []string {
	t.Helper()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			return strings.Fields(rest)[:2]
		}
	}
	require.Fail(t, "no core limit", string(limits))
	return nil
}

func TestProcess_DisablesCoreDumps(t *testing.T) {
	pid, dumpable := start(t, "hardened")
	assert.Equal(t, "0 <nil>", dumpable)
	assert.Equal(t, []string{"0", "0"}, coreLimit(t, pid), "soft and hard")
}

func TestProcess_HidesMemoryAndEnvironmentFromTheSameUser(t *testing.T) {
	// Where Yama is at work, even a plain process refuses its memory.
	_, err := os.Stat("/proc/sys/kernel/yama/ptrace_scope")
	yama := err == nil

	for _, row := range []struct {
		as, file string
		refused  bool
	}{
		{"plain", "environ", false},
		{"plain", "mem", yama},
		{"hardened", "environ", true},
		{"hardened", "mem", true},
	} {
		t.Run(row.as+" "+row.file, func(t *testing.T) {
			pid, dumpable := start(t, row.as)
			require.Equal(t, strconv.Itoa(map[bool]int{true: 0, false: 1}[row.as == "hardened"])+" <nil>", dumpable)
			path := fmt.Sprintf("/proc/%d/%s", pid, row.file)
			out, err := restart(t, "read", path).Output()
			require.NoError(t, err)
			if row.refused {
				assert.Equal(t, "open "+path+": permission denied", string(out))
			} else {
				assert.Equal(t, "<nil>", string(out))
			}
		})
	}
}
