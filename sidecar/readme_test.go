package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The README's table of options is the one that parses them.
func TestReadmeTellsTheOptions(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	var told [][]string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `--") {
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		told = append(told, cells)
	}
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	var want [][]string
	for _, o := range options {
		want = append(want, []string{code("--" + o.flag), code(o.env), code(o.preset), o.help})
	}
	assert.Equal(t, want, told)
}
