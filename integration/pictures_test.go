package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const pictures = ".github/pictures"

// pictureRecord is what make pictures wrote beside them. What of it is about the page is
// compared with the page's own code in sidecar/internal/web.
type pictureRecord struct {
	Files     map[string]string `json:"files"`
	Main      string            `json:"main"`
	Dashboard string            `json:"dashboard"`
	Panels    []string          `json:"panels"`
}

func readPictureRecord(t *testing.T) (r pictureRecord) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", pictures, "record.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &r))
	return r
}

func sha256File(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", path))
	require.NoError(t, err)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

var pictureElement = regexp.MustCompile(`<picture>\n` +
	`  <source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)-dark\.png">\n` +
	`  <img alt="([^:"]+): ([^"]+)" src="([^"]+)-light\.png">\n` +
	`</picture>`)

// Each picture is shown in light and in dark, says in words what it shows, and none lies
// there that is not shown.
func TestReadme_ShowsEachPictureInLightAndDark(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	record := readPictureRecord(t)
	var shown []string
	for _, m := range pictureElement.FindAllStringSubmatch(string(text), -1) {
		dark, of, alt, light := m[1], m[2], m[3], m[4]
		assert.Equal(t, light, dark)
		shown = append(shown, filepath.Base(dark)+"-dark.png", filepath.Base(light)+"-light.png")
		assert.Equal(t, pictures, filepath.Dir(light))
		words := map[string]string{"Status page": record.Main, "Dashboard": strings.Join(record.Panels, "\n")}[of]
		for _, part := range strings.Split(alt, ", ") {
			assert.Contains(t, words, part, "what the text in the place of the picture names is on it")
		}
	}
	assert.Equal(t, strings.Count(string(text), "<picture>"), len(shown)/2)
	files, err := filepath.Glob(filepath.Join("..", pictures, "*.png"))
	require.NoError(t, err)
	assert.Len(t, files, len(shown))
	for _, name := range shown {
		assert.Contains(t, record.Files, name)
	}
}

func TestPictures_AreSmallAndThoseOfTheRecord(t *testing.T) {
	t.Parallel()
	record := readPictureRecord(t)
	require.NotEmpty(t, record.Files)
	for name, sum := range record.Files {
		assert.Equal(t, sum, sha256File(t, filepath.Join(pictures, name)), "%s: make pictures takes them all again", name)
		raw, err := os.ReadFile(filepath.Join("..", pictures, name))
		require.NoError(t, err)
		assert.LessOrEqual(t, len(raw), 60_000, name)
		picture, err := png.DecodeConfig(bytes.NewReader(raw))
		require.NoError(t, err, name)
		assert.GreaterOrEqual(t, picture.Width, 900, name)
	}
}

func TestPictures_ShowTodaysDashboard(t *testing.T) {
	t.Parallel()
	assert.Equal(t, sha256File(t, "manifests/monitoring/dashboard.json"), readPictureRecord(t).Dashboard,
		"the dashboard has changed: run make pictures")
}
