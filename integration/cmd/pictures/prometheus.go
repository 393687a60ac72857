package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// prometheus is a real one that scrapes the sidecar each second.
type prometheus struct {
	v1.API
	started time.Time // its first sample
}

// scrape has the labels that the PodMonitor gives what it scrapes.
const scrape = `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: vault-unseal-sidecar
    static_configs:
      - targets: [%q]
        labels: {namespace: security, pod: vault-0}
`

func startPrometheus(ctx context.Context, env *testenv.Env, target string) (*prometheus, error) {
	config := filepath.Join(env.Dir, "prometheus.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, scrape, target), 0o644); err != nil {
		return nil, err
	}
	port, err := testenv.Port()
	if err != nil {
		return nil, err
	}
	process, err := env.StartProgram("prometheus", nil, "prometheus", "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(env.Dir, "prometheus"), "--web.listen-address=127.0.0.1:"+port)
	if err != nil {
		return nil, fmt.Errorf("%w: install Debian's package prometheus", err)
	}
	client, err := api.NewClient(api.Config{Address: "http://127.0.0.1:" + port})
	if err != nil {
		return nil, err
	}
	p := &prometheus{API: v1.NewAPI(client)}
	err = testenv.Await(ctx, 30*time.Second, "prometheus to scrape", func() string {
		now := time.Now()
		found, err := p.ask(ctx, "vault_unseal_sidecar_build_info", now, now)
		if err != nil || len(found) == 0 {
			return fmt.Sprintf("%v; it printed: %s", err, process.Tail(2))
		}
		return ""
	})
	p.started = time.Now()
	return p, err
}

// ask returns a sample for each second, none where the sidecar was dead.
func (p *prometheus) ask(ctx context.Context, query string, from, to time.Time) (model.Matrix, error) {
	found, _, _, err := p.QueryRange(ctx, query, v1.Range{Start: from, End: to, Step: time.Second})
	matrix, _ := found.(model.Matrix)
	return matrix, err
}
