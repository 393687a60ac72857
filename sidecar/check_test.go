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

// The same manifests are judged the same on every machine, and by what the sidecar would
// make of its start.
func TestCheckCommand_JudgesManifestsByTheOptionsInThem(t *testing.T) {
	const set = `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: vault, namespace: security}, spec: {template: {spec: {containers: [
		{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "vault-unseal-sidecar:1", SETTINGS}]}}}}`
	mine := map[string]string{"VAULT_ADDR": "http://vault.home.lan:8200", "KUBECONFIG": "~/x", "ESO_RECOVERY": "sometimes", "POD_NAME": "-"}
	for sentence, row := range map[string]struct{ settings, want, wantNot string }{
		"none":                                   {"", "the sidecar does not know its own pod", "sometimes"},
		"half of a pod":                          {"args: [--pod-namespace=security]", "does not know its own pod", ""},
		"a pod by its arguments":                 {"args: [--pod-name=vault-0, -pod-namespace, security]", "the sidecar is a container beside Vault", "does not know its own pod"},
		"a wrong address":                        {"env: [{name: VAULT_ADDR, value: 'http://10.0.0.1:8200'}]", "exit code 2: VAULT_ADDR", ""},
		"an option of check":                     {"args: [run, --output, json]", "flag provided but not defined", ""},
		"one of a pair":                          {"env: [{name: VAULT_CLIENT_CERT, value: /tls.crt}, {name: POD_NAME, valueFrom: {}}]", "one without the other", ""},
		"a value that is not accepted":           {"env: [{name: LOG_LEVEL, value: loud}]", `LOG_LEVEL: "loud" is not accepted`, ""},
		"one that Kubernetes fills in":           {"env: [{name: ESO_NAMESPACE, valueFrom: {}}]", "ESO_NAMESPACE of the sidecar's container is not written in the pod", ""},
		"a key in the place of an address":       {"env: [{name: VAULT_ADDR, value: kN8r2Jm0Yy1v8GZ0bS7c6cUo4dGq8nB1xq0m1f3Zk9Q}]", "not shown", "kN8r2Jm0Yy1v8GZ0"},
		"another one that the sidecar never has": {"env: [{name: VAULT_TOKEN, value: x}]", "does not read the variables VAULT_TOKEN", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "rendered.yaml")
			require.NoError(t, os.WriteFile(file, []byte(strings.Replace(set, "SETTINGS", row.settings, 1)), 0o600))
			code, stdout, stderr := runCommand(mine, "check", "--manifests", file, "--output", "json")
			assert.Empty(t, stderr)
			assert.Equal(t, 4, code, "it has no volume with the key")
			assert.Contains(t, strings.ReplaceAll(stdout, `\"`, `"`), row.want)
			if row.wantNot != "" {
				assert.NotContains(t, stdout, row.wantNot)
			}
		})
	}
}
