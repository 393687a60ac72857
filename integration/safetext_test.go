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

// wicked is what somebody writes who knows that it reaches a terminal: it clears
// the screen, renames the window, turns the direction of writing, hides a word,
// begins a line of its own, and is a megabyte long.
var wicked = "wicked \x1b[2J\x1b]0;owned\x07 \u009b31m \u202eesrever\u2066 hid\u200bden\r\n2026 [INFO]  faked line\u2028faked\u0085faked " + strings.Repeat("A", 1<<20)

// harmless checks that a text says what is wicked without doing it.
func (w *world) harmless(where, text string) {
	w.Helper()
	assert.True(w, utf8.ValidString(text), where)
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			assert.Fail(w, "it obeys", "%s holds %q", where, r)
			break
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		assert.False(w, strings.HasPrefix(line, "2026 [INFO]  faked"), where)
		assert.Less(w, len(line), 20_000, where)
	}
}

// harmlessJSON checks all the strings in a JSON object, which may be escaped.
func (w *world) harmlessJSON(where, text string) {
	w.Helper()
	w.harmless(where, text)
	var value any
	require.NoError(w, json.Unmarshal([]byte(text), &value), "%s: %.200s", where, text)
	var walk func(value any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			w.harmless(where, v)
			assert.NotContains(w, v, "\n", where)
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

// exits looks at all that a sidecar shows, and returns it.
func (w *world) exits(s *testenv.Sidecar) string {
	w.Helper()
	log := s.Output()
	for line := range strings.Lines(log) {
		w.harmlessJSON("the log", line)
	}
	all := log
	for _, path := range []string{"/", "/metrics", "/status"} {
		_, text, err := s.Get(w.ctx, path)
		require.NoError(w, err)
		w.harmless(path, text)
		assert.Less(w, len(text), 100_000, path)
		all += text
		if path == "/status" {
			w.harmlessJSON(path, text)
		}
	}
	for _, output := range []string{"text", "json"} {
		p, err := w.lab.Run("status", nil, w.lab.Binary("vault-unseal-sidecar"), "status", "--output", output,
			"--http-bind", strings.TrimPrefix(s.HTTP, "http://"))
		require.NoError(w, err)
		code, err := p.ExitCode(patience)
		require.NoError(w, err)
		assert.Zero(w, code)
		w.harmless("status --output "+output, p.Output())
	}
	return all
}

// What ESO, a tenant, or an API server's webhook writes is repeated in many places.
func TestWhatOthersWriteIsRepeatedWithoutHarm(t *testing.T) {
	t.Parallel()
	condition := func(status, reason string) string {
		text, err := json.Marshal(map[string]any{"type": "Ready", "status": status, "reason": reason, "message": wicked})
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
	ourWords := func(w *world) (all string) {
		for _, kind := range []string{gateType, secretsType} {
			for field, text := range testenv.Condition(w.pod(), kind) {
				w.harmless(field, text)
				all += text
			}
		}
		list, err := w.cluster.Client.Resource(eventsResource).Namespace("security").List(w.ctx, metav1.ListOptions{})
		require.NoError(w, err)
		for _, e := range list.Items {
			text, _, _ := unstructured.NestedString(e.Object, "message")
			w.harmless("an Event", text)
			assert.Less(w, len(text), 4000)
			all += text
		}
		return all
	}
	play(t, home{cluster: true, args: []string{"--log-format", "json"}},
		phase{"an ExternalSecret fails with wicked words", func(w *world) {
			require.NoError(w, w.cluster.InstallCRDs(w.ctx))
			require.NoError(w, w.cluster.Apply(w.ctx, store, testenv.ExternalSecret("app", "a", "home", "a", "1h")))
			w.says(storesResource, "", "home", condition("True", wicked[:60]))
			w.says(secretsResource, "app", "a", condition("False", "SecretSyncedError"))
		}, nil},
		phase{"the API server refuses with wicked words", func(w *world) {
			w.faults.Say(wicked)
			for _, call := range []string{"LIST pods", "PATCH pods/status", "LIST clustersecretstores", "LIST externalsecrets", "POST events"} {
				w.faults.Fail(call, 500, 403)
			}
			startSidecar(w)
		}, []expectation{serving(), {"each call to have failed", func(w *world) string { return w.faults.Left() }}}},
		phase{"what fails is told", nil, []expectation{
			within(150*time.Second, podSays(secretsType, "False", "NotSynced")), tells("ExternalSecretsNotRecovering", "wicked"),
		}},
		phase{"all that is shown is harmless", func(w *world) {
			assert.Contains(w, ourWords(w), "wicked")
			assert.Contains(w, w.exits(w.sidecar), "made to failwicked", "it was there to be seen")
		}, nil},
		phase{"a store is down with wicked words", func(w *world) { w.says(storesResource, "", "home", condition("False", wicked[:60])) },
			[]expectation{podSays(secretsType, "False", "Recovering"), logs("store is not ready")}},
		phase{"all that is shown is harmless", func(w *world) { ourWords(w); w.exits(w.sidecar) }, nil},
		phase{"a check is harmless too", func(w *world) {
			w.faults.Fail("LIST externalsecrets", 500)
			for _, c := range []checked{w.checkOutside(w.kubeconfig), w.checkInside(nil)} {
				w.harmlessJSON("check", c.output)
				assert.Contains(w, c.output, "wicked")
			}
		}, nil},
	)
}

// What listens at Vault's address may answer anything.
func TestWhatVaultAnswersIsRepeatedWithoutHarm(t *testing.T) {
	t.Parallel()
	quoted, err := json.Marshal(wicked)
	require.NoError(t, err)
	for name, answer := range map[string]struct {
		code int
		text string
	}{
		"errors":        {500, fmt.Sprintf(`{"errors":[%s]}`, quoted)},
		"no JSON":       {502, wicked},
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
			w := furnish(t, home{})
			s, err := w.lab.Sidecar(testenv.SidecarConfig{Vault: server.URL, Keys: w.secret.Dir, State: w.state, Args: []string{"--log-format", "json", "--log-level", "trace"}})
			require.NoError(t, err)
			require.NoError(t, s.AwaitPhase(w.ctx, patience, "failing", "left-alone"))
			shown := w.exits(s)
			if answer.code != 200 || name == "a seal's type" {
				assert.Contains(t, shown, "wicked", "it was there to be seen")
			}
		})
	}
}
