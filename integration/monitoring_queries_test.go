package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scrapeLabels are those that Prometheus puts to what it scrapes.
var scrapeLabels = []string{"job", "namespace", "pod", "instance"}

// grafanaVariables are what Grafana puts in their places.
var grafanaVariables = strings.NewReplacer("$namespace", ".*", "$pod", ".*", "$__rate_interval", "2m")

// panelQueries are the dashboard's, by their panels' titles.
func panelQueries(t *testing.T) map[string][]string {
	out := map[string][]string{}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			out[p.Title] = append(out[p.Title], grafanaVariables.Replace(target.Expr))
		}
	}
	return out
}

var (
	definition = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)
	legend     = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	asked      = regexp.MustCompile(`printf "(.*?)" [^|]*\| query`)
)

// allQueries are those of the panels, the dashboard's variables, the alerts,
// and the alerts' texts. What a panel's legend shows has to be a label too.
func allQueries(t *testing.T) map[string][]string {
	out := map[string][]string{}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			query := grafanaVariables.Replace(target.Expr)
			for _, m := range legend.FindAllStringSubmatch(target.Legend, -1) {
				query = fmt.Sprintf("count by (%s) (%s)", m[1], query)
			}
			out[p.Title] = append(out[p.Title], query)
		}
	}
	for _, v := range readDashboard(t).Templating.List {
		if v.Type == "query" {
			m := definition.FindStringSubmatch(v.Definition)
			require.NotNil(t, m, v.Definition)
			out["variable "+v.Name] = []string{fmt.Sprintf("count by (%s) (%s)", m[2], grafanaVariables.Replace(m[1]))}
		}
	}
	for _, r := range readAlerts(t, unchanged).Groups[0].Rules {
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

// unknownReferences lists what a query asks for that is not among the samples.
func unknownReferences(query string, samples []sample) (out []string) {
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

func TestQueries_UnknownSeriesAreFound(t *testing.T) {
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
		t.Run(query, func(t *testing.T) {
			assert.Equal(t, want, unknownReferences(query, samples))
		})
	}
}
