package main

import (
	"encoding/xml"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// The README's picture has every phase, and no other.
func TestREADME_DiagramShowsEveryPhase(t *testing.T) {
	raw, err := os.ReadFile("phases.svg")
	require.NoError(t, err)
	var drawing struct {
		Boxes []struct {
			Class string `xml:"class,attr"`
			Text  []struct {
				Class string `xml:"class,attr"`
				Text  string `xml:",chardata"`
			} `xml:"text"`
		} `xml:"g"`
	}
	require.NoError(t, xml.Unmarshal(raw, &drawing))
	var drawn, phases []string
	for _, box := range drawing.Boxes {
		if strings.HasPrefix(box.Class, "box ") {
			drawn = append(drawn, box.Text[0].Text)
		}
	}
	for _, p := range unseal.Phases() {
		phases = append(phases, p.String())
	}
	assert.ElementsMatch(t, phases, drawn)
}
