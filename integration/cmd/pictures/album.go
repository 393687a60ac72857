package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/alybadawy/vault-unseal-sidecar/integration/browser"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// album is where the pictures go, and the record of what they show.
type album struct {
	browser *browser.Browser
	dir     string
	record  record
}

// record is the file beside the pictures, by which tests compare them with the sources.
type record struct {
	Files map[string]string `json:"files"` // the SHA-256 of each picture

	Status json.RawMessage `json:"status"` // what /status told when the page was taken
	Main   string          `json:"main"`   // the HTML of the page that changes
	Style  string          `json:"style"`  // the SHA-256 of page.css

	Dashboard string   `json:"dashboard"` // the SHA-256 of dashboard.json
	Panels    []string `json:"panels"`    // the titles of those that are drawn
}

// status takes the sidecar's page.
func (a *album) status(ctx context.Context, env *testenv.Env, s *testenv.Sidecar) error {
	css, err := os.ReadFile(env.Source("sidecar/internal/web/page.css"))
	if err != nil {
		return err
	}
	a.record.Style = sum(css)
	for path, to := range map[string]func(string){
		"/status":     func(text string) { a.record.Status = json.RawMessage(text) },
		"/?part=main": func(text string) { a.record.Main = text },
	} {
		code, text, err := s.Get(ctx, path)
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("asking for %s: %d %w", path, code, err)
		}
		to(text)
	}
	return a.take("page", s.HTTP+"/", 780)
}

// take takes a picture of an address in light and in dark.
func (a *album) take(name, address string, width int) error {
	tab, err := a.browser.Open(address)
	if err != nil {
		return err
	}
	defer tab.Close()
	for scheme, dark := range map[string]bool{"light": false, "dark": true} {
		raw, err := tab.Picture(width, 1.5, dark)
		if err != nil {
			return err
		}
		if raw, err = shrink(raw); err != nil {
			return err
		}
		file := name + "-" + scheme + ".png"
		if err := os.WriteFile(filepath.Join(a.dir, file), raw, 0o644); err != nil {
			return err
		}
		a.record.Files[file] = sum(raw)
		fmt.Printf("pictures: %s, %d kB\n", file, len(raw)/1000)
	}
	return nil
}

// close writes the record.
func (a *album) close() error {
	var raw bytes.Buffer
	to := json.NewEncoder(&raw)
	to.SetIndent("", "  ")
	to.SetEscapeHTML(false)
	if err := to.Encode(a.record); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, "record.json"), raw.Bytes(), 0o644)
}

func sum(raw []byte) string {
	digest := sha256.Sum256(raw)
	return hex.EncodeToString(digest[:])
}

// shrink encodes a PNG anew with a palette: pages have few colors, and the edges of letters
// few more.
func shrink(raw []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	to := image.NewPaletted(from.Bounds(), palette(from))
	draw.Draw(to, to.Bounds(), from, from.Bounds().Min, draw.Src)
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
}

// palette has an image's most frequent colors.
func palette(i image.Image) (out color.Palette) {
	count := map[color.Color]int{}
	for y := i.Bounds().Min.Y; y < i.Bounds().Max.Y; y++ {
		for x := i.Bounds().Min.X; x < i.Bounds().Max.X; x++ {
			count[i.At(x, y)]++
		}
	}
	byCount := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	return append(out, byCount[:min(len(byCount), 256)]...)
}
