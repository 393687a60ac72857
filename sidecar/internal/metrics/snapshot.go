package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	descVault = desc("vault_state", "1 for the state that Vault is in, as far as is known.", "state")
	descPhase = desc("phase", "1 for the phase that the sidecar is in.", "phase")
	descSince = desc("phase_entered_timestamp_seconds", "When the phase began.")
	descLast  = desc("last_unseal_timestamp_seconds", "When the mounted key last opened Vault; 0: not since the pod or its node started.")

	descUsable  = desc("key_usable", "1 while the mounted key is there, well-formed and, as far as is known, enough for the threshold.")
	descShares  = desc("key_shares", "Well-formed key shares that are mounted.")
	descToken   = desc("key_token_mounted", "1 while something like a Vault token is mounted with the key.")
	descChanged = desc("key_changed_since_unseal", "1 while another key is mounted than the one that last opened Vault.")
	descProof   = desc("key_proof", "1 for the result of the newest proof of the mounted key; invalid stays until one that comes to a verdict.", "result")
	descProved  = desc("key_proof_timestamp_seconds", "When that result came; 0: there is none.")

	descEnds = desc("certificate_expiry_timestamp_seconds", "When the first certificate ends that TLS with Vault depends on, as of the newest handshake: Vault's with those that vouch for it, and the sidecar's own; 0: there is none.", "whose")

	descStores = desc("eso_stores", "Stores of External Secrets that are looked after, by whether they are Ready.", "ready")
	descLeft   = desc("eso_unsynced_objects", "Objects of External Secrets that were not synced at the newest look.")
)

// snapshot tells what is, as opposed to what has happened.
type snapshot struct {
	latest       *status.Latest
	certificates func() (server, client time.Time)
}

// Describe implements prometheus.Collector.
func (s snapshot) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, to) }

// Collect implements prometheus.Collector.
func (s snapshot) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	k := s.latest.Known()
	state, proof := k.State, k.Proof
	vault := state.Phase.Info().State
	if k.Stuck > 0 {
		vault = "unknown"
	}
	for _, each := range unseal.VaultStates() {
		gauge(descVault, one(each == vault), each)
	}
	for _, p := range unseal.Phases() {
		gauge(descPhase, one(p == state.Phase), p.String())
	}
	gauge(descSince, seconds(state.Since))
	gauge(descLast, seconds(state.UnsealedAt))
	gauge(descUsable, one(state.Shares > 0 && state.KeyError == ""))
	gauge(descShares, float64(state.Shares))
	gauge(descToken, one(slices.ContainsFunc(state.Remarks, func(r unseal.Remark) bool { return r.Token })))
	gauge(descChanged, one(state.KeyChanged))
	for _, each := range []unseal.ProofResult{unseal.ProofValid, unseal.ProofInvalid, unseal.ProofRefused, unseal.ProofBusy, unseal.ProofFailed, ""} {
		gauge(descProof, one(each == proof.Result), cmp.Or(string(each), "none"))
	}
	gauge(descProved, seconds(proof.At))
	server, client := s.certificates()
	gauge(descEnds, seconds(server), "vault")
	gauge(descEnds, seconds(client), "sidecar")
	gauge(descStores, float64(k.Ready), "true")
	gauge(descStores, float64(k.NotReady), "false")
	gauge(descLeft, float64(k.Secrets.LeftCount))
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// seconds returns a moment as Prometheus has them; 0 for the zero one.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
