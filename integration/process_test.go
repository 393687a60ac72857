package integration

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
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

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func awaitErr(sc *scenario, cond condition) error {
	return testenv.Await(sc.ctx, waitTimeout, cond.what, func() string { return cond.check(sc) })
}

func shareHex(share string) string {
	b, err := base64.StdEncoding.DecodeString(share)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

func logContainsTimes(text string, n int) condition {
	return condition{fmt.Sprintf("the log to say %q %d times", text, n), func(sc *scenario) string {
		if got := strings.Count(sc.sidecar.Output(), text); got != n {
			return fmt.Sprintf("%d times", got)
		}
		return ""
	}}
}

func TestSIGTERM_EndsWithinASecond(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true},
		phase{"the unseal hangs", sequence(setStorage("hang"), startSidecar), []condition{phaseIs("unseal-hanging")}},
		phase{"the pod ends", stopSidecar, []condition{exitCodeIs(0), logContains("stopped")}},
		phase{"storage is back: vault finishes by itself", setStorage("open"), nil},
		phase{"the sidecar is back", startSidecar, []condition{serving()}},
	)
}

func TestSIGKILL_AtAnyMomentRecovers(t *testing.T) {
	t.Parallel()
	for after := time.Duration(0); after <= 120*time.Millisecond; after += 15 * time.Millisecond {
		t.Run("after "+after.String(), func(t *testing.T) {
			t.Parallel()
			sc := newScenario(t, setup{shares: 5, threshold: 3, stallable: true})
			setStorage("slow 2ms")(sc)
			sc.startSidecar()
			time.Sleep(after) // the moment is what is tested
			killSidecar(sc)
			sc.startSidecar()
			await(sc, serving())
		})
	}
}

// A crash prints stacks, and must print no share: it is made to crash while a
// share is on its way.
func TestCrashDump_ShowsNoShare(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			sc := run(t, setup{stallable: true, env: []string{"GOTRACEBACK=crash"}},
				phase{"the unseal hangs", sequence(setStorage("hang"), startSidecarWithCoreDumps), []condition{phaseIs("unseal-hanging")}},
				phase{"it crashes", func(sc *scenario) { sc.sidecar.Signal(signal) }, []condition{{"its end", func(sc *scenario) string {
					if sc.sidecar.Exited() {
						return ""
					}
					return "still running"
				}}}},
			)
			assert.Contains(t, sc.sidecar.Output(), "goroutine ", "this is to be a crash dump")
			cores, err := filepath.Glob(filepath.Join(sc.env.Dir, "*core*"))
			require.NoError(t, err)
			assert.Empty(t, cores)
		})
	}
}

// startSidecarWithCoreDumps lifts the limit that it may have inherited.
func startSidecarWithCoreDumps(sc *scenario) {
	sc.startSidecar("/bin/sh", "-c", `ulimit -S -c "$(ulimit -H -c)"; exec "$@"`, "sh")
}

func TestProcess_IsHardened(t *testing.T) {
	t.Parallel()
	sc := run(t, setup{}, phase{"it runs", startSidecar, []condition{serving()}})
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", sc.sidecar.Pid()))
	require.NoError(t, err)
	assert.Regexp(t, `Max core file size\s+0\s+0\s`, string(limits))
}

// What unsealing does not need is never a reason to leave Vault sealed.
func TestOptions_InvalidValuesDoNotPreventUnseal(t *testing.T) {
	t.Parallel()
	const said = "an option's value is not accepted, its default is used"
	run(t, setup{
		args: []string{"--prove-interval", "daily", "--readiness-gate", "unsealed"},
		env:  []string{"LOG_FORMAT=xml", "STORAGE_PROBE=often", "ESO_RECOVERY=sometimes", "POD_NAME=Vault_0", "OPERATOR_SEAL=HOLD"},
	},
		phase{"it starts", startSidecar, []condition{
			serving(), logContainsTimes(said, 6),
			logContains(`option=LOG_FORMAT value="\"xml\"" accepted="text, json" used=text`),
		}},
	)
}

func TestHTTP_PortInUseDoesNotPreventUnseal(t *testing.T) {
	t.Parallel()
	port, err := testenv.Port()
	require.NoError(t, err)
	taken, err := net.Listen("tcp", "127.0.0.1:"+port)
	require.NoError(t, err)
	sc := run(t, setup{args: []string{"--http-bind", "127.0.0.1:" + port}},
		phase{"its port is taken: it unseals all the same", startSidecar,
			[]condition{logContains("http cannot be served"), logContains("vault is unsealed, active")}},
	)
	require.NoError(t, taken.Close())
	sc.sidecar.HTTP = "http://127.0.0.1:" + port
	await(sc, serving())
}

// A log that is not read stops the process that writes it. A process that stands still
// for that or another reason ends, for the kubelet to start it again.
func TestWatchdog_EndsAStuckProcess(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	unread, log, err := os.Pipe()
	require.NoError(t, err)
	defer unread.Close()
	require.NoError(t, log.SetWriteDeadline(time.Now().Add(time.Second)))
	_, err = log.Write(make([]byte, 1<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the pipe is full")

	ctx, cancel := context.WithTimeout(t.Context(), 2*waitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, env.Binary("vault-unseal-sidecar"), "--keys", env.Dir, "--http-bind", "127.0.0.1:0", "--state-dir", env.Dir)
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	require.NoError(t, log.Close())
	var ended *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &ended)
	assert.Equal(t, 1, ended.ExitCode(), ended.String())
}

func TestOptions_BadUsageEndsTheStart(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	for _, row := range []struct {
		name string
		args []string
		env  []string
		says []string
	}{
		{"a flag with a value that makes no sense", []string{"--operator-seal", "maybe"}, nil, []string{"--operator-seal", `"maybe"`, "hold, unseal"}},
		{"a variable with one", nil, []string{"OPERATOR_SEAL=maybe"}, []string{"OPERATOR_SEAL", `"maybe"`, "hold, unseal"}},
		{"plain http to another host", []string{"--vault-addr", "http://vault.example:8200"}, nil, []string{"--vault-addr", "https://"}},
		{"keys that are no path", []string{"--keys", "keys"}, nil, []string{"--keys", `"keys"`, "absolute path"}},
		{"a certificate without its key", nil, []string{"VAULT_CLIENT_CERT=/tls.crt"}, []string{"VAULT_CLIENT_KEY", "both or none"}},
		{"no such option", []string{"--nonsense"}, nil, []string{"nonsense", "--help"}},
		{"no such command", []string{"walk"}, nil, []string{"walk", "run"}},
		{"a CA file that is not there", []string{"--vault-addr", "https://127.0.0.1:1", "--vault-cacert", "/nowhere/ca.pem"}, nil, []string{"--vault-cacert", "/nowhere/ca.pem", "PEM"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, env.Binary("vault-unseal-sidecar"), row.args...)
			cmd.Env = row.env
			out, err := cmd.CombinedOutput()
			var ended *exec.ExitError
			require.ErrorAs(t, err, &ended, string(out))
			assert.Equal(t, 2, ended.ExitCode(), string(out))
			for _, text := range row.says {
				assert.Contains(t, string(out), text)
			}
		})
	}
}

func TestVersion_IsPrinted(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	out, err := exec.Command(env.Binary("vault-unseal-sidecar"), "version").CombinedOutput()
	require.NoError(t, err)
	assert.Regexp(t, `^vault-unseal-sidecar \S+ \(commit \S+, go1\.\S+, linux/\S+\)\nsha256 \S+\n$`, string(out))
}
