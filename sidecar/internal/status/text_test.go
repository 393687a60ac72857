package status_test

import (
	"flag"
	"fmt"
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

func TestText_MatchesTheGoldenFiles(t *testing.T) {
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

func TestText_FitsTheWidthInPlainASCII(t *testing.T) {
	for name, s := range statustest.Scenes() {
		for _, width := range []int{-1, 0, 40, 60, 80, 200} {
			t.Run(fmt.Sprintf("%s in %d columns", name, width), func(t *testing.T) {
				text := s.Text(statustest.Night, width)
				for line := range strings.Lines(text) {
					line = strings.TrimSuffix(line, "\n")
					assert.LessOrEqual(t, len([]rune(line)), max(40, width), "%q", line)
					assert.Equal(t, strings.TrimRight(line, " "), line, "blanks at the end")
				}
				for _, r := range text {
					if r != '\n' && (r < ' ' || r > '~') {
						assert.Fail(t, "it is not plain ASCII", "%q", r)
					}
				}
			})
		}
	}
}

// A Vault that flaps has as many steps as are kept.
func TestText_ShortensManySteps(t *testing.T) {
	var steps []status.Step
	for range 24 {
		steps = append(steps, statustest.Took(unseal.Unreachable, 1), statustest.Took(unseal.Failing, 1))
	}
	s := status.Status{Phase: unseal.Failing, Recovery: statustest.Outage(statustest.Night, false, steps...)}
	text := s.Text(statustest.Night, 80)
	assert.Contains(t, text, "36 earlier steps")
	assert.Equal(t, 12, strings.Count(text, "Z |"), text)
}
