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

func awaitErr(w *world, e expectation) error {
	return testenv.Await(w.ctx, patience, e.what, func() string { return e.see(w) })
}

func hexOf(share string) string {
	b, err := base64.StdEncoding.DecodeString(share)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

func logsTimes(text string, n int) expectation {
	return expectation{fmt.Sprintf("the log to say %q %d times", text, n), func(w *world) string {
		if got := strings.Count(w.sidecar.Output(), text); got != n {
			return fmt.Sprintf("%d times", got)
		}
		return ""
	}}
}

func TestSIGTERMEndsItWithinASecond(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true},
		phase{"the unseal hangs", all(storage("hang"), startSidecar), []expectation{phaseIs("unseal-hanging")}},
		phase{"the pod ends", stopSidecar, []expectation{exits(0), logs("stopped")}},
		phase{"storage thaws: vault finishes by itself", storage("open"), nil},
		phase{"the sidecar is back", startSidecar, []expectation{serving()}},
	)
}

func TestKilledAtAnyMomentAndStartedAgain(t *testing.T) {
	t.Parallel()
	for after := time.Duration(0); after <= 120*time.Millisecond; after += 15 * time.Millisecond {
		t.Run("after "+after.String(), func(t *testing.T) {
			t.Parallel()
			w := furnish(t, home{shares: 5, threshold: 3, gated: true})
			storage("slow 2ms")(w)
			w.startSidecar()
			time.Sleep(after) // the moment is what is tested
			killSidecar(w)
			w.startSidecar()
			await(w, serving())
		})
	}
}

// A crash prints stacks, and must print no share: it is made to crash while a
// share is on its way.
func TestCrashDumpShowsNoShare(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			w := play(t, home{gated: true, env: []string{"GOTRACEBACK=crash"}},
				phase{"the unseal hangs", all(storage("hang"), startSidecarThatMayDump), []expectation{phaseIs("unseal-hanging")}},
				phase{"it crashes", func(w *world) { w.sidecar.Signal(signal) }, []expectation{{"its end", func(w *world) string {
					if w.sidecar.Ended() {
						return ""
					}
					return "still running"
				}}}},
			)
			assert.Contains(t, w.sidecar.Output(), "goroutine ", "this is to be a crash dump")
			cores, err := filepath.Glob(filepath.Join(w.lab.Dir, "*core*"))
			require.NoError(t, err)
			assert.Empty(t, cores)
		})
	}
}

// startSidecarThatMayDump lifts the limit that it may have inherited.
func startSidecarThatMayDump(w *world) {
	w.startSidecar("/bin/sh", "-c", `ulimit -S -c "$(ulimit -H -c)"; exec "$@"`, "sh")
}

func TestProcessIsHardened(t *testing.T) {
	t.Parallel()
	w := play(t, home{}, phase{"it runs", startSidecar, []expectation{serving()}})
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", w.sidecar.Pid()))
	require.NoError(t, err)
	assert.Regexp(t, `Max core file size\s+0\s+0\s`, string(limits))
}

// What unsealing does not need is never a reason to leave Vault sealed.
func TestValuesThatAreNotAcceptedKeepNothingSealed(t *testing.T) {
	t.Parallel()
	const said = "an option's value is not accepted, its default is used"
	play(t, home{
		args: []string{"--prove-interval", "daily", "--readiness-gate", "unsealed"},
		env:  []string{"LOG_FORMAT=xml", "STORAGE_PROBE=often", "ESO_RECOVERY=sometimes", "POD_NAME=Vault_0", "OPERATOR_SEAL=HOLD"},
	},
		phase{"it starts", startSidecar, []expectation{
			serving(), logsTimes(said, 6),
			logs(`option=LOG_FORMAT value="\"xml\"" accepted="text, json" used=text`),
		}},
	)
}

func TestHTTPPortIsTaken(t *testing.T) {
	t.Parallel()
	port, err := testenv.Port()
	require.NoError(t, err)
	taken, err := net.Listen("tcp", "127.0.0.1:"+port)
	require.NoError(t, err)
	w := play(t, home{args: []string{"--http-bind", "127.0.0.1:" + port}},
		phase{"its port is taken: it unseals all the same", startSidecar,
			[]expectation{logs("http cannot be served"), logs("vault is unsealed, active")}},
	)
	require.NoError(t, taken.Close())
	w.sidecar.HTTP = "http://127.0.0.1:" + port
	await(w, serving())
}

// A log that nobody reads stops whoever writes to it. A process that stands still
// for that or another reason ends, for the kubelet to start it again.
func TestWatchdog_EndsAProcessThatStandsStill(t *testing.T) {
	t.Parallel()
	l, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	unread, log, err := os.Pipe()
	require.NoError(t, err)
	defer unread.Close()
	require.NoError(t, log.SetWriteDeadline(time.Now().Add(time.Second)))
	_, err = log.Write(make([]byte, 1<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the pipe is full")

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.Binary("vault-unseal-sidecar"), "--keys", l.Dir, "--http-bind", "127.0.0.1:0", "--state-dir", l.Dir)
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	require.NoError(t, log.Close())
	var ended *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &ended)
	assert.Equal(t, 1, ended.ExitCode(), ended.String())
}

func TestBadOptionsEndTheStart(t *testing.T) {
	t.Parallel()
	l, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
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
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, l.Binary("vault-unseal-sidecar"), row.args...)
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

func TestVersion(t *testing.T) {
	t.Parallel()
	l, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	out, err := exec.Command(l.Binary("vault-unseal-sidecar"), "version").CombinedOutput()
	require.NoError(t, err)
	assert.Regexp(t, `^vault-unseal-sidecar \S+ \(commit \S+, go1\.\S+, linux/\S+\)\nsha256 \S+\n$`, string(out))
}
