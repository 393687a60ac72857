package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"encoding/json"
	"os"
	"path/filepath"
)

// jobName is what the PodMonitor calls the sidecars.
const jobName = "vault-unseal-sidecar"

// scrapeLabels are those that Prometheus puts to what it scrapes.
var scrapeLabels = []string{"job", "namespace", "pod"}

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

// exported is what the built sidecar tells on /metrics after a recovery: each
// metric, and each of its labels' values.
func exported(t *testing.T) (text string, samples []sample) {
	t.Helper()
	w := play(t, home{}, phase{"vault is sealed", startSidecar, []expectation{serving()}})
	code, text, err := w.sidecar.Get(w.ctx, "/metrics")
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

// dashboard is what of a dashboard asks Prometheus.
type dashboard struct {
	ID            *int   `json:"id"`
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Inputs        []any  `json:"__inputs"`
	Templating    struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID         int               `json:"id"`
		Type       string            `json:"type"`
		Title      string            `json:"title"`
		Datasource map[string]string `json:"datasource"`
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct {
			RefID      string            `json:"refId"`
			Datasource map[string]string `json:"datasource"`
			Expr       string            `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	manifest(t, "manifests/monitoring/dashboard.json", &d)
	require.NotEmpty(t, d.Panels)
	return d
}

// variables are what Grafana puts in their places.
var variables = strings.NewReplacer("$namespace", ".*", "$pod", ".*", "$__rate_interval", "2m")

// panelQueries are the dashboard's, by their panels' titles.
func panelQueries(t *testing.T) map[string][]string {
	out := map[string][]string{}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			out[p.Title] = append(out[p.Title], variables.Replace(target.Expr))
		}
	}
	return out
}

var (
	definition = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)
	asked      = regexp.MustCompile(`printf "(.*?)" [^|]*\| query`)
)

// allQueries are those of the panels, the dashboard's variables, the alerts,
// and the alerts' texts.
func allQueries(t *testing.T) map[string][]string {
	out := panelQueries(t)
	for _, v := range readDashboard(t).Templating.List {
		if v.Type == "query" {
			m := definition.FindStringSubmatch(v.Definition)
			require.NotNil(t, m, v.Definition)
			out["variable "+v.Name] = []string{fmt.Sprintf("count by (%s) (%s)", m[2], variables.Replace(m[1]))}
		}
	}
	for _, r := range alerts(t, unchanged).Groups[0].Rules {
		out[r.Alert] = []string{r.Expr}
		for _, text := range r.Annotations {
			for _, m := range asked.FindAllStringSubmatch(text, -1) {
				out[r.Alert] = append(out[r.Alert], strings.ReplaceAll(m[1], "%q", `"x"`))
			}
			assert.Equal(t, strings.Count(text, "query"), len(asked.FindAllString(text, -1)), "queries found in %q", text)
		}
	}
	return out
}

var (
	grouping = regexp.MustCompile(`\b(?:by|on)\s*\(([^)]*)\)`)
	span     = regexp.MustCompile(`\[[^\]]*\]`)
	selector = regexp.MustCompile(`([a-zA-Z_:][\w:]*)\s*(\{[^}]*\}|\()?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|=|!=|!~)\s*(?:"([^"]*)"|'([^']*)')`)
	keywords = []string{"and", "or", "unless", "bool"}
)

// unknown lists what a query asks for that is not among the samples.
func unknown(query string, samples []sample) (out []string) {
	labels := slices.Clone(scrapeLabels)
	bare := span.ReplaceAllString(grouping.ReplaceAllString(query, ""), "")
	for _, m := range selector.FindAllStringSubmatch(bare, -1) {
		name, braces := m[1], m[2]
		if braces == "(" || slices.Contains(keywords, name) || name == "up" {
			continue
		}
		values := map[string][]string{}
		found := false
		for _, s := range samples {
			if s.name == name {
				found = true
				for k, v := range s.labels {
					values[k] = append(values[k], v)
					labels = append(labels, k)
				}
			}
		}
		if !found {
			out = append(out, name)
			continue
		}
		for _, m := range matcher.FindAllStringSubmatch(braces, -1) {
			if slices.Contains(scrapeLabels, m[1]) {
				continue
			}
			for _, value := range strings.Split(m[3]+m[4], "|") {
				if !slices.Contains(values[m[1]], value) {
					out = append(out, fmt.Sprintf("%s{%s=%q}", name, m[1], value))
				}
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(query, -1) {
		for _, label := range strings.Split(m[1], ",") {
			if label = strings.TrimSpace(label); !slices.Contains(labels, label) {
				out = append(out, "the label "+label)
			}
		}
	}
	return out
}

func TestWhatIsNotExportedIsFoundInAQuery(t *testing.T) {
	t.Parallel()
	samples := []sample{{name: "a_total", labels: map[string]string{"result": "good"}}, {name: "b", labels: map[string]string{"x": "y"}}}
	for query, want := range map[string][]string{
		`sum by (pod, result) (rate(a_total{result="good", pod="p"}[5m])) > 0`: nil,
		`max(up{job="x"}) unless on (pod) b{x=~"y"} and a_total`:               nil,
		`sum(c_total) or b`:             {"c_total"},
		`a_total{result=~"good|bad"}`:   {`a_total{result="bad"}`},
		`a_total{verdict="good"}`:       {`a_total{verdict="good"}`},
		`sum by (verdict) (a_total)`:    {"the label verdict"},
		`a_total * on (phase) b{x='z'}`: {`b{x="z"}`, "the label phase"},
	} {
		assert.Equal(t, want, unknown(query, samples), query)
	}
}

func TestAllThatIsAskedForIsExported(t *testing.T) {
	t.Parallel()
	text, samples := exported(t)
	out, err := promtool(t, "", text, "check", "metrics")
	assert.NoError(t, err, out)
	assert.Empty(t, out, "what promtool thinks of the metrics")
	for where, queries := range allQueries(t) {
		for _, query := range queries {
			assert.Empty(t, unknown(query, samples), "%s asks for what there is not: %s", where, query)
		}
	}
	everyPanelShowsSomething(t, samples)
}

// everyPanelShowsSomething puts the samples into a Prometheus and asks what
// the panels ask.
func everyPanelShowsSomething(t *testing.T, samples []sample) {
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

// Grafana is not here to load it; this is what keeps one from loading, or from
// loading beside others.
func TestTheDashboardLoadsWithoutEdits(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	assert.Nil(t, d.ID)
	assert.Equal(t, jobName, d.UID)
	assert.Empty(t, d.Inputs)
	assert.GreaterOrEqual(t, d.SchemaVersion, 36)
	require.NotEmpty(t, d.Templating.List)
	assert.Equal(t, "datasource", d.Templating.List[0].Name)
	assert.Equal(t, "datasource", d.Templating.List[0].Type)
	source := map[string]string{"type": "prometheus", "uid": "${datasource}"}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		assert.False(t, ids[p.ID], "id %d is there twice", p.ID)
		ids[p.ID] = true
		assert.Equal(t, source, p.Datasource, p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			assert.Equal(t, source, target.Datasource, p.Title)
		}
		g := p.GridPos
		assert.LessOrEqual(t, g.X+g.W, 24, p.Title)
		for _, other := range d.Panels[:i] {
			o := other.GridPos
			apart := g.X >= o.X+o.W || o.X >= g.X+g.W || g.Y >= o.Y+o.H || o.Y >= g.Y+g.H
			assert.True(t, apart, "%s lies over %s", p.Title, other.Title)
		}
	}
}
