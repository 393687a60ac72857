package status_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status/statustest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

var update = flag.Bool("update", false, "write the golden texts again")

func TestTextOfEachScene(t *testing.T) {
	for name, s := range statustest.Scenes() {
		t.Run(name, func(t *testing.T) {
			got := s.Text(statustest.Night, 80)
			file := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

func TestTextFitsAndControlsNothing(t *testing.T) {
	for name, s := range statustest.Scenes() {
		for _, width := range []int{-1, 0, 40, 60, 80, 200} {
			text := s.Text(statustest.Night, width)
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				assert.LessOrEqual(t, len([]rune(line)), max(40, width), "%s in %d: %q", name, width, line)
				assert.Equal(t, strings.TrimRight(line, " "), line, "%s: blanks at the end", name)
			}
			for _, r := range text {
				if r != '\n' && (r < ' ' || r > '~') {
					assert.Fail(t, "it is not plain ASCII", "%s: %q", name, r)
				}
			}
		}
	}
}

// A Vault that flaps has as many steps as are kept.
func TestTextOfManySteps(t *testing.T) {
	var steps []status.Step
	for range 24 {
		steps = append(steps, statustest.Took(unseal.Unreachable, 1), statustest.Took(unseal.Failing, 1))
	}
	s := status.Status{Phase: unseal.Failing, Recovery: statustest.Outage(statustest.Night, false, steps...)}
	text := s.Text(statustest.Night, 80)
	assert.Contains(t, text, "36 earlier steps")
	assert.Equal(t, 12, strings.Count(text, "Z |"), text)
}
