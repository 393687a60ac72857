package web

import (
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status/statustest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// hostile is what an attacker would have the page show.
const hostile = `<script>document.title='taken'</script><img src=x onerror="document.title='taken'">"'><b id=taken>&amp;` + "\x00\x1b"

// hostileServer returns a server to which very many hostile texts were published.
func hostileServer() *testServer {
	s := newServerOf(hostile, "")
	s.Publish(unseal.Snapshot{
		Phase: unseal.Active, Since: time.Now(), Message: hostile, Reason: hostile, Advice: hostile, KeyError: hostile + "of the key",
		History: []*unseal.Recovery{{Began: time.Now().Add(-time.Hour), Took: time.Minute, Done: true, Steps: []unseal.Step{
			{Phase: unseal.Unreachable, At: time.Now().Add(-time.Hour), Took: time.Minute}}}},
	})
	s.PublishProof(unseal.Proof{At: time.Now(), Result: hostile, Reason: hostile})
	e := status.ExternalSecrets{Status: "False", Reason: hostile, Message: hostile, LeftCount: 5000,
		Left: slices.Repeat([]string{hostile + strings.Repeat("long", 1000)}, 5000)}
	for range 100 {
		e.Stores = append(e.Stores, status.Store{Name: hostile, Ready: true, Reason: hostile, Message: hostile}, status.Store{Name: hostile, Ready: false, Reason: hostile, Message: hostile + strings.Repeat("long", 1000)})
	}
	s.PublishSecrets(e)
	s.PublishImage(hostile)
	return s
}

func TestPage_IsWellFormedForEachScene(t *testing.T) {
	for name, s := range statustest.Scenes() {
		t.Run(name, func(t *testing.T) {
			var m htmlWriter
			view{s}.writeMain(&m, statustest.Night)
			body := m.String()
			decoder := xml.NewDecoder(strings.NewReader(body))
			for {
				_, err := decoder.Token()
				if err == io.EOF {
					break
				}
				require.NoError(t, err, "a tag is not closed, or text is not escaped: %s", body)
			}
			flat := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, "")
			assert.Contains(t, flat, s.Words().Title)
			for _, text := range []string{s.Reason, s.Advice} {
				if text != "" {
					assert.Contains(t, flat, text[1:])
				}
			}
			assert.Equal(t, 1, strings.Count(body, "<h1>"))
		})
	}
}

func TestPage_SetsStrictHeaders(t *testing.T) {
	s := newServer("")
	for _, path := range []string{"/", "/?part=main"} {
		t.Run(path, func(t *testing.T) {
			w := request(s, "GET", path)
			require.Equal(t, 200, w.Code)
			h := w.Header()
			csp := h.Get("Content-Security-Policy")
			for _, directive := range []string{"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
				assert.Contains(t, csp, directive)
			}
			assert.NotContains(t, csp, "unsafe")
			for name, value := range map[string]string{
				"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				assert.Equal(t, value, h.Get(name), name)
			}
		})
	}
	nonces := map[string]bool{}
	for range 3 {
		w := request(s, "GET", "/")
		found := regexp.MustCompile(`nonce="([A-Z2-7]{26})"`).FindAllStringSubmatch(w.Body.String(), -1)
		require.Len(t, found, 2, "of the style and of the script")
		for _, one := range found {
			assert.Equal(t, 2, strings.Count(w.Header().Get("Content-Security-Policy"), "'nonce-"+one[1]+"'"))
			nonces[one[1]] = true
		}
	}
	assert.Len(t, nonces, 3, "each answer has its own")
}

func TestPage_EscapesAndLimitsHostileTexts(t *testing.T) {
	s := hostileServer()
	body := request(s, "GET", "/").Body.String()
	assert.Less(t, len(body), 50_000)
	assert.Equal(t, 1, strings.Count(body, "<script"), "the page's own")
	assert.NotContains(t, body, "<img")
	assert.NotContains(t, body, "<b id")
	part := request(s, "GET", "/?part=main").Body.String()
	assert.NotContains(t, part, "<script")
	assert.True(t, strings.HasPrefix(part, "<main ") && strings.HasSuffix(part, "</main>"))
	assert.Less(t, len(request(s, "GET", "/status").Body.String()), 50_000)
	assert.Less(t, len(request(newServer(""), "GET", "/").Body.String()), 16_000, "without any data")
}

// failingSecretsServer returns a server whose Vault is unsealed while External
// Secrets fails.
func failingSecretsServer() *testServer {
	s := newServer("")
	scene := statustest.Scenes()["secrets-not-recovered"]
	began := time.Now().Add(-2 * time.Minute)
	recovery := &unseal.Recovery{Began: began, Took: 41300 * time.Millisecond, Done: true, Steps: []unseal.Step{
		{Phase: unseal.Unreachable, At: began, Took: 40 * time.Second},
		{Phase: unseal.Unsealing, At: began.Add(40 * time.Second), Took: 800 * time.Millisecond},
		{Phase: unseal.Activating, At: began.Add(40800 * time.Millisecond), Took: 500 * time.Millisecond},
	}}
	older := *recovery
	older.Began = began.Add(-50 * time.Hour)
	s.Publish(unseal.Snapshot{Phase: unseal.Active, Since: began.Add(recovery.Took), Message: scene.Message, Shares: 1,
		UnsealedAt: began.Add(recovery.Took), Last: recovery, History: []*unseal.Recovery{recovery, &older}})
	s.PublishProof(unseal.Proof{At: time.Now(), Result: unseal.ProofValid})
	s.PublishSecrets(*scene.ExternalSecrets)
	s.PublishImage(statustest.Scenes()["active"].Image)
	return s
}

func TestPage_DescribesEveryPhase(t *testing.T) {
	for _, phase := range unseal.Phases() {
		t.Run(phase.String(), func(t *testing.T) {
			w := phase.Info()
			assert.NotEmpty(t, w.Title)
			assert.Contains(t, shapes, w.Severity)
			assert.Contains(t, icons, w.Severity)
			assert.Equal(t, phase.Serving(), w.Severity == unseal.SeverityGood)
			assert.Equal(t, phase.Serving(), w.Waits == "", "a phase that does not serve waits for something")
			assert.Equal(t, phase.Serving(), w.Step == "")
			assert.NotEmpty(t, status.Status{Phase: phase}.Text(statustest.Night, 80))
		})
	}
}
