package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// rows is how much of the dashboard is drawn: what there is to see of a recovery.
const rows = 22

// board is what of dashboard.json is drawn, and from when to when.
type board struct {
	Title    string
	Panels   []*panel
	From, To time.Time
}

type panel struct {
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, LegendFormat string }
	Options struct{ TextMode string }
	Field   struct {
		Defaults struct {
			Unit       string
			Mappings   []struct{ Options map[string]mapping }
			Thresholds struct{ Steps []struct{ Color string } }
		}
		Overrides []struct {
			Matcher    struct{ Options string }
			Properties []struct {
				ID    string
				Value any
			}
		}
	} `json:"fieldConfig"`

	Board  *board `json:"-"`
	Series []series
}

type mapping struct{ Text, Color string }

//go:embed dashboard.html
var page string

// variables are what Grafana puts in their places.
var variables = strings.NewReplacer("$namespace", ".*", "$pod", ".*", "$__rate_interval", "1m")

// dashboard takes the dashboard. It is no Grafana: what a panel shows is the same, how it
// looks is not.
func (a *album) dashboard(ctx context.Context, env *testenv.Env, p *prometheus, to time.Time) error {
	raw, err := os.ReadFile(env.Source("manifests/monitoring/dashboard.json"))
	if err != nil {
		return err
	}
	b := board{From: p.started, To: to}
	html, err := b.draw(ctx, raw, p)
	if err != nil {
		return err
	}
	a.record.Dashboard = sum(raw)
	for _, panel := range b.Panels {
		a.record.Panels = append(a.record.Panels, panel.Title)
	}
	file := filepath.Join(env.Dir, "dashboard.html")
	if err := os.WriteFile(file, html, 0o644); err != nil {
		return err
	}
	return a.take("dashboard", "file://"+file, 900)
}

// draw draws the panels of a dashboard with what Prometheus answers to their queries.
func (b *board) draw(ctx context.Context, dashboard []byte, p *prometheus) ([]byte, error) {
	if err := json.Unmarshal(dashboard, b); err != nil {
		return nil, err
	}
	b.Panels = slices.DeleteFunc(b.Panels, func(p *panel) bool { return p.GridPos.Y >= rows })
	for _, panel := range b.Panels {
		panel.Board = b
		if err := panel.fill(ctx, p); err != nil {
			return nil, fmt.Errorf("%s: %w", panel.Title, err)
		}
	}
	var html bytes.Buffer
	err := template.Must(template.New("").Parse(page)).Execute(&html, b)
	return html.Bytes(), err
}

// series is a line of a panel, or a value: that has one point.
type series struct {
	Name   string
	Points []model.SamplePair
}

// Last is the newest value.
func (s series) Last() float64 { return float64(s.Points[len(s.Points)-1].Value) }

// fill asks what the panel asks.
func (p *panel) fill(ctx context.Context, prometheus *prometheus) error {
	from := p.Board.To
	if p.Type == "timeseries" || p.Type == "state-timeline" {
		from = p.Board.From
	}
	for _, target := range p.Targets {
		found, err := prometheus.ask(ctx, variables.Replace(target.Expr), from, p.Board.To)
		if err != nil {
			return err
		}
		for _, stream := range found {
			name := target.LegendFormat // as in {{pod}}: {{phase}}
			for label, value := range stream.Metric {
				name = strings.ReplaceAll(name, "{{"+string(label)+"}}", string(value))
			}
			p.Series = append(p.Series, series{name, stream.Values})
		}
	}
	if len(p.Series) == 0 {
		return errors.New("there is nothing to show")
	}
	return nil
}

// Text is a value as the panel shows it.
func (p *panel) Text(value float64) string {
	if m := p.mapped(value); m.Text != "" {
		return m.Text
	}
	switch p.Field.Defaults.Unit {
	case "s":
		return duration(value)
	case "dateTimeFromNow":
		return duration(float64(p.Board.To.UnixMilli())/1000-value/1000) + " ago"
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

func duration(seconds float64) string {
	if seconds < 1 {
		return fmt.Sprintf("%.0f ms", 1000*seconds)
	}
	return fmt.Sprintf("%.1f s", seconds)
}

// Color is a value's.
func (p *panel) Color(value float64) string {
	if steps := p.Field.Defaults.Thresholds.Steps; len(steps) > 0 {
		return steps[0].Color
	}
	return cmp.Or(p.mapped(value).Color, "text")
}

func (p *panel) mapped(value float64) mapping {
	for _, m := range p.Field.Defaults.Mappings {
		if found, ok := m.Options[strconv.FormatFloat(value, 'f', -1, 64)]; ok {
			return found
		}
	}
	return mapping{}
}

// OnTheRight reports whether a series has its axis there.
func (p *panel) OnTheRight(s series) bool {
	for _, o := range p.Field.Overrides {
		for _, property := range o.Properties {
			pattern := strings.Trim(o.Matcher.Options, "/")
			if property.Value == "right" && regexp.MustCompile(pattern).MatchString(s.Name) {
				return true
			}
		}
	}
	return false
}
