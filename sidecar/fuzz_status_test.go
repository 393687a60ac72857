package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// FuzzReadStatus reads whatever answers in the sidecar's place, in each field: a field
// that is added later is cleaned too.
func FuzzReadStatus(f *testing.F) {
	f.Add("\u009b2J\u202e", `{"phase":"active","seconds":1e308,"since":"9999-12-31T23:59:59-23:59"}`)
	f.Add("über\xff", `{"recoveries":[{"steps":[]}],"external_secrets":{"left":["a"],"left_count":-3}}`)
	f.Fuzz(func(t *testing.T, text, raw string) {
		encoded, err := json.Marshal(hostileStatus(text, 1))
		require.NoError(t, err)
		for _, each := range []string{string(encoded), raw} {
			s, err := status.ReadStatus([]byte(each))
			if err != nil {
				continue
			}
			out, failed := s.JSON()
			said := s.Text(time.Now(), 80)
			require.True(t, utf8.ValidString(said), "%q", said)
			assertHarmless(t, map[string]string{"text": said, "json": "\n" + string(out)}, each)
			if failed != nil {
				continue // a time of the year 10000
			}
			again, err := status.ReadStatus(out)
			require.NoError(t, err)
			repeated, err := again.JSON()
			require.NoError(t, err)
			require.Equal(t, string(out), string(repeated), "what was read and written is read the same")
			requireSettled(t, s)
		}
	})
}

// requireSettled has status --watch see one status as one.
func requireSettled(t *testing.T, s status.Status) {
	t.Helper()
	w := watcher{look: func() (seen, error) { return seen{status: s}, nil }}
	var out bytes.Buffer
	w.turn(t.Context(), &out)
	w.turn(t.Context(), &out)
	require.Equal(t, 1, strings.Count(out.String(), "\nSidecar"), out.String())
}
