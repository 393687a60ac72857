package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// unsafeText is written to attack a terminal: it clears
// the screen, renames the window, turns the direction of writing, hides a word,
// begins a line of its own, and is a megabyte long.
var unsafeText = "wicked \x1b[2J\x1b]0;owned\x07 \u009b31m \u202eesrever\u2066 hid\u200bden\r\n2026 [INFO]  faked line\u2028faked\u0085faked " + strings.Repeat("A", 1<<20)

// assertSafe checks that a text says what is wicked without doing it.
func (sc *scenario) assertSafe(where, text string) {
	sc.Helper()
	assert.True(sc, utf8.ValidString(text), where)
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			assert.Fail(sc, "it obeys", "%s holds %q", where, r)
			break
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		assert.False(sc, strings.HasPrefix(line, "2026 [INFO]  faked"), where)
		assert.Less(sc, len(line), 20_000, where)
	}
}

// assertSafeJSON checks all the strings in a JSON object, which may be escaped.
func (sc *scenario) assertSafeJSON(where, text string) {
	sc.Helper()
	sc.assertSafe(where, text)
	var value any
	require.NoError(sc, json.Unmarshal([]byte(text), &value), "%s: %.200s", where, text)
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			sc.assertSafe(where, v)
			assert.NotContains(sc, v, "\n", where)
		case []any:
			for _, each := range v {
				walk(each)
			}
		case map[string]any:
			for _, each := range v {
				walk(each)
			}
		}
	}
	walk(value)
}

// assertSafeOutputs looks at all that a sidecar shows, and returns it.
func (sc *scenario) assertSafeOutputs(s *testenv.Sidecar) string {
	sc.Helper()
	log := s.Output()
	for line := range strings.Lines(log) {
		sc.assertSafeJSON("the log", line)
	}
	all := log
	for _, path := range []string{"/", "/metrics", "/status"} {
		_, text, err := s.Get(sc.ctx, path)
		require.NoError(sc, err)
		sc.assertSafe(path, text)
		assert.Less(sc, len(text), 100_000, path)
		all += text
		if path == "/status" {
			sc.assertSafeJSON(path, text)
		}
	}
	for _, output := range []string{"text", "json"} {
		p, err := sc.env.StartProgram("status", nil, sc.env.Binary("vault-unseal-sidecar"), "status", "--output", output,
			"--http-bind", strings.TrimPrefix(s.HTTP, "http://"))
		require.NoError(sc, err)
		code, err := p.ExitCode(waitTimeout)
		require.NoError(sc, err)
		assert.Zero(sc, code)
		sc.assertSafe("status --output "+output, p.Output())
	}
	return all
}

// What ESO, a tenant, or an API server's webhook writes is repeated in many places.
func TestUntrustedText_FromKubernetesIsSanitized(t *testing.T) {
	t.Parallel()
	conditionJSON := func(status, reason string) string {
		text, err := json.Marshal(map[string]any{"type": "Ready", "status": status, "reason": reason, "message": unsafeText})
		require.NoError(t, err)
		return string(text)
	}
	const store = `
apiVersion: v1
kind: Namespace
metadata: {name: app}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, namespace: app, key: t}}}}}
`
	reportedTexts := func(sc *scenario) (all string) {
		for _, kind := range []string{gateType, secretsType} {
			for field, text := range testenv.Condition(sc.getPod(), kind) {
				sc.assertSafe(field, text)
				all += text
			}
		}
		list, err := sc.cluster.Client.Resource(eventsResource).Namespace("security").List(sc.ctx, metav1.ListOptions{})
		require.NoError(sc, err)
		for _, e := range list.Items {
			text, _, _ := unstructured.NestedString(e.Object, "message")
			sc.assertSafe("an Event", text)
			assert.Less(sc, len(text), 4000)
			all += text
		}
		return all
	}
	run(t, setup{cluster: true, crds: true, args: []string{"--log-format", "json"}},
		phase{"an ExternalSecret fails with unsafe text", func(sc *scenario) {
			require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
			require.NoError(sc, sc.cluster.Apply(sc.ctx, store, testenv.ExternalSecret("app", "a", "home", "a", "1h")))
			sc.setCondition(clusterStoresResource, "", "home", conditionJSON("True", unsafeText[:60]))
			sc.setCondition(externalSecretsResource, "app", "a", conditionJSON("False", "SecretSyncedError"))
		}, nil},
		phase{"the API server refuses with unsafe text", func(sc *scenario) {
			sc.apiProxy.SetMessage(unsafeText)
			for _, call := range []string{"LIST pods", "PATCH pods/status", "LIST clustersecretstores", "LIST externalsecrets", "POST events"} {
				sc.apiProxy.Fail(call, 500, 403)
			}
			startSidecar(sc)
		}, []condition{serving(), {"each call to have failed", func(sc *scenario) string { return sc.apiProxy.PendingFailures() }}}},
		phase{"what fails is reported", nil, []condition{
			withTimeout(150*time.Second, podConditionIs(secretsType, "False", "NotSynced")), eventContains("ExternalSecretsNotRecovering", "wicked"),
		}},
		phase{"all that is shown is harmless", func(sc *scenario) {
			assert.Contains(sc, reportedTexts(sc), "wicked")
			assert.Contains(sc, sc.assertSafeOutputs(sc.sidecar), "made to failwicked", "it was there to be seen")
		}, nil},
		phase{"a store is down with unsafe text", func(sc *scenario) {
			sc.setCondition(clusterStoresResource, "", "home", conditionJSON("False", unsafeText[:60]))
		},
			[]condition{podConditionIs(secretsType, "False", "Recovering"), logContains("store is not ready")}},
		phase{"all that is shown is harmless", func(sc *scenario) { reportedTexts(sc); sc.assertSafeOutputs(sc.sidecar) }, nil},
		phase{"a check is harmless too", func(sc *scenario) {
			sc.apiProxy.Fail("LIST externalsecrets", 500)
			for _, c := range []checkResult{sc.checkWithKubeconfig(sc.kubeconfig), sc.checkInContainer(nil)} {
				sc.assertSafeJSON("check", c.output)
				assert.Contains(sc, c.output, "wicked")
			}
		}, nil},
	)
}

// What listens at Vault's address may answer anything.
func TestUntrustedText_FromVaultIsSanitized(t *testing.T) {
	t.Parallel()
	quoted, err := json.Marshal(unsafeText)
	require.NoError(t, err)
	for name, answer := range map[string]struct {
		code int
		text string
	}{
		"errors":        {500, fmt.Sprintf(`{"errors":[%s]}`, quoted)},
		"no JSON":       {502, unsafeText},
		"an odd seal":   {200, fmt.Sprintf(`{"type":%s,"initialized":true,"sealed":true,"t":1,"n":1}`, quoted[:200]) + `}`},
		"a seal's type": {200, `{"type":"wicked \u001b[2J\u202e\u009b31m","initialized":true,"sealed":true,"t":1,"n":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(answer.code)
				_, _ = fmt.Fprint(w, answer.text)
			}))
			t.Cleanup(server.Close)
			sc := newScenario(t, setup{})
			s, err := sc.env.StartSidecar(testenv.SidecarConfig{Vault: server.URL, Keys: sc.secret.Dir, State: sc.stateDir, Args: []string{"--log-format", "json", "--log-level", "trace"}})
			require.NoError(t, err)
			require.NoError(t, s.AwaitPhase(sc.ctx, waitTimeout, "failing", "left-alone"))
			shown := sc.assertSafeOutputs(s)
			if answer.code != 200 || name == "a seal's type" {
				assert.Contains(t, shown, "wicked", "it was there to be seen")
			}
		})
	}
}
