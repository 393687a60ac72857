package web

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const (
	waitTimeout = 10 * time.Second
	tick        = time.Millisecond
)

// newServer returns a Server whose loop turned a moment ago.
func newServer(bind string) *testServer { return newServerOf("v1", bind) }

func newServerOf(version, bind string) *testServer {
	latest := status.NewLatest(version)
	latest.Turned = func() time.Duration { return time.Second }
	return &testServer{New(Config{Bind: bind, Latest: latest, Log: hclog.NewNullLogger()}), latest}
}

// testServer is a Server with what is published to it.
type testServer struct {
	*Server
	*status.Latest
}

// request sends one request past the network.
func request(s *testServer, method, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "127.0.0.1:9810"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	s.routes().ServeHTTP(w, r)
	return w
}

func TestHealthz_FailsOnlyWhileTheLoopIsStuck(t *testing.T) {
	s := newServer("")
	for turned, code := range map[time.Duration]int{
		0: 200, time.Second: 200, status.StuckAfter - 1: 200, status.StuckAfter: 503, time.Hour: 503,
	} {
		t.Run(turned.String(), func(t *testing.T) {
			s.Turned = func() time.Duration { return turned }
			for _, phase := range unseal.Phases() { // Vault's troubles are not the sidecar's
				s.Publish(unseal.Snapshot{Phase: phase})
				assert.Equal(t, code, request(s, "GET", "/healthz").Code, "%s", phase)
			}
		})
	}
}

func TestReadyz_SucceedsWhileVaultServes(t *testing.T) {
	s := newServer("")
	assert.Equal(t, 503, request(s, "GET", "/readyz").Code, "before anything is known")
	for _, phase := range unseal.Phases() {
		t.Run(phase.String(), func(t *testing.T) {
			s.Publish(unseal.Snapshot{Phase: phase, Reason: "a reason"})
			code := 503
			if phase == unseal.Active || phase == unseal.Standby {
				code = 200
			}
			w := request(s, "GET", "/readyz", func(r *http.Request) { r.RemoteAddr = "10.0.0.1:4711"; r.Host = "vault.example" })
			assert.Equal(t, code, w.Code)
			assert.Len(t, w.Body.String(), 3, "a remote peer learns no more than yes or no")
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		})
	}
}

// A loop that no longer turns leaves its last word behind, which may be old.
func TestReadyz_FailsWhileTheLoopIsStuck(t *testing.T) {
	s := newServer("")
	s.Publish(unseal.Snapshot{Phase: unseal.Active})
	for turned, code := range map[time.Duration]int{
		0: 200, status.StuckAfter - 1: 200, status.StuckAfter: 503, time.Hour: 503,
	} {
		t.Run(turned.String(), func(t *testing.T) {
			s.Turned = func() time.Duration { return turned }
			assert.Equal(t, code, request(s, "GET", "/readyz").Code)
		})
	}
}

func TestStatus_ShowsTheCurrentRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("")
		began := time.Now()
		time.Sleep(10 * time.Second)
		s.Publish(unseal.Snapshot{
			Phase: unseal.Unsealing, Since: time.Now(), Message: "a message", Reason: "a reason", Advice: "an advice", KeyError: "a key error", Shares: 3,
			Remarks: []unseal.Remark{{Entry: "root", What: "a token", Token: true}},
			Current: &unseal.Recovery{Began: began, Took: 10 * time.Second, Steps: []unseal.Step{
				{Phase: unseal.Unreachable, At: began, Took: 10 * time.Second}, {Phase: unseal.Unsealing, At: time.Now()},
			}},
			Last: &unseal.Recovery{Done: true},
		})
		time.Sleep(5 * time.Second)
		w := request(s, "GET", "/status")
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		at := func(seconds int) string {
			return began.Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339Nano)
		}
		assert.JSONEq(t, `{
			"version": "v1", "phase": "unsealing", "since": "`+at(10)+`", "seconds": 5, "serving": false,
			"message": "a message", "reason": "a reason", "advice": "an advice",
			"key_error": "a key error", "key_shares": 3, "key_remarks": ["root: a token"], "key_changed": false,
			"recovery": {"began": "`+at(0)+`", "seconds": 15, "done": false, "steps": [
				{"name": "unreachable", "began": "`+at(0)+`", "seconds": 10},
				{"name": "unsealing", "began": "`+at(10)+`", "seconds": 5}
			]}
		}`, w.Body.String())

		again := request(s, "GET", "/status")
		assert.Equal(t, w.Body.String(), again.Body.String(), "telling it changes nothing")
	})
}

func TestStatus_ShowsTheLastRecovery(t *testing.T) {
	s := newServer("")
	began := time.Date(2030, 1, 1, 12, 0, 0, 0, time.FixedZone("elsewhere", 3600))
	s.Publish(unseal.Snapshot{
		Phase: unseal.Active, Since: began.Add(time.Minute),
		Last: &unseal.Recovery{Began: began, Took: time.Minute, Done: true, Steps: []unseal.Step{{Phase: unseal.Unreachable, At: began, Took: time.Minute}}},
	})
	var got map[string]any
	require.NoError(t, json.Unmarshal(request(s, "GET", "/status").Body.Bytes(), &got))
	assert.Equal(t, true, got["serving"])
	assert.Equal(t, "2030-01-01T11:01:00Z", got["since"])
	recovery := got["recovery"].(map[string]any)
	assert.Equal(t, true, recovery["done"])
	assert.InDelta(t, 60, recovery["seconds"], 0)
	for _, absent := range []string{"message", "reason", "advice", "key_error", "unsealed_at", "key_proof", "external_secrets", "image", "recoveries", "stuck_seconds"} {
		assert.NotContains(t, got, absent)
	}

	assert.NotContains(t, request(newServer(""), "GET", "/status").Body.String(), "recovery", "before there was any")
}

func TestStatus_IsServedToLocalPeersOnly(t *testing.T) {
	for _, row := range []struct {
		sentence   string
		peer, host string
		code       int
	}{
		{"exec in the container", "127.0.0.1:4711", "localhost:9810", 200},
		{"port-forward", "127.0.0.1:4711", "127.0.0.1:9810", 200},
		{"over IPv6", "[::1]:4711", "[::1]:9810", 200},
		{"to another port, forwarded", "[::1]:4711", "localhost:1234", 200},
		{"a Host without a port", "127.0.0.1:4711", "localhost", 200},
		{"an IPv6 Host without a port", "[::1]:4711", "[::1]", 200},

		{"another pod", "10.42.0.7:4711", "10.42.0.8:9810", 404},
		{"another pod that lies about the Host", "10.42.0.7:4711", "localhost:9810", 404},
		{"another pod over IPv6", "[fd00::7]:4711", "localhost:9810", 404},
		{"a remote peer through a service mesh", "127.0.0.6:4711", "localhost:9810", 404},
		{"a name that was made to resolve to this machine", "127.0.0.1:4711", "evil.example:9810", 404},
		{"one that begins like localhost", "127.0.0.1:4711", "localhost.evil.example:9810", 404},
		{"no Host", "127.0.0.1:4711", "", 404},
		{"no peer", "", "localhost:9810", 404},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			s := newServer("")
			s.Publish(unseal.Snapshot{Phase: unseal.KeyRejected, Reason: "a reason"})
			for _, path := range []string{"/status", "/", "/?part=main"} {
				w := request(s, "GET", path, func(r *http.Request) {
					r.RemoteAddr, r.Host = row.peer, row.host
					r.Header.Set("X-Forwarded-For", "127.0.0.1")
				})
				assert.Equal(t, row.code, w.Code, path)
				if row.code != 200 {
					missing := request(s, "GET", "/nowhere")
					assert.Equal(t, missing.Body.String(), w.Body.String(), "it looks like no page at all")
					assert.Equal(t, missing.Header(), w.Header())
				}
			}
			assert.Equal(t, 200, request(s, "GET", "/healthz", func(r *http.Request) { r.RemoteAddr, r.Host = row.peer, row.host }).Code)
		})
	}
}

func TestServer_RejectsOtherPathsAndMethods(t *testing.T) {
	s := newServer("")
	for _, path := range []string{"/index.html", "/page.js", "/status/", "/statusx", "/healthz/x", "/metrics", "/debug/pprof/", "/debug/vars"} {
		t.Run("GET "+path, func(t *testing.T) { assert.Equal(t, 404, request(s, "GET", path).Code) })
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		for _, path := range []string{"/", "/healthz", "/readyz", "/status"} {
			t.Run(method+" "+path, func(t *testing.T) { assert.Equal(t, 405, request(s, method, path).Code) })
		}
	}
	assert.Equal(t, 200, request(s, "HEAD", "/healthz").Code)
}

func TestStatus_ShowsEverythingPublished(t *testing.T) {
	s := newServer("")
	at := time.Date(2030, 1, 1, 12, 0, 0, 0, time.FixedZone("elsewhere", 3600))
	s.Publish(unseal.Snapshot{
		Phase: unseal.Active, Since: at, UnsealedAt: at, KeyChanged: true,
		History: []*unseal.Recovery{{Began: at, Took: time.Minute, Done: true}, {Began: at.Add(-time.Hour), Took: time.Second, Done: true}},
	})
	s.PublishProof(unseal.Proof{At: at, Result: unseal.ProofInvalid, Reason: "a reason"})
	s.PublishImage("an image@sha256:0")
	s.PublishSecrets(status.ExternalSecrets{
		Status: "False", Reason: "NotSynced", Message: "a message",
		Stores:    []status.Store{{Name: "ClusterSecretStore home", Ready: true, Reason: "Valid", Message: "ok"}, {Name: "SecretStore a/b", Ready: false, Reason: "Invalid", Message: "no"}},
		LeftCount: 7, Left: []string{"ExternalSecret a/b: an error"},
	})
	var got map[string]any
	body := request(s, "GET", "/status").Body.String()
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	part := func(names ...string) string {
		picked := map[string]any{}
		for _, name := range names {
			picked[name] = got[name]
		}
		b, err := json.Marshal(picked)
		require.NoError(t, err)
		return string(b)
	}
	assert.JSONEq(t, `{"unsealed_at": "2030-01-01T11:00:00Z", "key_changed": true, "image": "an image@sha256:0",
		"key_proof": {"at": "2030-01-01T11:00:00Z", "result": "invalid", "reason": "a reason"}}`,
		part("unsealed_at", "key_changed", "image", "key_proof"))
	assert.JSONEq(t, `{"recoveries": [
		{"began": "2030-01-01T11:00:00Z", "seconds": 60, "done": true, "steps": null},
		{"began": "2030-01-01T10:00:00Z", "seconds": 1, "done": true, "steps": null}]}`, part("recoveries"))
	assert.JSONEq(t, `{"external_secrets": {"status": "False", "reason": "NotSynced", "message": "a message",
		"stores": [{"name": "SecretStore a/b", "ready": false, "reason": "Invalid", "message": "no"},
			{"name": "ClusterSecretStore home", "ready": true, "reason": "Valid", "message": "ok"}],
		"left_count": 7, "left": ["ExternalSecret a/b: an error"]}}`, part("external_secrets"))

	var back status.Status
	require.NoError(t, json.Unmarshal([]byte(body), &back), "the terminal reads it again")
	assert.Equal(t, unseal.ProofInvalid, back.KeyProof.Result)

	s.PublishSecrets(status.ExternalSecrets{})
	assert.NotContains(t, request(s, "GET", "/status").Body.String(), "external_secrets", "nothing is known of it")
	s.Turned = func() time.Duration { return time.Minute }
	assert.Contains(t, request(s, "GET", "/status").Body.String(), `"stuck_seconds": 60`)
}

func TestMetrics_AreServedToAnyPeer(t *testing.T) {
	s := newServer("")
	s.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a metric")) })
	w := request(s, "GET", "/metrics", func(r *http.Request) { r.RemoteAddr, r.Host = "10.0.0.1:4711", "vault.example" })
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, "a metric", w.Body.String())
	assert.Equal(t, 405, request(s, "POST", "/metrics").Code)
}

// Kubernetes' probes and the loop run side by side.
func TestServer_PublishesWhileServing(t *testing.T) {
	s := newServer("")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				s.Publish(unseal.Snapshot{Phase: unseal.Active, Last: &unseal.Recovery{Steps: []unseal.Step{{}}}})
				s.Publish(unseal.Snapshot{Phase: unseal.Held, Current: &unseal.Recovery{Steps: []unseal.Step{{}}}})
				s.PublishProof(unseal.Proof{Result: unseal.ProofValid})
				s.PublishSecrets(status.ExternalSecrets{Status: "True"})
				s.PublishImage("an image")
				assert.Equal(t, 200, request(s, "GET", "/status").Code)
				assert.Equal(t, 200, request(s, "GET", "/").Code)
				request(s, "GET", "/readyz")
			}
		})
	}
	group.Wait()
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *logBuffer) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *logBuffer) count(level string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), "["+level+"]")
}

func TestServer_RetriesAPortInUseAndLogsItOnce(t *testing.T) {
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var log logBuffer
	s := newServer(occupied.Addr().String())
	s.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Info})
	s.again = tick
	start(t, s)
	require.Eventually(t, func() bool { return log.count("WARN") > 0 }, waitTimeout, tick)
	time.Sleep(20 * tick) // some tries more
	assert.Equal(t, 1, log.count("WARN"))
	assert.Zero(t, log.count("INFO"))

	require.NoError(t, occupied.Close())
	require.Eventually(t, func() bool { code, _ := get("http://" + s.Bind + "/healthz"); return code == 200 }, waitTimeout, tick)
	assert.Equal(t, 1, log.count("WARN"))
	assert.Equal(t, 1, log.count("INFO"))
}

func TestServer_StopsAtOnceWithAnUnavailableAddress(t *testing.T) {
	s := newServer("192.0.2.1:80")
	stop := start(t, s)
	time.Sleep(10 * tick)
	began := time.Now()
	stop()
	assert.Less(t, time.Since(began), time.Second)
}
