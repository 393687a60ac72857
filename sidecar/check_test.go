package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
)

// podOptions returns the options that a check with these flags derives from a
// container with these arguments and variables.
func podOptions(t *testing.T, flags []string, s check.Start) (config, []check.Finding) {
	t.Helper()
	own := map[string]string{"ESO_NAMESPACE": "mine", "POD_NAME": "vault-0", "POD_NAMESPACE": "security"}
	c, err := parse(flags, func(name string) (string, bool) { v, ok := own[name]; return v, ok }, checkOptions...)
	require.NoError(t, err)
	return containerOptions(c, flags, s)
}

func TestCheckCommand_UsesTheOptionsOfThePod(t *testing.T) {
	for sentence, row := range map[string]struct {
		flags    []string
		args     []string
		env      map[string]string
		recovery eso.Recovery
		gate     string
		eso      string
	}{
		"by none":                       {nil, nil, nil, eso.RecoveryBoth, "vault-unseal-sidecar/unsealed", "external-secrets"},
		"by variables":                  {nil, nil, map[string]string{"ESO_RECOVERY": "nudge", "ESO_NAMESPACE": "eso"}, eso.RecoveryNudge, "vault-unseal-sidecar/unsealed", "eso"},
		"by an empty one":               {nil, nil, map[string]string{"ESO_RECOVERY": ""}, eso.RecoveryBoth, "vault-unseal-sidecar/unsealed", "external-secrets"},
		"by arguments before variables": {nil, []string{"run", "--eso-recovery", "restart"}, map[string]string{"ESO_RECOVERY": "nudge"}, eso.RecoveryRestart, "vault-unseal-sidecar/unsealed", "external-secrets"},
		"a flag of ours wins": {[]string{"--eso-recovery=off", "--readiness-gate", "a/b"}, []string{"--eso-recovery", "restart"}, map[string]string{"READINESS_GATE": "none"},
			eso.RecoveryOff, "a/b", "external-secrets"},
		"without kubernetes it does none of it": {nil, nil, map[string]string{"KUBERNETES": "off"}, eso.RecoveryOff, "", "external-secrets"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c, findings := podOptions(t, row.flags, check.Start{Args: row.args, Env: row.env})
			assert.Empty(t, findings)
			assert.Equal(t, row.recovery, c.esoRecovery)
			assert.Equal(t, row.gate, c.readinessGate)
			assert.Equal(t, row.eso, c.esoNamespace, "our own variable is not the pod's")
			assert.Equal(t, "vault-0", c.podName)
			assert.Equal(t, "security", c.podNamespace)
		})
	}
}

func TestCheckCommand_ReportsUnresolvedVariables(t *testing.T) {
	unresolved := check.Start{UnresolvedEnv: []string{"POD_NAME", "ESO_NAMESPACE", "ESO_RECOVERY"}, Args: []string{"--eso-recovery=nudge"}}
	c, findings := podOptions(t, nil, unresolved)
	assert.Equal(t, "external-secrets", c.esoNamespace)
	require.Len(t, findings, 1, "an argument sets the recovery, and POD_NAME is not used")
	assert.Equal(t, check.Unknown, findings[0].Level)
	assert.Contains(t, findings[0].Text, `ESO_NAMESPACE of the sidecar's container is not written in the pod; judged as if it were "external-secrets"`)
	assert.Contains(t, findings[0].Advice, "--eso-namespace")

	c, findings = podOptions(t, []string{"--eso-namespace", "eso"}, unresolved)
	assert.Equal(t, "eso", c.esoNamespace)
	assert.Empty(t, findings)

	_, findings = podOptions(t, nil, check.Start{Unclear: []string{"what envFrom brings"}})
	require.Len(t, findings, 1)
	assert.Equal(t, check.Unknown, findings[0].Level)
	assert.Contains(t, findings[0].Text, "what envFrom brings")
}

func TestCheckCommand_WarnsOfAnOptionThatThePodRejects(t *testing.T) {
	for sentence, s := range map[string]check.Start{
		"in a variable":  {Env: map[string]string{"ESO_RECOVERY": "sometimes"}},
		"in an argument": {Args: []string{"--eso-recovery", "sometimes"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			c, findings := podOptions(t, []string{"--eso-namespace", "eso"}, s)
			require.Len(t, findings, 1)
			assert.Equal(t, check.Warning, findings[0].Level)
			assert.Contains(t, findings[0].Text, `"sometimes" is not accepted`)
			assert.NotEmpty(t, findings[0].Advice)
			assert.Equal(t, "eso", c.esoNamespace, "judged by our own")
		})
	}
}

// A person's VAULT_ADDR is for the vault command of the laptop.
func TestCommand_LeavesVaultsVariablesOfAPersonAlone(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(kubeconfig, []byte("no kubeconfig at all"), 0o600))
	env := map[string]string{"VAULT_ADDR": "http://vault.home.lan:8200", "VAULT_CACERT": "ca.pem", "VAULT_UID": "me"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for sentence, row := range map[string]struct {
		args []string
		code int
		want string
	}{
		"check from outside":      {[]string{"check", "--kubeconfig", kubeconfig, "--pod-name", "vault-0", "--pod-namespace", "security"}, exitFailed, "the check could not run"},
		"status":                  {[]string{"status", "--http-bind", "127.0.0.1:1"}, exitFailed, "connection refused"},
		"not check where it runs": {[]string{"check"}, exitUsage, "VAULT_ADDR"},
		"nor flags":               {[]string{"check", "--kubeconfig", kubeconfig, "--pod-name", "vault-0", "--pod-namespace", "security", "--vault-addr", "http://vault.home.lan:8200"}, exitUsage, "--vault-addr"},
	} {
		t.Run(sentence, func(t *testing.T) {
			var stderr strings.Builder
			assert.Equal(t, row.code, command(row.args, lookup, io.Discard, &stderr))
			assert.Contains(t, stderr.String(), row.want)
		})
	}
}
