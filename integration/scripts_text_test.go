package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// answeringKubectl is a kubectl that answers a call with WHEN in it as an attacker would
// who controls Vault or its pod. A $ is the call's end.
const answeringKubectl = `#!/bin/bash
if [[ "$*$" == *"$WHEN"* ]]; then
	printf '%s' "$ANSWER"
	printf '%s\n' "$COMPLAINT" >&2
	exit "$CODE"
fi
exec REAL "$@"
`

// terminalEscapes is a text that a terminal would act on: it clears the screen, sets the
// title, goes back in the line, and turns what follows; in C1 too.
const terminalEscapes = "began \x1b[2J\x1b]0;pwned\x07\r\u009b31m \u202eesrever\u2066 \u200b\x7f\nmigrate: all is well\x00 ended"

// No text of others acts on a terminal, or fills it.
func TestScripts_UntrustedTextIsSanitized(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	patchPod(`{"status": {"containerStatuses": [{"name": "vault-unseal-sidecar", "image": "sidecar:1", "imageID": "", "ready": true, "restartCount": 0,
		"state": {"running": {}}}]}}`)(s.scenario)
	long := strings.ReplaceAll(terminalEscapes, "\x00", "") + strings.Repeat(" and on", 10_000)
	statefulSet, err := s.kubectl("", "--namespace", "security", "get", "statefulset", "vault", "-o", "json")
	require.NoError(t, err)
	out, err := s.runScriptWithEnv("", s.feign("get statefulset vault", statefulSet, "couldn't get resource list for metrics.k8s.io/v1beta1", 0), "rotate", "--dry-run")
	require.NoError(t, err, "a warning is no part of the answer, whenever it comes: %s", out)

	feign := func(when, answer, complaint string, code int, script string, args ...string) string {
		t.Helper()
		out, err := s.runScriptWithEnv("", s.feign(when, answer, complaint, code), script, args...)
		require.Error(t, err, out)
		return out
	}
	fit := func(out string) {
		t.Helper()
		assert.Contains(t, out, "began")
		assert.NotContains(t, out, "\nmigrate: all is well")
		assert.Less(t, len(out), 15_000)
		for _, r := range out {
			require.True(t, r == '\n' || r == '\t' || unicode.IsPrint(r), "%q in %q", r, out)
		}
	}
	fit(feign("vault read -format=json sys/rekey/init", "", long[:20_000], 2, "rotate")) // Vault's error
	fit(feign("vault status", "", long[:20_000], 1, "rotate"))                           // what kubectl says of it
	fit(feign("get namespace", "", long[:20_000], 1, "verify"))

	// ExternalSecrets' status, in what the sidecar found.
	found := `{"findings": [{"level": "failure", "about": "external-secrets", "text": ` + fmt.Sprintf("%q", "began \u009b31m \u202e and on") + `}]}`
	fit(feign("check --prove-key", found, "", 1, "verify"))

	// A number of Vault's is no command.
	pwned := filepath.Join(s.env.Dir, "pwned")
	out = feign("vault status", `{"initialized": true, "sealed": false, "type": "shamir", "n": 1, "t": "a[$(touch `+pwned+`)]"}`, "", 0, "migrate")
	assert.NoFileExists(t, pwned)
	assert.Contains(t, out, "does not tell how many shares it wants")
	assert.NotContains(t, feign("vault read -format=json sys/rekey/init", `{"data": {"started": true, "nonce": "$(touch pwned)"}}`, "", 0, "rotate"), "touch")

	// What jq says of an answer of another shape.
	fit(feign("vault read -format=json sys/rekey/init", `{"data": {"started": false, "nonce": ["began \u009b2J"]}}`, "", 0, "rotate"))

	out = feign("vault write -format=json sys/rekey/init", `{"data": {"nonce": "$(touch pwned)\nrotate: all is well"}}`, "", 0, "rotate")
	assert.Contains(t, out, "-nonce=NONCE")
	assert.NotContains(t, out, "touch")

	// Nor a text one that is printed.
	key := s.secretData()["key"]
	s.setSecretData(map[string]string{"key": key, "key-next": key})
	out = feign("vault status", `{"initialized": true, "sealed": false, "type": "shamir", "n": "began \u001b[2J", "t": 1}`, "", 0, "rotate", "--shares", "1", "--threshold", "1")
	assert.Contains(t, out, "Vault does not tell in numbers")
	assert.NotContains(t, out, "\x1b")
	s.setSecretData(map[string]string{"key": key})

	// A condition's message.
	require.NoError(t, s.sidecar.Kill())
	require.NoError(t, s.vault.Seal(s.ctx))
	patchPod(fmt.Sprintf(`{"status": {"conditions": [{"type": %q, "status": "False", "reason": "HeldByOperator", "message": %s}]}}`, gateType, jsonText(long[:20_000])))(s.scenario)
	for _, script := range []string{"bootstrap", "verify"} {
		out, err := s.runScript("", script)
		require.Error(t, err)
		fit(out)
	}
}

// feign returns the environment in which a call of kubectl's with this in it is answered so.
func (s *scriptScenario) feign(when, answer, complaint string, code int) []string {
	s.Helper()
	bin, err := s.env.Mkdir("feigned")
	require.NoError(s, err)
	text := strings.ReplaceAll(answeringKubectl, "REAL", filepath.Join(s.env.Dir, "bin", "kubectl"))
	require.NoError(s, os.WriteFile(filepath.Join(bin, "kubectl"), []byte(text), 0o755))
	return []string{"REAL_PATH=" + bin + ":" + filepath.Join(s.env.Dir, "bin") + ":" + os.Getenv("PATH"),
		"WHEN=" + when, "ANSWER=" + answer, "COMPLAINT=" + complaint, fmt.Sprintf("CODE=%d", code)}
}

// beforeKubectl has a line of bash run before each kubectl.
func (s *scriptScenario) beforeKubectl(line string) {
	s.Helper()
	fake := filepath.Join(s.env.Dir, "bin", "kubectl")
	text, err := os.ReadFile(fake)
	require.NoError(s, err)
	first, rest, _ := strings.Cut(string(text), "\n")
	require.NoError(s, os.WriteFile(fake, []byte(first+"\n"+line+"\n"+rest), 0o755))
}

func jsonText(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}
