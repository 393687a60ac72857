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
func TestPage_InABrowser(t *testing.T) {
	b, err := browser.Start(t.Context())
	require.NoError(t, err)
	for sentence, try := range map[string]func(*testing.T, *browser.Browser){
		"hostile texts do nothing":                        hostileTexts,
		"stores that fail are shown with ESO's own error": failingStores,
		"it shows since when no request is answered":      noAnswer,
		"a hidden tab sends no requests":                  hiddenTab,
		"without scripts the page reloads itself":         withoutScript,
	} {
		t.Run(sentence, func(t *testing.T) { try(t, b) })
	}
}

// openPage opens the page of s in a browser. While away is true, no request is answered.
func openPage(t *testing.T, b *browser.Browser, s *testServer, prepare ...func(*browser.Tab) error) (tab *browser.Tab, away *atomic.Bool) {
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

// waitForValue waits until a JavaScript expression comes to want.
func waitForValue[T comparable](t *testing.T, tab *browser.Tab, want T, expression string) {
	t.Helper()
	require.NoError(t, testenv.Await(t.Context(), 3*waitTimeout, fmt.Sprintf("%s to be %v", expression, want), func() string {
		if got, err := browser.Eval[T](tab, expression); err != nil || got != want {
			return fmt.Sprintf("%v %v", got, err)
		}
		return ""
	}))
}

func hostileTexts(t *testing.T, b *browser.Browser) {
	tab, _ := openPage(t, b, hostileServer())
	require.NoError(t, tab.Show(360, false))
	waitForValue(t, tab, "Unsealed - Vault", "document.title")
	waitForValue(t, tab, 0, "document.querySelectorAll('#taken, img, main script').length")
	waitForValue(t, tab, 360, "document.documentElement.scrollWidth")
	assert.Empty(t, tab.Problems())
}

func failingStores(t *testing.T, b *browser.Browser) {
	tab, _ := openPage(t, b, failingSecretsServer())
	for _, width := range []int{1000, 360} {
		for _, dark := range []bool{false, true} {
			require.NoError(t, tab.Show(width, dark))
			waitForValue(t, tab, width, "document.documentElement.scrollWidth")
			waitForValue(t, tab, 4, "document.querySelectorAll('.wrong li').length")
			require.NoError(t, tab.Screenshot(fmt.Sprintf("../../../bin/screenshots/secrets-%d-%v.png", width, dark)))
		}
	}
	assert.Empty(t, tab.Problems())
}

func noAnswer(t *testing.T, b *browser.Browser) {
	tab, away := openPage(t, b, failingSecretsServer())
	away.Store(true)
	waitForValue(t, tab, true, "/^No answer from the sidecar since ..:..:..Z: /.test(document.getElementById('lost').innerText)")
	waitForValue(t, tab, "No answer - Vault", "document.title")
	away.Store(false)
	waitForValue(t, tab, true, "document.getElementById('lost').hidden")
	waitForValue(t, tab, "Unsealed - Vault", "document.title")
}

// A hidden tab sends no requests; once it is visible again it sends one at once.
func hiddenTab(t *testing.T, b *browser.Browser) {
	tab, _ := openPage(t, b, failingSecretsServer())
	waitForValue(t, tab, "0, then 1", `(() => {
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
	tab, _ := openPage(t, b, failingSecretsServer(), (*browser.Tab).WithoutScript)
	require.Eventually(t, func() bool { return tab.Loads() >= 3 }, 3*waitTimeout, 20*tick)
	assert.Empty(t, tab.Problems())
}
