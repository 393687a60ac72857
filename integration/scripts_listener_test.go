package integration

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// Vault runs and does not listen, for its storage hangs. Another process of the pod, of
// another user than --vault-uid says, listens in its place and answers as an open Vault
// does. What a script sends goes through the client in Vault's container to whoever
// listens, and the new key is what the answer says.
func TestRotate_SendsNoShareToAnotherProcess(t *testing.T) {
	t.Parallel()
	for sentence, silent := range map[string]bool{"that answers as Vault does": false, "that answers check with errors": true} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			testRotateBesideAnotherProcess(t, silent)
		})
	}
}

func testRotateBesideAnotherProcess(t *testing.T, silent bool) {
	s := newScriptScenario(t, proxy.Open)
	s.deletePod()
	require.NoError(t, s.cluster.Apply(s.ctx, podWithSidecar))
	s.mustRun(s.newPassword()+"\n", "bootstrap", "--admin", "maria")
	right := s.secretData()["key"]
	raw, err := base64.StdEncoding.DecodeString(right)
	require.NoError(t, err)
	require.Len(t, raw, 32)

	made := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x01\x9c", 16)))
	var mu sync.Mutex
	var seen strings.Builder
	started := false
	impostor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen.Write(body)
		say := func(code int, v any) { w.WriteHeader(code); _ = json.NewEncoder(w).Encode(v) }
		rekey := func() map[string]any {
			m := map[string]any{"started": started, "nonce": "", "n": 0, "t": 0, "progress": 0, "verification_required": started}
			if started {
				m["nonce"], m["n"], m["t"] = "1-2", 1, 1
			}
			return m
		}
		switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
		case path == "sys/seal-status" && silent && started:
			say(500, map[string]any{"errors": []string{"storage is busy"}})
		case path == "sys/seal-status":
			say(200, map[string]any{"type": "shamir", "initialized": true, "sealed": false, "t": 1, "n": 1, "storage_type": "file"})
		case path == "sys/health":
			say(200, map[string]any{"initialized": true, "sealed": false, "standby": false})
		case path == "sys/leader":
			say(200, map[string]any{"ha_enabled": false})
		case path == "auth/token/lookup-self":
			say(403, map[string]any{"errors": []string{"permission denied"}})
		case path == "sys/rekey/init" && r.Method == http.MethodDelete:
			started = false
			w.WriteHeader(204)
		case path == "sys/rekey/init":
			started = started || r.Method != http.MethodGet
			m := rekey()
			m["data"] = rekey()
			say(200, m)
		case path == "sys/rekey/update" || path == "sys/rekey/verify":
			m := map[string]any{"complete": true, "nonce": "1-2", "keys_base64": []string{made}, "verification_nonce": "3-4"}
			m["data"] = map[string]any{"complete": true, "nonce": "1-2", "keys_base64": []string{made}, "verification_nonce": "3-4"}
			started = path == "sys/rekey/update"
			say(200, m)
		default:
			say(404, map[string]any{"errors": []string{}})
		}
	}))
	defer impostor.Close()

	// The port is the impostor's now, and Vault's uid is 100.
	killVault(s.scenario)
	killSidecar(s.scenario)
	fake := filepath.Join(s.env.Dir, "bin", "kubectl")
	text, err := os.ReadFile(fake)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(fake, []byte(strings.NewReplacer(s.closedProxy.Addr, impostor.URL,
		"KUBERNETES=off", "VAULT_UID=100 KUBERNETES=off").Replace(string(text))), 0o755))
	page := s.sidecar.HTTP
	s.sidecar, err = s.env.StartSidecar(testenv.SidecarConfig{Vault: impostor.URL, Keys: s.secret.Dir, State: s.stateDir,
		Args: []string{"--log-level", "debug", "--vault-uid", "100", "--http-bind", strings.TrimPrefix(page, "http://")}})
	require.NoError(t, err)
	s.sidecar.HTTP = page
	require.NoError(t, s.sidecar.AwaitPhase(s.ctx, 20*time.Second, "active"))

	out, err := s.runScript("", "rotate")
	require.Error(t, err, out)
	assert.Contains(t, out, "the sidecar would not send the key")
	mu.Lock()
	defer mu.Unlock()
	assert.False(t, strings.Contains(seen.String(), right), "the key was sent")
	assert.Equal(t, map[string]string{"key": right}, s.secretData())
}
