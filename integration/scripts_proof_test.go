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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const idleCronJobManifest = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: NAME, namespace: security}
spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "busybox:1.37"}]}}}}}
`

// setSecretData puts entries into the Secret, in the place of what is in it, as kubectl does.
func (s *scriptScenario) setSecretData(entries map[string]string) {
	s.Helper()
	secrets := s.cluster.Client.Resource(secretsResource).Namespace("security")
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{"name": "vault-unseal-key"}, "stringData": map[string]any{}}}
	for name, value := range entries {
		o.Object["stringData"].(map[string]any)[name] = value
	}
	_, err := secrets.Update(s.ctx, o, metav1.UpdateOptions{FieldManager: "kubectl-replace"})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(s.ctx, o, metav1.CreateOptions{FieldManager: "kubectl-create"})
	}
	require.NoError(s, err)
}

func (s *scriptScenario) kubectl(in string, args ...string) (string, error) {
	cmd := exec.CommandContext(s.ctx, s.env.Binary("servers/kubectl"), append([]string{"--namespace", "security"}, args...)...)
	cmd.Env, cmd.Stdin = s.environ, strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Before a pod is deleted, Vault itself has taken the key that it will start
// with, or --trust-key was given. A dry run says so too.
func TestMigrate_VerifiesTheKeyBeforeRestart(t *testing.T) {
	t.Parallel()
	chart, err := os.ReadFile("testdata/vault-chart.yaml")
	require.NoError(t, err)
	for _, rule := range proxy.Rules() {
		t.Run(string(rule), func(t *testing.T) {
			t.Parallel()
			s := newScriptScenario(t, rule, string(chart), strings.Replace(idleCronJobManifest, "NAME", "vault-auto-unseal", 1), strings.Replace(idleCronJobManifest, "NAME", "eso-recovery", 1))
			token := s.setUpVault()
			file := filepath.Join(s.env.Dir, "token")
			require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
			migrate := []string{"--backup", filepath.Join(s.env.Dir, "backup")}
			dry := append(migrate, "--dry-run")
			with := append(dry, "--token-file", file)
			untouched := func(when string) {
				t.Helper()
				await(s.scenario, rekeyStarted(false))
				assert.NoDirExists(t, filepath.Join(s.env.Dir, "backup"), when)
				set, err := s.cluster.Get(s.ctx, "apps/v1", "StatefulSet", "security", "vault")
				require.NoError(t, err)
				assert.EqualValues(t, 1, set.GetGeneration(), when)
			}

			if rule == proxy.Open {
				assert.Contains(t, s.mustRun("", "migrate", dry...), "proved: Vault takes the key")
			} else {
				s.mustFail("could not be proved: nothing was changed. "+tokenHints[rule]["rotate"], "", "migrate", migrate...)
				assert.Contains(t, s.mustRun("", "migrate", append(dry, "--trust-key")...), "is not proved, but trusted as you say")
			}
			untouched("a dry run, or a key that was not proved")

			right := s.secretData()["key"]
			s.setSecretData(map[string]string{"key": randomShare(32), "new": right})
			assert.Contains(t, s.mustRun("", "migrate", with...), "proved: Vault takes the key")
			s.setSecretData(map[string]string{"key": randomShare(32)})
			attempts := [][]string{with}
			if rule == proxy.Open {
				attempts = append(attempts, append(migrate, "--token-file", file), append(with, "--trust-key"))
			}
			for _, args := range attempts {
				s.mustFail("Vault does not take the key in the Secret vault-unseal-key, and would stay sealed: nothing was changed", "", "migrate", args...)
				untouched("the key is dead")
			}
			s.setSecretData(map[string]string{"key": right})
			_, err := s.vault.Call(s.ctx, "PUT", "sys/rekey/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, nil)
			require.NoError(t, err)
			s.mustFail("a rekey is under way in Vault: wait for it, or end it with", "", "migrate", with...)
			await(s.scenario, rekeyStarted(true)) // the foreign one
		})
	}
}

// The script does not wait for what the sidecar reports as permanent.
func TestBootstrap_StopsWaitingOnPermanentErrors(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	require.NoError(t, s.vault.Seal(s.ctx))
	await(s.scenario, gateConditionIs("False", "HeldByOperator"))
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(s.ctx, 2*waitTimeout) // it would wait for longer
	t.Cleanup(cancel)
	s.mustFail("Vault stays sealed: ", "", "bootstrap")
}

// The only entry of the Secret is used, under any name.
func TestRotate_UsesTheOnlyEntryOfTheSecret(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	old := s.secretData()["key"]
	s.setSecretData(map[string]string{"UNSEAL_KEY": old, "other": randomShare(32)})
	s.mustFail("has several entries (UNSEAL_KEY, other): put all shares under one of them", "", "rotate")
	s.setSecretData(map[string]string{"UNSEAL_KEY": old})
	s.mustFail("its only entry is UNSEAL_KEY: --key UNSEAL_KEY", "", "rotate", "--key", "else")
	require.NoError(t, os.WriteFile(s.callsPath, nil, 0o600))
	_, err := s.runScriptWithEnv("", []string{"KILL_AT=6"}, "rotate") // Vault has changed over
	require.Error(t, err)
	require.Len(t, s.secretData(), 2)
	assert.Contains(t, s.mustRun("", "rotate"), "its new key takes the place of the old")
	require.Len(t, s.secretData(), 1)
	assert.NotEqual(t, old, s.secretData()["UNSEAL_KEY"])
	s.restartVaultAndAwaitUnseal()
}

// At a terminal all is asked for, and what is secret is not shown.
func TestScripts_PromptAtATerminal(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Vault2)
	password := s.newPassword()
	shown := s.runAtTerminal("bootstrap", "Name of the administrator to make", "maria", "Password of maria (not shown)", password, "Once more", password)
	assert.Contains(t, shown, "the administrator maria logged in")
	token := s.login("maria", password)
	require.NotEmpty(t, token)
	assert.Contains(t, s.runAtTerminal("bootstrap", "Token (not shown)", token), "can log in: maria")
	before := s.secretData()
	assert.Contains(t, s.runAtTerminal("rotate", "Token (not shown)", token), "the old key is gone")
	assert.NotEqual(t, before, s.secretData())
}

// runAtTerminal runs a script at a terminal, waits for each prompt and answers it.
func (s *scriptScenario) runAtTerminal(script string, dialog ...string) string {
	s.Helper()
	program, err := exec.LookPath("script") // Debian's, which gives a program a terminal
	require.NoError(s, err)
	cmd := exec.CommandContext(s.ctx, program, "-qefc", s.env.Source("scripts/"+script), "/dev/null")
	cmd.Env = s.environ
	in, err := cmd.StdinPipe()
	require.NoError(s, err)
	seen := new(terminalBuffer)
	cmd.Stdout, cmd.Stderr = seen, seen
	require.NoError(s, cmd.Start())
	for i := 0; i < len(dialog); i += 2 {
		require.NoError(s, testenv.Await(s.ctx, waitTimeout, dialog[i], func() string {
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
func TestRotate_SidecarKnowsTheNewKeyIsRight(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	s.mustRun("", "rotate")
	await(s.scenario, metricsContain(`vault_unseal_sidecar_key_proof{result="valid"} 1`))
}

// rekeySwappingVault is a vault command that swaps the rekey: before Vault has reported
// the one under way, it is replaced by one that takes effect at once.
const rekeySwappingVault = `#!/bin/bash
REAL "$@" >"$0.out" || exit
if [[ " $* " == *" write "*"/rekey/init "* ]]; then
	REAL operator rekey -cancel -nonce="$(jq -r .data.nonce "$0.out")" >/dev/null
	REAL write -format=json sys/rekey/init - <<<'{"secret_shares": 1, "secret_threshold": 1}' >"$0.out"
fi
cat "$0.out"
`

func TestRotate_AuthorizesNoForeignRekey(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	command := filepath.Join(s.env.Dir, "inside", "vault")
	require.NoError(t, os.Remove(command))
	text := strings.ReplaceAll(rekeySwappingVault, "REAL", s.env.Binary("servers/vault"))
	require.NoError(t, os.WriteFile(command, []byte(text), 0o755))

	s.mustFail("somebody else's rekey took the place of ours: see who, and end it with vault operator rekey -cancel -nonce=", "", "rotate")
	var theirs struct {
		Started  bool
		Progress int
	}
	_, err := s.vault.Call(s.ctx, "GET", "sys/rekey/init", nil, &theirs)
	require.NoError(t, err)
	assert.True(t, theirs.Started, "the foreign rekey is not canceled")
	assert.Zero(t, theirs.Progress)
	killVault(s.scenario)
	startVaultAndWait(s.scenario)
	await(s.scenario, serving()) // with the key that it had
}
