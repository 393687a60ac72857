package browser

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStart_ReportsMissingBrowser(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context())
	require.ErrorContains(t, err, "install Debian's package chromium")
}

// A check that hears nothing would pass any page.
func TestTab_RecordsProblemsOfAPage(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "style-src 'none'")
		_, _ = w.Write([]byte(`<link rel="icon" href="data:,"><p style="color: red">text</p><script>
			console.error("an error");
			fetch("` + other.URL + `/elsewhere").catch(() => 0);
			throw new Error("a failure");
		</script>`))
	}))
	defer bad.Close()
	b, err := Start(t.Context())
	require.NoError(t, err)
	tab, err := b.Open(bad.URL + "/")
	require.NoError(t, err)
	defer tab.Close()
	for _, heard := range []string{"console, error", "exception: ", "a request to somebody else: " + other.URL + "/elsewhere", "Content Security Policy"} {
		assert.Eventually(t, func() bool { return strings.Contains(strings.Join(tab.Problems(), "\n"), heard) }, 30*time.Second, 10*time.Millisecond, heard)
	}
	assert.Equal(t, 1, tab.Loads())
}
