package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// view is a status as HTML.
type view struct{ status.Status }

// writeMain writes what changes. What a screen reader is told is the sentence
// without its times, or it would never stop.
func (s view) writeMain(m *htmlWriter, now time.Time) {
	words := s.Words()
	said := words.Title + ". " + s.Sentence() + "."
	if words.Severity == status.SeverityWarn {
		said += " But something else is wrong."
	}
	m.open("main", "class", string(words.Severity), "data-said", said, "data-title", s.title(), "data-icon", icons[words.Severity])
	m.raw(`<section class="state"><svg viewBox="0 0 24 24" aria-hidden="true">`)
	m.raw(shapes[words.Severity])
	m.raw(`</svg><div>`)
	m.element("h1", words.Title)
	m.element("p", s.Headline(now))
	m.raw(`</div></section>`)
	s.writeWhy(m)
	if s.KeyTrouble() { // trouble comes first
		s.writeKey(m, now)
	}
	if s.SecretsTrouble() {
		s.writeExternalSecrets(m)
	}
	s.writeBars(m)
	s.writeOlder(m)
	if !s.SecretsTrouble() {
		s.writeExternalSecrets(m)
	}
	if !s.KeyTrouble() {
		s.writeKey(m, now)
	}
	m.raw("<footer>")
	m.element("p", "As of "+status.DateTime(now)+". Sidecar "+s.Version+".")
	for part := range strings.SplitSeq(s.Image, "@") {
		m.element("p", part)
	}
	m.raw("</footer></main>")
}

func (s view) writeKey(m *htmlWriter, now time.Time) {
	m.raw(`<section><h2>Key</h2><ul>`)
	for _, text := range s.KeyLines(now) {
		m.element("li", safetext.Capital(text)+".")
	}
	m.raw(`</ul></section>`)
}

func (s view) writeWhy(m *htmlWriter) {
	rows := s.Why()
	if len(rows) == 0 {
		return
	}
	m.raw(`<dl class="why">`)
	for _, r := range rows {
		m.raw("<div>")
		m.element("dt", r.Label)
		if r.Label == status.ToDo {
			m.element("dd", r.Text, "class", "do")
		} else {
			m.element("dd", r.Text)
		}
		m.raw("</div>")
	}
	m.close("dl")
}

// writeBars draws a recovery: a list, each step with its bar.
func (s view) writeBars(m *htmlWriter) {
	m.raw("<section>")
	defer m.close("section")
	r := s.Shown()
	if r == nil {
		m.raw("<h2>Recovery</h2>")
		m.element("p", status.NoRecovery)
		return
	}
	m.element("h2", r.Title())
	earlier, steps := r.Newest()
	if earlier > 0 {
		m.element("p", fmt.Sprintf("%d earlier steps", earlier))
	}
	m.raw(`<ol class="bars">`)
	for _, step := range steps {
		from, to := status.Place(step, steps)
		m.open("li", "class", string(step.Name.Info().Severity))
		m.element("b", step.Name.String())
		m.element("span", step.Name.Info().Step, "class", "means")
		m.element("time", step.Began.UTC().Format("15:04:05Z"), "datetime", step.Began.UTC().Format(time.RFC3339Nano))
		m.raw(`<svg viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true"><rect class="all" width="1000" height="8"/>`)
		m.open("rect", "x", permille(min(from, 0.994)), "width", permille(max(to-from, 0.006)), "height", "8")
		m.raw("</rect></svg>")
		m.element("span", status.Short(step.Seconds), "class", "took")
		m.raw("</li>")
	}
	m.close("ol")
}

func permille(part float64) string { return strconv.FormatFloat(1000*part, 'f', 0, 64) }

func (s view) writeOlder(m *htmlWriter) {
	before := s.Earlier()
	if len(before) == 0 {
		return
	}
	m.raw(`<section><h2>Recoveries before</h2><ul class="older">`)
	for _, r := range before {
		m.raw("<li>")
		m.element("time", status.DateTime(r.Began), "datetime", r.Began.UTC().Format(time.RFC3339))
		m.element("span", status.Short(r.Seconds), "class", "took")
		m.element("span", r.Mostly(), "class", "means")
		m.raw("</li>")
	}
	m.raw("</ul></section>")
}

func (s view) writeExternalSecrets(m *htmlWriter) {
	e := s.ExternalSecrets
	if e == nil {
		return
	}
	m.raw("<section>")
	m.element("h2", strings.TrimSuffix("External Secrets: "+e.Verdict(), ": "))
	if e.Message != "" {
		m.element("p", e.Message)
	}
	ready := []string{}
	for _, store := range e.Stores {
		if store.Ready {
			ready = append(ready, store.Name)
		}
	}
	if len(ready) > 0 {
		m.element("p", "Ready: "+strings.Join(ready, ", ")+".")
	}
	if wrong := append(e.NotReady(), e.LeftLines()...); len(wrong) > 0 {
		m.raw(`<ul class="wrong">`)
		for _, text := range wrong {
			m.element("li", text)
		}
		m.close("ul")
	}
	m.close("section")
}
