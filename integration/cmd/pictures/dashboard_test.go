package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakePrometheus answers each query with one series, of these values, a second apart.
func fakePrometheus(t *testing.T, from time.Time, values ...string) *prometheus {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.FormValue("query"), "$", "a variable of Grafana's")
		var samples []string
		for i, value := range values {
			samples = append(samples, fmt.Sprintf("[%d,%q]", from.Unix()+int64(i), value))
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[
			{"metric":{"pod":"vault-0","phase":"active"},"values":[%s]}]}}`, strings.Join(samples, ","))
	}))
	t.Cleanup(h.Close)
	client, err := api.NewClient(api.Config{Address: h.URL})
	require.NoError(t, err)
	return &prometheus{API: v1.NewAPI(client)}
}

func TestDraw_ShowsEachPanelWithItsValues(t *testing.T) {
	raw, err := os.ReadFile("../../../manifests/monitoring/dashboard.json")
	require.NoError(t, err)
	to := time.Now()
	b := board{From: to.Add(-2 * time.Second), To: to}
	html, err := b.draw(t.Context(), raw, fakePrometheus(t, b.From, "6", "1", "1"))
	require.NoError(t, err)
	require.NotEmpty(t, b.Panels)
	sections := strings.Split(string(html), "<section ")[1:]
	require.Len(t, sections, len(b.Panels))
	for i, shows := range map[int]string{
		0: `background: var(--green)">active<`, 1: "<b>vault-0: active</b>", 2: ">1.0 s<", 5: ">usable<", 9: `<path d="M`, 10: "width: 100%",
	} {
		assert.Contains(t, sections[i], "<h2>"+b.Panels[i].Title+"</h2>")
		assert.Contains(t, sections[i], shows, b.Panels[i].Title)
	}
	for i, p := range b.Panels {
		assert.Regexp(t, ">(vault-0|active)", sections[i], "%s: nothing of it is drawn", p.Title)
	}
}

func TestPath_IsBrokenWhereTheSidecarWasDead(t *testing.T) {
	b := &board{From: time.Unix(0, 0), To: time.Unix(10, 0)}
	s := series{"a", []model.SamplePair{{Timestamp: 0, Value: 1}, {Timestamp: 1000, Value: 2}, {Timestamp: 5000, Value: 2}}}
	p := &panel{Board: b, Series: []series{s}}
	assert.Equal(t, "M0.00 66.67H10.00V33.33M50.00 33.33", p.Path(s))
	assert.Equal(t, []run{{1, 0, 10}, {2, 10, 10}, {2, 50, 10}}, p.Runs(s))
}
