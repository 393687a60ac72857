package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// The README has a picture of the page. Beside it lies the status that the page had then,
// of which today's code has to make the same page. The page was asked for a moment after
// the status, so that its numbers may differ.
func TestPage_IsAsInTheReadmesPicture(t *testing.T) {
	raw, err := os.ReadFile("../../../.github/pictures/record.json")
	require.NoError(t, err)
	var picture struct {
		Status      json.RawMessage
		Main, Style string
	}
	require.NoError(t, json.Unmarshal(raw, &picture))
	s, err := status.ReadStatus(picture.Status)
	require.NoError(t, err)

	var m htmlWriter
	view{s}.writeMain(&m, s.Since.Add(time.Duration(s.Seconds*float64(time.Second))))
	number := regexp.MustCompile(`\d+`)
	assert.Equal(t, number.ReplaceAllString(picture.Main, "0"), number.ReplaceAllString(m.String(), "0"),
		"the page has changed: run make pictures")
	style := sha256.Sum256([]byte(pageCSS))
	assert.Equal(t, picture.Style, hex.EncodeToString(style[:]), "page.css has changed: run make pictures")
}
