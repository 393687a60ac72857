package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runWithLib runs a command with what scripts/lib.sh defines.
func runWithLib(t *testing.T, command, input string) (out, said string, code int) {
	t.Helper()
	cmd := exec.Command("bash", "-c", ". ../scripts/lib.sh; "+command)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	_ = cmd.Run()
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// sharesInHex returns the shares, one a line as the scripts hand them on, in hex.
func sharesInHex(t *testing.T, lines string) []string {
	t.Helper()
	out := []string{}
	for line := range strings.Lines(lines) {
		text := strings.TrimSpace(line)
		raw, err := hex.DecodeString(text)
		if err != nil {
			raw, err = base64.StdEncoding.DecodeString(text)
		}
		require.NoError(t, err, "%q is nothing that Vault takes", text)
		out = append(out, hex.EncodeToString(raw))
	}
	return out
}

// The cases are those of the mount too (sidecar/internal/keyfile).
func TestScripts_AcceptTheSameKeyFormats(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../sidecar/internal/keyfile/testdata/shapes.json")
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
			data := map[string][]byte{}
			for name, text := range row.Entries {
				data[name] = []byte(text)
			}
			secret, err := json.Marshal(map[string]any{"data": data})
			require.NoError(t, err)
			out, said, code := runWithLib(t, "k() { cat; }; all_shares", string(secret))
			require.Zero(t, code, said)
			assert.ElementsMatch(t, row.Shares, sharesInHex(t, out))
			remarks := []string{}
			for line := range strings.Lines(said) {
				_, remark, _ := strings.Cut(strings.TrimSpace(line), "has more than shares in it: ")
				remarks = append(remarks, remark)
			}
			assert.ElementsMatch(t, row.Remarks, remarks)
			if len(row.Entries) > 1 {
				return
			}
			for _, text := range row.Entries {
				out, said, _ = runWithLib(t, `shares_in "$(cat)"`, text)
				assert.Equal(t, row.Shares, sharesInHex(t, out), said)
				again, _, _ := runWithLib(t, `shares_in "$(cat)"`, out)
				assert.Equal(t, out, again)
				problem, said, code := runWithLib(t, `check_shares "$(cat)"`, text)
				assert.Empty(t, said)
				assert.Equal(t, len(row.Shares) == 0 || strings.Contains(strings.Join(row.Remarks, ""), " line "), code == 1, "it says %q", problem)
			}
		})
	}
}
