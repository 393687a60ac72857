package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const idleJob = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: NAME, namespace: security}
spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "busybox:1.37"}]}}}}}
`

// store puts entries into the Secret, in the place of what is in it.
func (s *scripted) store(entries map[string]string) {
	s.Helper()
	manifest := "{apiVersion: v1, kind: Secret, metadata: {name: vault-unseal-key, namespace: security}, stringData: {"
	for name, value := range entries {
		manifest += fmt.Sprintf("%s: %q, ", name, value)
	}
	out, err := s.kubectl(manifest+"}}", "replace", "-f", "-")
	require.NoError(s, err, out)
}

func (s *scripted) kubectl(in string, args ...string) (string, error) {
	cmd := exec.CommandContext(s.ctx, s.lab.Binary("servers/kubectl"), append([]string{"--namespace", "security"}, args...)...)
	cmd.Env, cmd.Stdin = s.env, strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Before a pod is deleted, Vault itself has taken the key that it will start
// with, or somebody said that it is trusted. A dry run says so too.
func TestMigrate_ProvesTheKeyBeforeVaultIsClosed(t *testing.T) {
	t.Parallel()
	chart, err := os.ReadFile("testdata/vault-chart.yaml")
	require.NoError(t, err)
	for _, rule := range proxy.All() {
		t.Run(string(rule), func(t *testing.T) {
			t.Parallel()
			s := scriptedWorld(t, rule, string(chart), strings.Replace(idleJob, "NAME", "vault-auto-unseal", 1), strings.Replace(idleJob, "NAME", "eso-recovery", 1))
			password := s.password()
			s.works(password+"\n", "bootstrap", "--admin", "maria")
			token := s.logIn("maria", password)
			s.vault.Token = token
			file := filepath.Join(s.lab.Dir, "token")
			require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
			migrate := []string{"--backup", filepath.Join(s.lab.Dir, "backup")}
			dry := append(migrate, "--dry-run")
			with := append(dry, "--token-file", file)
			untouched := func(when string) {
				t.Helper()
				await(s.world, rekeyed(false))
				assert.NoDirExists(t, filepath.Join(s.lab.Dir, "backup"), when)
				set, err := s.cluster.Get(s.ctx, "apps/v1", "StatefulSet", "security", "vault")
				require.NoError(t, err)
				assert.EqualValues(t, 1, set.GetGeneration(), when)
			}

			if rule == proxy.Open {
				assert.Contains(t, s.works("", "migrate", dry...), "proved: Vault takes the key")
			} else {
				s.fails("could not be proved: nothing was changed. "+wants[rule]["rotate"], "", "migrate", dry...)
				s.fails("Or say --trust-key", "", "migrate", migrate...)
				assert.Contains(t, s.works("", "migrate", append(dry, "--trust-key")...), "is not proved, but trusted as you say")
				assert.Contains(t, s.works("", "migrate", with...), "proved: Vault takes the key")
			}
			untouched("a dry run, or a key that was not proved")

			right := s.stored()["key"]
			s.store(map[string]string{"key": garbage(32), "new": right})
			assert.Contains(t, s.works("", "migrate", with...), "proved: Vault takes the key")
			s.store(map[string]string{"key": garbage(32)})
			for _, args := range [][]string{with, append(migrate, "--token-file", file), append(with, "--trust-key")} {
				s.fails("Vault does not take the key in the Secret vault-unseal-key, and would stay sealed: nothing was changed", "", "migrate", args...)
				untouched("the key is dead")
			}
			s.store(map[string]string{"key": right})
			_, err := s.vault.Call(s.ctx, "PUT", "sys/rekey/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, nil)
			require.NoError(t, err)
			s.fails("a rekey is under way in Vault: wait for it, or end it with", "", "migrate", with...)
			await(s.world, rekeyed(true)) // somebody's
		})
	}
}

// Where the sidecar says what waiting does not mend, nobody waits.
func TestBootstrap_WaitEndsWhereNoHopeIs(t *testing.T) {
	t.Parallel()
	s := scriptedWorld(t, proxy.Open)
	password := s.password()
	s.works(password+"\n", "bootstrap", "--admin", "maria")
	s.vault.Token = s.logIn("maria", password)
	require.NoError(t, s.vault.Seal(s.ctx))
	await(s.world, gateIs("False", "HeldByOperator"))
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(s.ctx, 2*patience) // it would wait for longer
	t.Cleanup(cancel)
	s.fails("Vault stays sealed: ", "", "bootstrap")
}

// The only entry of the Secret is meant, whatever its name.
func TestRotate_TakesTheOnlyEntry(t *testing.T) {
	t.Parallel()
	s := scriptedWorld(t, proxy.Open)
	s.works(s.password()+"\n", "bootstrap", "--admin", "maria")
	old := s.stored()["key"]
	s.store(map[string]string{"UNSEAL_KEY": old, "other": garbage(32)})
	s.fails("has several entries (UNSEAL_KEY, other): put all shares under one of them", "", "rotate")
	s.store(map[string]string{"UNSEAL_KEY": old})
	s.fails("its only entry is UNSEAL_KEY: --key UNSEAL_KEY", "", "rotate", "--key", "else")
	require.NoError(t, os.WriteFile(s.calls, nil, 0o600))
	_, err := s.runAs("", []string{"KILL_AT=6"}, "rotate") // Vault has changed over
	require.Error(t, err)
	require.Len(t, s.stored(), 2)
	assert.Contains(t, s.works("", "rotate"), "its new key takes the place of the old")
	require.Len(t, s.stored(), 1)
	assert.NotEqual(t, old, s.stored()["UNSEAL_KEY"])
	s.comesBack()
}

// At a terminal all is asked for, and what is secret is not shown.
func TestScripts_AskAtATerminal(t *testing.T) {
	t.Parallel()
	s := scriptedWorld(t, proxy.Vault2)
	password := s.password()
	shown := s.atTerminal("bootstrap", "Name of the administrator to make", "maria", "Password of maria (not shown)", password, "Once more", password)
	assert.Contains(t, shown, "the administrator maria logged in")
	token := s.logIn("maria", password)
	require.NotEmpty(t, token)
	assert.Contains(t, s.atTerminal("bootstrap", "Token (not shown)", token), "can log in: maria")
	before := s.stored()
	assert.Contains(t, s.atTerminal("rotate", "Token (not shown)", token), "the old key is gone")
	assert.NotEqual(t, before, s.stored())
}

// atTerminal runs a script at a terminal, waits for each prompt and answers it.
func (s *scripted) atTerminal(script string, dialog ...string) string {
	s.Helper()
	program, err := exec.LookPath("script") // Debian's, which gives a program a terminal
	require.NoError(s, err)
	cmd := exec.CommandContext(s.ctx, program, "-qefc", s.lab.Source("scripts/"+script), "/dev/null")
	cmd.Env = s.env
	in, err := cmd.StdinPipe()
	require.NoError(s, err)
	seen := new(screen)
	cmd.Stdout, cmd.Stderr = seen, seen
	require.NoError(s, cmd.Start())
	for i := 0; i < len(dialog); i += 2 {
		require.NoError(s, testenv.Await(s.ctx, patience, dialog[i], func() string {
			if text := seen.String(); !strings.Contains(text, dialog[i]) {
				return fmt.Sprintf("the screen says %q", text)
			}
			return ""
		}))
		_, err := io.WriteString(in, dialog[i+1]+"\n")
		require.NoError(s, err)
	}
	err = cmd.Wait()
	exit := new(exec.ExitError)
	require.False(s, errors.As(err, &exit), seen.String())
	for i := 1; i < len(dialog); i += 2 {
		if !strings.HasPrefix(dialog[i-1], "Name") {
			require.NotContains(s, seen.String(), dialog[i])
		}
	}
	return seen.String()
}

// What the sidecar knows of the key is not from before the rotation.
func TestRotate_TheSidecarKnowsThatTheNewKeyIsRight(t *testing.T) {
	t.Parallel()
	s := scriptedWorld(t, proxy.Open)
	s.works(s.password()+"\n", "bootstrap", "--admin", "maria")
	s.works("", "rotate")
	await(s.world, measures(`vault_unseal_sidecar_key_proof{result="valid"} 1`))
}

// swapping is Vault's command for a stranger who waits: before Vault has said
// what rekey is under way, he has put one in its place that takes effect at once.
const swapping = `#!/bin/bash
REAL "$@" >"$0.out" || exit
if [[ " $* " == *" write "*"/rekey/init "* ]]; then
	REAL operator rekey -cancel -nonce="$(jq -r .data.nonce "$0.out")" >/dev/null
	REAL write -format=json sys/rekey/init - <<<'{"secret_shares": 1, "secret_threshold": 1}' >"$0.out"
fi
cat "$0.out"
`

func TestRotate_AuthorizesNoRekeyOfAStranger(t *testing.T) {
	t.Parallel()
	s := scriptedWorld(t, proxy.Open)
	s.works(s.password()+"\n", "bootstrap", "--admin", "maria")
	command := filepath.Join(s.lab.Dir, "inside", "vault")
	require.NoError(t, os.Remove(command))
	text := strings.ReplaceAll(swapping, "REAL", s.lab.Binary("servers/vault"))
	require.NoError(t, os.WriteFile(command, []byte(text), 0o755))

	s.fails("somebody else's rekey took the place of ours: see who, and end it with vault operator rekey -cancel -nonce=", "", "rotate")
	var theirs struct {
		Started  bool
		Progress int
	}
	_, err := s.vault.Call(s.ctx, "GET", "sys/rekey/init", nil, &theirs)
	require.NoError(t, err)
	assert.True(t, theirs.Started, "it is left to whoever began it")
	assert.Zero(t, theirs.Progress)
	killVault(s.world)
	startVaultAndWait(s.world)
	await(s.world, serving()) // with the key that it had
}
