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
func (p *page) open(sc *scenario) {
	b, err := browser.Start(sc.ctx)
	require.NoError(sc, err)
	p.Tab, err = b.Open(sc.sidecar.HTTP + "/")
	require.NoError(sc, err)
}

// shows waits until the page's first heading is this and the text of the
// selected element has this in it.
func (p *page) shows(heading, selector, text string) condition {
	return condition{fmt.Sprintf("the page to say %q, and in %s %q", heading, selector, text), func(sc *scenario) string {
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

// isValid checks what is to be true of the page however Vault is, and takes its
// pictures.
func (p *page) isValid(name string) condition {
	return condition{"the page to be sound", func(sc *scenario) string {
		var backgrounds []string
		for _, as := range []struct {
			name  string
			width int
			dark  bool
		}{{"light", 1000, false}, {"dark", 1000, true}, {"phone", 360, false}, {"phone-dark", 360, true}} {
			require.NoError(sc, p.Show(as.width, as.dark))
			wide, err := browser.Eval[int](p.Tab, "document.documentElement.scrollWidth")
			require.NoError(sc, err)
			assert.LessOrEqual(sc, wide, as.width, "%s: it has to be scrolled sideways", as.name)
			background, err := browser.Eval[string](p.Tab, "getComputedStyle(document.body).backgroundColor")
			require.NoError(sc, err)
			backgrounds = append(backgrounds, background)
			require.NoError(sc, p.Screenshot(sc.env.Binary("screenshots/"+name+"-"+as.name+".png")))
		}
		assert.NotEqual(sc, backgrounds[0], backgrounds[1], "dark is as light")

		roles, err := p.Roles()
		require.NoError(sc, err)
		assert.Len(sc, roles["main"], 1)
		assert.Len(sc, roles["banner"], 1)
		assert.Len(sc, roles["status"], 1, "the live region")
		headings, err := browser.Eval[int](p.Tab, "document.querySelectorAll('h1').length")
		require.NoError(sc, err)
		assert.Equal(sc, 1, headings)
		assert.NotContains(sc, roles, "image", "pictures say nothing that the text does not")
		assert.NotEmpty(sc, roles["listitem"], "the timeline is a list")
		assert.Equal(sc, 1, p.Loads(), "it was loaded once")
		assert.Empty(sc, p.Problems())
		return ""
	}}
}

// announces waits until the page has announced this to a screen reader.
func (p *page) announces(text string) condition {
	return condition{fmt.Sprintf("the page to announce %q", text), func(*scenario) string {
		got, err := browser.Eval[string](p.Tab, "document.getElementById('said').textContent")
		if err != nil || !strings.Contains(got, text) {
			return fmt.Sprintf("%q %v", got, err)
		}
		return ""
	}}
}

// assertNoAnnouncement checks that nothing was announced yet.
func (p *page) assertNoAnnouncement(sc *scenario) {
	before, err := browser.Eval[string](p.Tab, "document.getElementById('said').textContent")
	require.NoError(sc, err)
	assert.Empty(sc, before, "nothing changed yet")
}

func TestPage_FollowsAPowerCut(t *testing.T) {
	t.Parallel()
	var p page
	run(t, setup{stallable: true, mountedShares: func([]string) []string { return nil }},
		phase{"vault is sealed and there is no key", sequence(startSidecar, p.open),
			[]condition{p.shows("Sealed", ".why", "Mend the Secret"), p.isValid("no-key")}},
		phase{"the key is mounted", sequence(p.assertNoAnnouncement, mountVaultShares),
			[]condition{serving(), p.shows("Unsealed", ".state p", "Vault is unsealed, active"), p.announces("Unsealed. Vault is unsealed, active."), p.isValid("recovered")}},
		phase{"vault restarts and its storage hangs", sequence(killVault, setStorage("hang"), startVault),
			[]condition{phaseIs("unreachable"), p.shows("Waiting", ".why", "Vault for its storage"), p.shows("Waiting", ".bars", "unreachable"), p.isValid("waiting")}},
		phase{"the storage is back", setStorage("open"),
			[]condition{serving(), p.shows("Unsealed", "h2", "Last recovery"), p.isValid("recovered-again")}},
		phase{"an operator seals", sealVault,
			[]condition{p.shows("Held sealed", ".why", "vault operator unseal"), p.isValid("held")}},
		phase{"the sidecar itself ends", stopSidecar,
			[]condition{p.shows("Held sealed", "#lost:not([hidden])", "No answer from the sidecar since"), p.screenshotTaken("lost")}},
	)
}

func (p *page) screenshotTaken(name string) condition {
	return condition{"a picture", func(sc *scenario) string {
		require.NoError(sc, p.Screenshot(sc.env.Binary("screenshots/"+name+".png")))
		return ""
	}}
}
