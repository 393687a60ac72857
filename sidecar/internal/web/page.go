package web

import (
	"crypto/rand"
	_ "embed"
	"net/http"
	"time"
)

//go:embed page.css
var pageCSS literal

//go:embed page.js
var pageJS literal

// page shows the status to a person, who gets here by kubectl port-forward.
// With ?part=main it is the part that changes, which the page asks for itself.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	v := view{s.Latest.Known().Status(now)}
	nonce := rand.Text()
	var m htmlWriter
	if r.URL.Query().Get("part") == "main" {
		v.writeMain(&m, now)
	} else {
		v.writePage(&m, now, nonce)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; script-src 'nonce-"+nonce+"'; "+
		"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	_, _ = w.Write([]byte(m.String()))
}

// writePage writes all that stays around main, and main.
func (s view) writePage(m *htmlWriter, now time.Time, nonce string) {
	m.raw(`<!doctype html><html lang="en"><head><meta charset="utf-8">` +
		`<meta name="viewport" content="width=device-width, initial-scale=1">` +
		`<meta name="color-scheme" content="light dark">` +
		`<noscript><meta http-equiv="refresh" content="2"></noscript>`)
	m.element("title", s.title())
	m.open("link", "id", "icon", "rel", "icon", "href", icons[s.Words().Severity])
	m.open("style", "nonce", nonce)
	m.raw(pageCSS)
	m.raw(`</style></head><body><header>vault-unseal-sidecar</header>` +
		`<p id="lost" role="alert" hidden></p><p id="said" class="unseen" role="status" aria-live="polite"></p>`)
	s.writeMain(m, now)
	m.open("script", "nonce", nonce)
	m.raw(pageJS)
	m.raw(`</script></body></html>`)
}

// title is what the browser's tab shows.
func (s view) title() string { return s.Words().Title + " - Vault" }
