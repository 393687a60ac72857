package metrics

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Each writer of gzip takes 0.6 MB while its answer is in flight.
func TestHandler_CompressesNothing(t *testing.T) {
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept-Encoding", "gzip, zstd")
	w := httptest.NewRecorder()
	newMetrics().Handler().ServeHTTP(w, r)
	assert.Equal(t, 200, w.Code)
	assert.Empty(t, w.Header().Get("Content-Encoding"))
	assert.Contains(t, w.Body.String(), prefix+"build_info")
}
