package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/browser"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// A browser knows best what is harmless. Its start takes longer than all that
// is tried with it.
func TestThePageInABrowser(t *testing.T) {
	b, err := browser.Start(t.Context())
	require.NoError(t, err)
	for sentence, try := range map[string]func(*testing.T, *browser.Browser){
		"hostile texts do nothing":                        hostileTexts,
		"stores that fail are shown with ESO's own error": stores,
		"it says since when nobody answers":               nobodyAnswers,
		"hidden it asks for nothing":                      hidden,
		"without script it is loaded again":               withoutScript,
	} {
		t.Run(sentence, func(t *testing.T) { try(t, b) })
	}
}

// viewed opens the page of s in a browser. While away is true, nobody answers.
func viewed(t *testing.T, b *browser.Browser, s *Server, prepare ...func(*browser.Tab) error) (tab *browser.Tab, away *atomic.Bool) {
	t.Helper()
	away = &atomic.Bool{}
	routes := s.routes()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		routes.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	tab, err := b.Open(h.URL+"/", prepare...)
	require.NoError(t, err)
	t.Cleanup(tab.Close)
	return tab, away
}

// reads waits until a JavaScript expression comes to want.
func reads[T comparable](t *testing.T, tab *browser.Tab, want T, expression string) {
	t.Helper()
	require.NoError(t, testenv.Await(t.Context(), 3*patience, fmt.Sprintf("%s to be %v", expression, want), func() string {
		if got, err := browser.Eval[T](tab, expression); err != nil || got != want {
			return fmt.Sprintf("%v %v", got, err)
		}
		return ""
	}))
}

func hostileTexts(t *testing.T, b *browser.Browser) {
	tab, _ := viewed(t, b, besieged())
	require.NoError(t, tab.Show(360, false))
	reads(t, tab, "Unsealed - Vault", "document.title")
	reads(t, tab, 0, "document.querySelectorAll('#taken, img, main script').length")
	reads(t, tab, 360, "document.documentElement.scrollWidth")
	assert.Empty(t, tab.Problems())
}

func stores(t *testing.T, b *browser.Browser) {
	tab, _ := viewed(t, b, troubled())
	for _, width := range []int{1000, 360} {
		for _, dark := range []bool{false, true} {
			require.NoError(t, tab.Show(width, dark))
			reads(t, tab, width, "document.documentElement.scrollWidth")
			reads(t, tab, 4, "document.querySelectorAll('.wrong li').length")
			require.NoError(t, tab.Screenshot(fmt.Sprintf("../../../bin/screenshots/secrets-%d-%v.png", width, dark)))
		}
	}
	assert.Empty(t, tab.Problems())
}

func nobodyAnswers(t *testing.T, b *browser.Browser) {
	tab, away := viewed(t, b, troubled())
	away.Store(true)
	reads(t, tab, true, "/^No answer from the sidecar since ..:..:..Z: /.test(document.getElementById('lost').innerText)")
	reads(t, tab, "No answer - Vault", "document.title")
	away.Store(false)
	reads(t, tab, true, "document.getElementById('lost').hidden")
	reads(t, tab, "Unsealed - Vault", "document.title")
}

// Nobody looks at a tab that is hidden, so it asks for nothing; once it is
// seen again it asks at once.
func hidden(t *testing.T, b *browser.Browser) {
	tab, _ := viewed(t, b, troubled())
	reads(t, tab, "0, then 1", `(() => {
		const real = window.fetch;
		let asked = 0;
		window.fetch = (...all) => { asked++; return real(...all); };
		const turn = hidden => {
			Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
			document.dispatchEvent(new Event("visibilitychange"));
			return asked;
		};
		const seen = turn(true) + ", then " + turn(false);
		window.fetch = real;
		return seen;
	})()`)
	assert.Empty(t, tab.Problems())
}

func withoutScript(t *testing.T, b *browser.Browser) {
	tab, _ := viewed(t, b, troubled(), (*browser.Tab).WithoutScript)
	require.Eventually(t, func() bool { return tab.Loads() >= 3 }, 3*patience, 20*tick)
	assert.Empty(t, tab.Problems())
}
