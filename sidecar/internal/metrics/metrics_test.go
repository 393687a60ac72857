package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// scrape returns the samples by their names with labels, as they are written.
func scrape(t *testing.T, m testMetrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code)
	samples := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), " "); found && name != "#" {
			samples[name] = value
		}
	}
	return samples
}

// testMetrics are Metrics with what is published to them.
type testMetrics struct {
	*Metrics
	*status.Latest
}

func newMetrics() testMetrics { return newMetricsWith(noCertificates) }

func newMetricsWith(certificates func() (vault, client time.Time)) testMetrics {
	latest := status.NewLatest("v1")
	return testMetrics{New("abc", latest, certificates), latest}
}

func noCertificates() (vault, client time.Time) { return }

// vaultStates returns the states whose sample is 1.
func vaultStates(samples map[string]string) (states []string) {
	for _, state := range unseal.VaultStates() {
		if samples[prefix+`vault_state{state="`+state+`"}`] == "1" {
			states = append(states, state)
		}
	}
	return states
}

func TestMetrics_ExposesEverySeriesFromTheStart(t *testing.T) {
	m := newMetrics()
	before := scrape(t, m)
	for _, r := range unseal.Results() {
		m.Attempted(r)
	}
	var steps []unseal.Step
	for _, p := range unseal.Phases() {
		m.Publish(unseal.Snapshot{Phase: p, Since: time.Now(), UnsealedAt: time.Now(), Shares: 1, KeyChanged: true})
		if !p.Serving() {
			steps = append(steps, unseal.Step{Phase: p, Took: time.Second})
		}
	}
	m.Recovered(unseal.Recovery{Took: time.Minute, Steps: steps})
	m.PublishProof(unseal.Proof{Result: unseal.ProofInvalid, At: time.Now()})
	m.PublishSecrets(status.ExternalSecrets{Stores: []status.Store{{Ready: true}, {}, {}}, LeftCount: 3})
	m.KeysChanged()
	m.Failed("stores")
	m.Touched("PushSecret")
	m.Evicted()
	m.Policy("gate", "missing")
	m.Reached("store", 2*time.Second)
	m.Reached("objects", 3*time.Second)
	after := scrape(t, m)
	for name, value := range after {
		was, there := before[name]
		assert.True(t, there, "%s comes late: an alert on it would miss its first change", name)
		if strings.HasSuffix(name, `_total{result="opened"}`) {
			assert.Equal(t, []string{"0", "1"}, []string{was, value})
		}
	}
	assert.Len(t, after, len(before))
	assert.Equal(t, "1", after[prefix+`recovery_step_duration_seconds_count{phase="no-key"}`])
	assert.Equal(t, "60", after[prefix+"recovery_duration_seconds_sum"])
	assert.Equal(t, "2", after[prefix+`eso_stores{ready="false"}`])
	assert.Equal(t, "2", after[prefix+`eso_recovery_duration_seconds_sum{until="store"}`])
	assert.Equal(t, "3", after[prefix+`eso_recovery_duration_seconds_sum{until="objects"}`])
	assert.Equal(t, "1", after[prefix+`key_proof{result="invalid"}`])
	assert.Equal(t, "0", after[prefix+`key_proof{result="none"}`])
	assert.Equal(t, "1", after[prefix+`admission_policy{manifest="gate",state="missing"}`])
	assert.Equal(t, "0", after[prefix+`admission_policy{manifest="gate",state="unknown"}`])
	assert.Equal(t, "1", after[prefix+`admission_policy{manifest="stores",state="unknown"}`])
}

func TestMetrics_KeyTokenMountedFollowsTheRemarks(t *testing.T) {
	m := newMetrics()
	assert.Equal(t, "0", scrape(t, m)[prefix+"key_token_mounted"])
	m.Publish(unseal.Snapshot{Shares: 1, Remarks: []unseal.Remark{{Entry: "a", What: "empty"}}})
	assert.Equal(t, "0", scrape(t, m)[prefix+"key_token_mounted"])
	m.Publish(unseal.Snapshot{Shares: 1, Remarks: []unseal.Remark{{Entry: "a", What: "empty"}, {Entry: "b", Token: true}}})
	assert.Equal(t, "1", scrape(t, m)[prefix+"key_token_mounted"])
}

func TestMetrics_KeyUsableNeedsAReadableKey(t *testing.T) {
	for _, row := range []struct {
		sentence       string
		state          unseal.Snapshot
		usable, shares string
	}{
		{"nothing was read yet", unseal.Snapshot{}, "0", "0"},
		{"shares are mounted", unseal.Snapshot{Shares: 3}, "1", "3"},
		{"they cannot be read", unseal.Snapshot{KeyError: "no key file is there"}, "0", "0"},
		{"they are too few", unseal.Snapshot{Shares: 1, KeyError: "1 of the 2 shares are mounted"}, "0", "1"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			m := newMetrics()
			m.Publish(row.state)
			samples := scrape(t, m)
			assert.Equal(t, row.usable, samples[prefix+"key_usable"])
			assert.Equal(t, row.shares, samples[prefix+"key_shares"])
		})
	}
}

func TestMetrics_VaultHasOneState(t *testing.T) {
	want := map[unseal.Phase]string{
		unseal.Starting: "unknown", unseal.Unreachable: "unknown", unseal.Unresponsive: "unknown", unseal.Failing: "unknown",
		unseal.Uninitialized: "uninitialized",
		unseal.LeftAlone:     "sealed", unseal.NoKey: "sealed", unseal.Unsealing: "sealed", unseal.UnsealHanging: "sealed",
		unseal.KeyRejected: "sealed", unseal.Held: "sealed",
		unseal.Activating: "unsealed", unseal.StorageHanging: "unsealed", unseal.Standby: "standby", unseal.Active: "active",
	}
	for _, p := range unseal.Phases() {
		t.Run(p.String(), func(t *testing.T) {
			m := newMetrics()
			m.Publish(unseal.Snapshot{Phase: p})
			assert.Equal(t, []string{want[p]}, vaultStates(scrape(t, m)))
		})
	}
}

func TestMetrics_VaultStateIsUnknownWhileTheLoopIsStuck(t *testing.T) {
	m := newMetrics()
	m.Publish(unseal.Snapshot{Phase: unseal.Active})
	assert.Equal(t, []string{"active"}, vaultStates(scrape(t, m)))
	m.Turned = func() time.Duration { return status.StuckAfter }
	assert.Equal(t, []string{"unknown"}, vaultStates(scrape(t, m)))
}

func TestMetrics_CertificateExpiryIsInSeconds(t *testing.T) {
	var server, client time.Time
	m := newMetricsWith(func() (time.Time, time.Time) { return server, client })
	name := func(whose string) string {
		return prefix + `certificate_expiry_timestamp_seconds{whose="` + whose + `"}`
	}
	assert.Equal(t, "0", scrape(t, m)[name("vault")], "no handshake, or no TLS")
	server, client = time.Unix(1000, 0), time.Unix(2000, 0)
	assert.Equal(t, "1000", scrape(t, m)[name("vault")])
	assert.Equal(t, "2000", scrape(t, m)[name("sidecar")])
}

// stuckWriter is a client that takes nothing.
type stuckWriter struct {
	*httptest.ResponseRecorder
	began chan struct{}
	until chan struct{}
}

func (w stuckWriter) Write(b []byte) (int, error) {
	w.began <- struct{}{}
	<-w.until
	return len(b), nil
}

// Four requests of one slow client must not block other clients.
func TestHandler_SlowClientsBlockNoOthers(t *testing.T) {
	m := newMetrics()
	h := m.Handler()
	until := make(chan struct{})
	defer close(until)
	began := make(chan struct{}, 100)
	for range 4 {
		go h.ServeHTTP(stuckWriter{httptest.NewRecorder(), began, until}, httptest.NewRequest("GET", "/metrics", nil))
	}
	for range 4 {
		<-began
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("answered %d", w.Code)
	}
}
