package keyfile_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
)

// The cases are those of the scripts too (integration/shapes_test.go). Their
// shares and tokens are made up.
func TestRead_AcceptsTheSharedExamples(t *testing.T) {
	content, err := os.ReadFile("testdata/shapes.json")
	require.NoError(t, err)
	var cases []struct {
		Sentence string
		Entries  map[string]string
		Shares   []string
		Remarks  []string
	}
	require.NoError(t, json.Unmarshal(content, &cases))
	for _, row := range cases {
		t.Run(row.Sentence, func(t *testing.T) {
			shares, remarks, err := keyfile.New(newMount(t, row.Entries).dir).Read()
			require.Equal(t, len(row.Shares) == 0, err != nil, "%v", err)
			assert.Equal(t, row.Shares, asHex(shares))
			got := []string{}
			for _, r := range remarks {
				got = append(got, r.String())
			}
			assert.ElementsMatch(t, row.Remarks, got)
		})
	}
}
