package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	s.setUpVault()
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
		seen.WriteString(r.Header.Get("X-Vault-Token"))
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
		case path == "sys/generate-root/attempt" && !silent: // as a server that wants no token
			say(200, map[string]any{"started": false, "nonce": "", "progress": 0, "required": 1, "complete": false})
		case path == "sys/generate-root/attempt":
			say(403, map[string]any{"errors": []string{"permission denied"}})
		default:
			say(404, map[string]any{"errors": []string{}})
		}
	}))
	defer impostor.Close()

	killVault(s.scenario)
	s.letListen(impostor.URL, "active")

	out, err := s.runScript("hvs.of-a-person\n", "rotate", "--token-file", "-")
	require.Error(t, err, out)
	assert.Contains(t, out, "the sidecar would not send the key")
	password := s.newPassword()
	out, err = s.runScript("hvs.of-a-person\n"+password+"\n", "bootstrap", "--admin", "otto", "--token-file", "-")
	require.Error(t, err, out)
	assert.Contains(t, out, "the sidecar would not send the key")
	mu.Lock()
	defer mu.Unlock()
	for what, secret := range map[string]string{"the key": right, "the token": "hvs.of-a-person", "the password": password} {
		assert.False(t, strings.Contains(seen.String(), secret), "%s was sent", what)
	}
	assert.Equal(t, map[string]string{"key": right}, s.secretData())
}

// letListen gives Vault's address to another process, of another user than Vault's, and
// waits for the sidecar to see that in this phase.
func (s *scriptScenario) letListen(url, phase string) {
	killSidecar(s.scenario)
	fake := filepath.Join(s.env.Dir, "bin", "kubectl")
	text, err := os.ReadFile(fake)
	require.NoError(s, err)
	require.NoError(s, os.WriteFile(fake, []byte(strings.NewReplacer(s.closedProxy.Addr, url,
		"KUBERNETES=off", "VAULT_UID=100 KUBERNETES=off").Replace(string(text))), 0o755))
	page := s.sidecar.HTTP
	s.sidecar, err = s.env.StartSidecar(testenv.SidecarConfig{Vault: url, Keys: s.secret.Dir, State: s.stateDir,
		Args: []string{"--log-level", "debug", "--vault-uid", "100", "--http-bind", strings.TrimPrefix(page, "http://")}})
	require.NoError(s, err)
	s.sidecar.HTTP = page
	require.NoError(s, s.sidecar.AwaitPhase(s.ctx, 20*time.Second, phase))
}

// Who passes all on to Vault would learn the key that it makes.
func TestBootstrap_InitializesThroughNoOtherProcess(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.deletePod()
	require.NoError(t, s.cluster.Apply(s.ctx, podWithSidecar))
	target, err := url.Parse(s.vault.Addr)
	require.NoError(t, err)
	between := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
	defer between.Close()
	s.letListen(between.URL, "uninitialized")

	s.mustFail("Vault was not initialized", s.newPassword()+"\n", "bootstrap", "--admin", "maria")
	status, err := s.vault.SealStatus(s.ctx)
	require.NoError(t, err)
	assert.False(t, status.Initialized)
}

// Vault's client goes to localhost, which may be another address than Vault listens at, as
// [::1]: any user's process may listen there, and pass all on. Not each machine has IPv6, so
// the name has another address of IPv4 in the container.
func TestRotate_SendsNoShareToAnotherAddress(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.deletePod()
	require.NoError(t, s.cluster.Apply(s.ctx, podWithSidecar))
	s.setUpVault()
	key := s.secretData()["key"]
	target, err := url.Parse(s.closedProxy.Addr)
	require.NoError(t, err)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", target.Port()))
	require.NoError(t, err)
	pass := httputil.NewSingleHostReverseProxy(target)
	var received, keys atomic.Int32
	between := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received.Add(1)
		if strings.Contains(string(body), key) {
			keys.Add(1)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		pass.ServeHTTP(w, r)
	})}
	t.Cleanup(func() { _ = between.Close() })
	go func() { _ = between.Serve(l) }()
	fake := filepath.Join(s.env.Dir, "bin", "kubectl")
	text, err := os.ReadFile(fake)
	require.NoError(t, err)
	hosts := filepath.Join(s.env.Dir, "hosts")
	require.NoError(t, os.WriteFile(hosts, []byte("127.0.0.2 localhost\n"), 0o644))
	namespace := "-m"
	if os.Geteuid() != 0 {
		namespace = "-rm"
	}
	require.NoError(t, os.WriteFile(fake, []byte(strings.Replace(string(text), "if [[ $container == vault ]]; then", `if [[ $container == vault ]]; then
	VAULT_ADDR=http://localhost:`+target.Port()+`
	set -- unshare `+namespace+` sh -c 'mount --bind `+hosts+` /etc/hosts && exec "$@"' sh "$@"`, 1)), 0o755))

	s.mustRun("", "rotate")
	assert.Zero(t, received.Load(), "requests that it was sent")
	assert.Zero(t, keys.Load(), "keys that it was sent")
}

// Who listens may be another after the rekey has begun: its end would send the token, and is
// left to a person.
func TestRotate_SendsNoTokenOnceAnotherListens(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Vault2)
	s.deletePod()
	require.NoError(t, s.cluster.Apply(s.ctx, podWithSidecar))
	token := s.setUpVault()
	before := s.secretData()
	fake := filepath.Join(s.env.Dir, "bin", "kubectl")
	text, err := os.ReadFile(fake)
	require.NoError(t, err)
	first, rest, _ := strings.Cut(string(text), "\n")
	const left = ". A rekey may be under way: vault operator rekey -cancel -nonce="
	for _, c := range []struct {
		trusted     int // the looks that find Vault
		found, says string
		canceled    int // what an earlier run left
	}{
		{2, "the sidecar would not send the key: of another it is", left, 0},
		{2, "vault does not answer as expected: its certificate is not trusted", left, 1},
		{1, "the sidecar would not send the key: of another it is", ". Nothing was changed", 1},
	} {
		checks := filepath.Join(s.env.Dir, "checks")
		require.NoError(t, os.RemoveAll(checks))
		require.NoError(t, os.WriteFile(fake, []byte(first+`
if [[ $* == *" check --"* ]]; then
	echo x >>`+checks+`
	(($(wc -l <`+checks+`) <= `+strconv.Itoa(c.trusted)+`)) || { echo '{"findings": [{"text": "`+c.found+`"}]}'; exit 1; }
fi
`+rest), 0o755))
		out, err := s.runScript(token+"\n", "rotate", "--token-file", "-")
		require.Error(t, err, out)
		assert.Contains(t, out, c.found+c.says)
		record, err := os.ReadFile(s.recordPath)
		require.NoError(t, err)
		assert.Equal(t, before, s.secretData())
		assert.Equal(t, c.canceled, strings.Count(string(record), "\n-cancel\n"))
	}
	require.NoError(t, os.WriteFile(fake, text, 0o755))
	s.mustRun(token+"\n", "rotate", "--token-file", "-")
}

// Shells have names of their own, which mean nothing to the scripts.
func TestScripts_IgnoreNamesOfTheEnvironment(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	handed := filepath.Join(s.env.Dir, "handed")
	s.beforeKubectl("env >>" + handed)
	out, err := s.runScriptWithEnv("", []string{"VAULT_POD=vault-7", "client_addr=http://127.0.0.1:1", "tokenless=yes", "wipe=x", "stuck_since=x",
		"old=x", "root=x", "POSIXLY_CORRECT=1", "http_proxy="}, "rotate", "--dry-run")
	require.NoError(t, err, out)
	assert.Contains(t, out, "would replace the key in the Secret vault-unseal-key")
	environment, err := os.ReadFile(handed)
	require.NoError(t, err)
	assert.NotContains(t, string(environment), "\nold=", "what was exported stays so, and the key comes into it")
	assert.Contains(t, string(environment), "\nhttp_proxy=")
}

// A replica that is not open while the key changes may need the old one afterwards: the
// storage of its pod hangs, and it has not heard of the new one.
func TestRotate_WantsEachReplicaOpen(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open, strings.Replace(statefulSetManifest, "replicas: 1", "replicas: 2", 1))
	s.mustRun(s.newPassword()+"\n", "bootstrap", "--admin", "maria")
	before := s.secretData()
	s.beforeKubectl(`[[ $* != *"exec vault-1 "*" status --output json" ]] || { echo '{"phase": "unseal-hanging", "key_shares": 1}'; exit 0; }`)
	s.mustFail("Vault in vault-1 is unseal-hanging, and may need the old key once more", "", "rotate")
	assert.Equal(t, before, s.secretData())
}
