package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// waitingKubectl is a kubectl without a cluster: what is there are files. What runs in a
// container hangs until it finds what to do. As kubectl does, and unlike bash between two
// commands, it dies of a Ctrl-C.
const waitingKubectl = `#!/bin/bash
trap 'trap - INT; kill -INT $$' INT
case " $* " in
*" patch --local "*) exec KUBECTL "$@" ;;
*" auth can-i "*) ;;
*" exec "*)
	until mv DIR/answer DIR/taken.$$ 2>/dev/null; do [[ -d DIR ]] && sleep 0.05 || exit; done
	. DIR/taken.$$
	;;
*" get statefulset "*) echo '{"spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "vault-unseal-sidecar"}]}}}}' ;;
*" get secret "*) [[ ! -e DIR/secret ]] || cat DIR/secret ;;
*" get pod "*) cat DIR/pod 2>/dev/null || { printf "$COMPLAINT" >&2 && exit 1; } ;;
*" create "*) cat >DIR/secret.tmp && [[ -e DIR/writable ]] && mv DIR/secret.tmp DIR/secret ;;
esac
`

const heldKey = `{"data": {"key": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9"}}`

// waitingScript is a script that waits.
type waitingScript struct {
	*testing.T
	cmd   *exec.Cmd
	in    *os.File
	shown *terminalBuffer
	dir   string
}

// startWaiting starts a command whose kubectl is waitingKubectl.
func startWaiting(t *testing.T, files map[string]string, command ...string) *waitingScript {
	t.Helper()
	dir := t.TempDir()
	servers, err := filepath.Abs("../bin/servers")
	require.NoError(t, err)
	fake := strings.NewReplacer("KUBECTL", filepath.Join(servers, "kubectl"), "DIR", dir).Replace(waitingKubectl)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kubectl"), []byte(fake), 0o755))
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	s := &waitingScript{T: t, shown: new(terminalBuffer), dir: dir}
	ctx, cancel := context.WithTimeout(t.Context(), 5*waitTimeout)
	t.Cleanup(cancel)
	s.cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	s.cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "TERM=xterm",
		`COMPLAINT=began \033[2J\033]0;pwned\007\r\u009b31m \u202eesrever\nbootstrap: all is well\n`)
	in, typed, err := os.Pipe()
	require.NoError(t, err)
	s.cmd.Stdin, s.in = in, typed
	s.cmd.Stdout, s.cmd.Stderr = s.shown, s.shown
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = time.Second
	require.NoError(t, s.cmd.Start())
	require.NoError(t, in.Close())
	t.Cleanup(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		_ = typed.Close()
	})
	return s
}

// await waits until what is shown matches.
func (s *waitingScript) await(pattern string) {
	s.Helper()
	expr := regexp.MustCompile(pattern)
	require.NoError(s, testenv.Await(s.Context(), waitTimeout, pattern, func() string {
		if text := s.shown.String(); !expr.MatchString(text) {
			return fmt.Sprintf("the screen says %q", text)
		}
		return ""
	}))
}

// answer has the next command in the container do this.
func (s *waitingScript) answer(command string) {
	s.Helper()
	draft, answer := filepath.Join(s.dir, "draft"), filepath.Join(s.dir, "answer")
	require.NoError(s, os.WriteFile(draft, []byte(command), 0o600))
	require.NoError(s, os.Rename(draft, answer))
	require.NoError(s, testenv.Await(s.Context(), waitTimeout, "a command in the container", func() string {
		if _, err := os.Stat(answer); err == nil {
			return fmt.Sprintf("the screen says %q", s.shown.String())
		}
		return ""
	}))
}

// answerSealed has vault status say that Vault is sealed.
func (s *waitingScript) answerSealed() {
	s.Helper()
	s.answer(`echo '{"initialized": true, "sealed": true}'; exit 2`)
}

func (s *waitingScript) exitsWith(code int) {
	s.Helper()
	exit := new(exec.ExitError)
	require.ErrorAs(s, s.cmd.Wait(), &exit)
	assert.Equal(s, code, exit.ExitCode(), s.shown)
}

// interrupt types Ctrl-C: the line of the wait stays, and has an end.
func (s *waitingScript) interrupt(waitsFor string) {
	s.Helper()
	_, err := s.in.WriteString("\x03")
	require.NoError(s, err)
	s.exitsWith(128 + int(syscall.SIGINT))
	lines := screen(s.T, strings.ReplaceAll(s.shown.String(), "^C", ""))
	require.Greater(s, len(lines), 1)
	assert.Empty(s, lines[len(lines)-1], "what comes then has a line of its own")
	assert.Contains(s, lines[len(lines)-2], waitsFor)
}

// screen returns the lines that a terminal shows after a text, the last being the one
// with the cursor in it. Of what acts on a terminal it knows what a wait may use.
func screen(t *testing.T, text string) []string {
	t.Helper()
	lines, column := []string{""}, 0
	text = strings.NewReplacer("\x1b[?7l", "", "\x1b[?7h", "", "\x1b[K", "\x00").Replace(text)
	for _, r := range text {
		last := []rune(lines[len(lines)-1])
		switch {
		case r == '\r':
			column = 0
		case r == '\n':
			lines = append(lines, "")
		case r == 0:
			lines[len(lines)-1] = string(last[:column])
		default:
			require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
			lines[len(lines)-1] = string(append(last[:column], r)) + string(last[min(column+1, len(last)):])
			column++
		}
	}
	return lines
}

// A wait is one line at a terminal, and its time goes on while what it waits for hangs.
func TestScripts_WaitIsOneLineAtATerminal(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../scripts/bootstrap")
	require.NoError(t, err)
	s := startWaiting(t, map[string]string{"secret": heldKey}, "script", "-qefc", script, "/dev/null")
	s.await(`waiting ([2-9]|\d\d) s, at most 120 s, for Vault to answer`)
	lines := screen(t, s.shown.String())
	require.Len(t, lines, 1)
	assert.Regexp(t, `^bootstrap: waiting \d+ s, at most 120 s, for Vault to answer$`, lines[0])

	s.answerSealed()
	s.await("at most 180 s, for the sidecar to unseal Vault")
	s.answerSealed()
	s.await(`(?s)all is well.*waiting ([3-9]|\d\d) s, at most 180 s, for the sidecar`) // the words of kubectl came in between
	lines = screen(t, s.shown.String())
	assert.Regexp(t, `^bootstrap: waiting \d+ s, at most 180 s, for the sidecar to unseal Vault$`, lines[len(lines)-1])
	assert.NotContains(t, strings.Join(lines[:len(lines)-1], "\n"), "waiting")
	assert.Contains(t, strings.Join(lines, "\n"), "began")
	assert.NotContains(t, lines, "bootstrap: all is well", "it is set off from what the script says")

	s.interrupt("for the sidecar to unseal Vault")
}

// While the new key is in the script alone, a wait lets nothing through that a terminal sends
// for a key, and the terminal is as before afterwards.
func TestBootstrap_KeepsTheKeyWhileItWaitsForTheSecret(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../scripts/bootstrap")
	require.NoError(t, err)
	s := startWaiting(t, map[string]string{"pod": `{"status": {"conditions": [{"type": "vault-unseal-sidecar/unsealed", "status": "False", "reason": "KeyRejected"}]}}`},
		"script", "-qefc", script+" --show-root-token; code=$?; stty -a; exit $code", "/dev/null")
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	s.answer(`echo '{"initialized": false, "sealed": true}'; exit 2`)
	s.answer(`echo http://127.0.0.1:8200`) // VAULT_ADDR
	s.answer(`echo '{"unseal_keys_b64": ["` + key + `"], "root_token": "root"}'`)
	s.await(`waiting ([2-9]|\d\d) s, at most 30 s, for the Secret vault-unseal-key to be written`)
	again := regexp.MustCompile(`waiting ([5-9]|\d\d) s, at most 30 s`)
	require.NoError(t, testenv.Await(t.Context(), waitTimeout, "the wait to go on", func() string {
		if again.MatchString(s.shown.String()) {
			return ""
		}
		_, err = s.in.WriteString("\x03\x1c") // at each moment of a turn
		require.NoError(t, err)
		return fmt.Sprintf("the screen says %q", s.shown.String())
	}))
	assert.Contains(t, s.shown.String(), `^C^\`)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "writable"), nil, 0o600))
	s.await("initialized Vault; the unseal key is in the Secret")
	s.answerSealed()
	s.answerSealed()
	s.exitsWith(1)
	assert.Regexp(t, `[^-]\bisig\b`, s.shown.String())
	written, err := os.ReadFile(filepath.Join(s.dir, "secret"))
	require.NoError(t, err)
	assert.Contains(t, string(written), key)
	assert.NotContains(t, s.shown.String(), "AAAA")
}

// Elsewhere all waits together write a line each 15 seconds at most, and kubectl's words
// are not repeated each second.
func TestScripts_WaitsWriteRarelyWithoutATerminal(t *testing.T) {
	t.Parallel()
	s := startWaiting(t, map[string]string{"secret": heldKey}, "../scripts/bootstrap")
	s.await(`(?m)^bootstrap: waiting \d+ s, at most 120 s, for Vault to answer\n`)
	began := time.Now()
	for range 6 { // a second each
		s.answerSealed()
	}
	text := s.shown.String()
	rarely := 2 + int(time.Since(began)/(15*time.Second))
	assert.Contains(t, text, "began")
	assert.NotContains(t, text, "\x1b")
	assert.LessOrEqual(t, strings.Count(text, "waiting"), rarely, text)
	assert.LessOrEqual(t, strings.Count(text, "began"), 2*rarely, text) // twice in a look
}

// A proof takes its time too.
func TestVerify_ShowsThatItWaitsForTheProof(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../scripts/verify")
	require.NoError(t, err)
	files := map[string]string{"secret": heldKey, "pod": `{"status": {"containerStatuses": [{"name": "vault-unseal-sidecar", "state": {"running": {}}}]}}`}
	s := startWaiting(t, files, "script", "-qefc", script, "/dev/null")
	s.await(`verify: waiting \d+ s, at most 45 s, for the sidecar of vault-0 to check all, and prove the key`)
	s.answer(`echo '{"findings": [{"level": "ok", "about": "key", "text": "proved: vault takes the key"}]}'`)
	s.await("ok    vault-0: proved")

	s = startWaiting(t, files, "script", "-qefc", script, "/dev/null")
	s.await(`waiting \d+ s, at most 45 s`)
	s.interrupt("and prove the key")
}

// What sleeps elsewhere waits without a word.
func TestScripts_SleepInOnePlace(t *testing.T) {
	t.Parallel()
	var found []string
	for _, name := range []string{"lib.sh", "vault.sh", "backup.sh", "bootstrap", "migrate", "rotate", "seed-key", "verify"} {
		text, err := os.ReadFile(filepath.Join("../scripts", name))
		require.NoError(t, err)
		for range regexp.MustCompile(`(?m)^[^#\n]*\bsleep\b`).FindAll(text, -1) {
			found = append(found, name)
		}
	}
	assert.Equal(t, []string{"lib.sh"}, found)
}
