package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sample is a line of /metrics.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

// exportedMetrics is what the built sidecar exports on /metrics after a recovery: each
// metric, and each of its labels' values.
func exportedMetrics(t *testing.T) (text string, samples []sample) {
	t.Helper()
	sc := run(t, setup{}, phase{"vault is sealed", startSidecar, []condition{serving()}})
	code, text, err := sc.sidecar.Get(sc.ctx, "/metrics")
	require.NoError(t, err)
	require.Equal(t, 200, code, text)
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		require.NotNil(t, m, line)
		s := sample{name: m[1], labels: map[string]string{}}
		s.value, err = strconv.ParseFloat(m[3], 64)
		require.NoError(t, err, line)
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			s.labels[pair[1]] = pair[2]
		}
		samples = append(samples, s)
	}
	require.NotEmpty(t, samples)
	return text, samples
}

func TestMetrics_QueriedSeriesAreExported(t *testing.T) {
	t.Parallel()
	text, samples := exportedMetrics(t)
	out, err := promtool(t, "", text, "check", "metrics")
	assert.NoError(t, err, out)
	assert.Empty(t, out, "what promtool thinks of the metrics")
	for where, queries := range allQueries(t) {
		for _, query := range queries {
			assert.Empty(t, unknownReferences(query, samples), "%s asks for what there is not: %s", where, query)
		}
	}
	assertPanelsReturnData(t, samples)
}

// assertPanelsReturnData puts the samples into a Prometheus and asks what
// the panels ask.
func assertPanelsReturnData(t *testing.T, samples []sample) {
	t.Helper()
	type object = map[string]any
	var series, asks []object
	for _, s := range samples {
		pairs := []string{`job="` + jobName + `"`, `namespace="security"`, `pod="vault-0"`}
		for k, v := range s.labels {
			pairs = append(pairs, k+`="`+v+`"`)
		}
		series = append(series, object{
			"series": s.name + "{" + strings.Join(pairs, ", ") + "}",
			"values": strconv.FormatFloat(s.value, 'f', -1, 64) + "x20",
		})
	}
	for _, queries := range panelQueries(t) {
		for _, query := range queries {
			asks = append(asks, object{"expr": "count(" + query + ") > bool 0", "eval_time": "5m",
				"exp_samples": []object{{"labels": "{}", "value": 1}}})
		}
	}
	text, err := json.Marshal(object{"tests": []object{{"interval": "30s", "input_series": series, "promql_expr_test": asks}}})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "panels.json"), text, 0o644))
	out, err := promtool(t, dir, "", "test", "rules", "panels.json")
	assert.NoError(t, err, out)
}
