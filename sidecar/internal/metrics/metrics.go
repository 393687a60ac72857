// Package metrics counts what happens and serves it to Prometheus. It exists
// for the people who are told by an alert, so every series is there from the
// start, and none says more than is known: while Vault hangs its state is
// "unknown". It is the only user of client_golang. It names no object and no
// file: whoever reaches the port may read it.
package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const prefix = "vault_unseal_sidecar_"

// Metrics is all that is counted. Its methods may be called from any goroutine.
type Metrics struct {
	registry   *prometheus.Registry
	attempts   *prometheus.CounterVec
	keyChanges prometheus.Counter
	steps      *prometheus.HistogramVec
	recoveries prometheus.Histogram
	errors     *prometheus.CounterVec
	touched    *prometheus.CounterVec
	evictions  prometheus.Counter
	reached    *prometheus.HistogramVec
	policies   *prometheus.GaugeVec
}

// manifests are those that grant rights.
var manifests = []string{"gate", "stores", "externalsecrets", "more", "eviction"}

// policyStates are those of the policies that restrict what a manifest grants,
// the first at the start.
var policyStates = []string{"unknown", "enforced", "missing", "not-granted"}

// durations are the buckets of what takes from milliseconds to an hour, in
// seconds.
var durations = []float64{0.01, 0.1, 1, 10, 60, 300, 1200, 3600}

// New returns Metrics in which nothing has happened yet. certificates tells until
// when those last that TLS with Vault depends on.
func New(commit string, latest *status.Latest, certificates func() (server, client time.Time)) *Metrics {
	counters := func(name, help, label string, values []string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	histograms := func(name, help, label string, values []string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: durations}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	var steps []string
	for _, p := range unseal.Phases() {
		if !p.Serving() {
			steps = append(steps, p.String())
		}
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		attempts: counters("unseal_attempts_total", "Combinations of shares sent to Vault, by what became of them.",
			"result", unseal.Results()),
		keyChanges: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "key_changes_total",
			Help: "How often other key shares were found mounted than before."}),
		steps: histograms("recovery_step_duration_seconds", "Time spent in a phase of a recovery, by phase.", "phase", steps),
		recoveries: prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "recovery_duration_seconds",
			Help: "Time from Vault being away to Vault serving.", Buckets: durations}),
		errors: counters("kubernetes_errors_total", "Calls to the Kubernetes API that failed, by the manifest that grants them.",
			"manifest", manifests),
		touched: counters("eso_resync_requests_total", "Objects of External Secrets that were annotated to have them synced, by kind.",
			"kind", []string{"ClusterSecretStore", "SecretStore", "ExternalSecret", "ClusterExternalSecret", "PushSecret"}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "eso_evictions_total",
			Help: "Evictions of pods of the controller of External Secrets."}),
		reached: histograms("eso_recovery_duration_seconds",
			"Time from Vault being active, or a store being down, until a store is Ready, and until all objects are synced, as far as it is looked.",
			"until", []string{"store", "objects"}),
		policies: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "admission_policy",
			Help: "1 for the state of the admission policy that restricts what a manifest grants, by the newest dry run that told."},
			[]string{"manifest", "state"}),
	}
	for _, manifest := range manifests {
		m.Policy(manifest, policyStates[0])
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "build_info",
		Help:        "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": latest.Known().Version, "commit": commit, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(build, snapshot{latest, certificates}, m.attempts, m.keyChanges, m.steps, m.recoveries, m.errors, m.touched, m.evictions, m.reached, m.policies,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus' text format. How many are served at
// once is bounded by who listens, for each peer. They are not compressed: that takes
// 0.6 MB for each that is in flight, and the container has little.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
}

// Attempted counts an attempt to unseal.
func (m *Metrics) Attempted(result string) { m.attempts.WithLabelValues(result).Inc() }

// KeysChanged counts a change of the mounted key.
func (m *Metrics) KeysChanged() { m.keyChanges.Inc() }

// Recovered takes the times of a recovery that has ended.
func (m *Metrics) Recovered(r unseal.Recovery) {
	m.recoveries.Observe(r.Took.Seconds())
	for _, s := range r.Steps {
		m.steps.WithLabelValues(s.Phase.String()).Observe(s.Took.Seconds())
	}
}

// Failed counts a call to the Kubernetes API that failed.
func (m *Metrics) Failed(manifest string) { m.errors.WithLabelValues(manifest).Inc() }

// Touched counts an object that was annotated.
func (m *Metrics) Touched(kind string) { m.touched.WithLabelValues(kind).Inc() }

// Evicted counts a pod that was evicted.
func (m *Metrics) Evicted() { m.evictions.Inc() }

// Policy takes the state of the policy that restricts what a manifest grants.
func (m *Metrics) Policy(manifest, state string) {
	for _, each := range policyStates {
		m.policies.WithLabelValues(manifest, each).Set(one(each == state))
	}
}

// Reached takes how long External Secrets took to come to a step of its
// recovery.
func (m *Metrics) Reached(step string, took time.Duration) {
	m.reached.WithLabelValues(step).Observe(took.Seconds())
}
