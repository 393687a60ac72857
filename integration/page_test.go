package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/browser"
)

// page is the sidecar's page in a browser. It is opened once and not loaded
// again: what it shows later it found out by itself.
type page struct{ *browser.Tab }

// open opens the page of the sidecar that runs.
func (p *page) open(w *world) {
	b, err := browser.Start(w.ctx)
	require.NoError(w, err)
	p.Tab, err = b.Open(w.sidecar.HTTP + "/")
	require.NoError(w, err)
}

// says waits until the page's first heading is this and the text of the
// selected element has this in it.
func (p *page) says(heading, selector, text string) expectation {
	return expectation{fmt.Sprintf("the page to say %q, and in %s %q", heading, selector, text), func(w *world) string {
		got, err := browser.Eval[string](p.Tab, "document.querySelector('h1').textContent")
		if err != nil || got != heading {
			return fmt.Sprintf("%q %v", got, err)
		}
		got, err = browser.Eval[string](p.Tab, "(document.querySelector('"+selector+"')||{textContent:'nothing'}).textContent")
		if err != nil || !strings.Contains(got, text) {
			return fmt.Sprintf("%q %v", got, err)
		}
		return ""
	}}
}

// isSound checks what is to be true of the page however Vault is, and takes its
// pictures.
func (p *page) isSound(name string) expectation {
	return expectation{"the page to be sound", func(w *world) string {
		var backgrounds []string
		for _, as := range []struct {
			name  string
			width int
			dark  bool
		}{{"light", 1000, false}, {"dark", 1000, true}, {"phone", 360, false}, {"phone-dark", 360, true}} {
			require.NoError(w, p.Show(as.width, as.dark))
			wide, err := browser.Eval[int](p.Tab, "document.documentElement.scrollWidth")
			require.NoError(w, err)
			assert.LessOrEqual(w, wide, as.width, "%s: it has to be scrolled sideways", as.name)
			background, err := browser.Eval[string](p.Tab, "getComputedStyle(document.body).backgroundColor")
			require.NoError(w, err)
			backgrounds = append(backgrounds, background)
			require.NoError(w, p.Screenshot(w.lab.Binary("screenshots/"+name+"-"+as.name+".png")))
		}
		assert.NotEqual(w, backgrounds[0], backgrounds[1], "dark is as light")

		roles, err := p.Roles()
		require.NoError(w, err)
		assert.Len(w, roles["main"], 1)
		assert.Len(w, roles["banner"], 1)
		assert.Len(w, roles["status"], 1, "the live region")
		headings, err := browser.Eval[int](p.Tab, "document.querySelectorAll('h1').length")
		require.NoError(w, err)
		assert.Equal(w, 1, headings)
		assert.NotContains(w, roles, "image", "pictures say nothing that the text does not")
		assert.NotEmpty(w, roles["listitem"], "the timeline is a list")
		assert.Equal(w, 1, p.Loads(), "it was loaded once")
		assert.Empty(w, p.Problems())
		return ""
	}}
}

// announces waits until the page has told a screen reader this.
func (p *page) announces(text string) expectation {
	return expectation{fmt.Sprintf("the page to announce %q", text), func(*world) string {
		got, err := browser.Eval[string](p.Tab, "document.getElementById('said').textContent")
		if err != nil || !strings.Contains(got, text) {
			return fmt.Sprintf("%q %v", got, err)
		}
		return ""
	}}
}

// isSilent checks that nothing was announced yet.
func (p *page) isSilent(w *world) {
	before, err := browser.Eval[string](p.Tab, "document.getElementById('said').textContent")
	require.NoError(w, err)
	assert.Empty(w, before, "nothing changed yet")
}

func TestThePageFollowsAPowerCut(t *testing.T) {
	t.Parallel()
	var p page
	play(t, home{gated: true, mount: func([]string) []string { return nil }},
		phase{"vault is sealed and there is no key", all(startSidecar, p.open),
			[]expectation{p.says("Sealed", ".why", "Mend the Secret"), p.isSound("no-key")}},
		phase{"the key is mounted", all(p.isSilent, mountVaultsShares),
			[]expectation{serving(), p.says("Unsealed", ".state p", "Vault is unsealed, active"), p.announces("Unsealed. Vault is unsealed, active."), p.isSound("recovered")}},
		phase{"vault restarts and its storage hangs", all(killVault, storage("hang"), startVault),
			[]expectation{phaseIs("unreachable"), p.says("Waiting", ".why", "Vault for its storage"), p.says("Waiting", ".bars", "unreachable"), p.isSound("waiting")}},
		phase{"the storage is back", storage("open"),
			[]expectation{serving(), p.says("Unsealed", "h2", "Last recovery"), p.isSound("recovered-again")}},
		phase{"an operator seals", sealVault,
			[]expectation{p.says("Held sealed", ".why", "vault operator unseal"), p.isSound("held")}},
		phase{"the sidecar itself ends", stopSidecar,
			[]expectation{p.says("Held sealed", "#lost:not([hidden])", "No answer from the sidecar since"), p.pictured("lost")}},
	)
}

func (p *page) pictured(name string) expectation {
	return expectation{"a picture", func(w *world) string {
		require.NoError(w, p.Screenshot(w.lab.Binary("screenshots/"+name+".png")))
		return ""
	}}
}
