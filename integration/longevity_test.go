package integration

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func hexKey(t *testing.T, share string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(share)
	require.NoError(t, err)
	return hex.EncodeToString(raw)
}

// footprint is what the sidecar takes, at the most and at the least of some looks.
type footprint map[string]struct{ most, least int }

// look adds what it takes now.
func (f footprint) look(t *testing.T, s *testenv.Sidecar, state string) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	require.NoError(t, err, s.Tail(10))
	_, metrics, err := s.Get(t.Context(), "/metrics")
	require.NoError(t, err, s.Tail(10))
	file, err := os.Stat(filepath.Join(state, "state.json"))
	require.NoError(t, err)
	now := map[string]int{
		"KiB of memory":        number(t, string(status), "\nRssAnon:"), // pages of the binary come and go
		"threads":              number(t, string(status), "\nThreads:"),
		"file descriptors":     number(t, metrics, "\nprocess_open_fds "),
		"bytes of state.json":  int(file.Size()),
		"lines of the metrics": strings.Count(metrics, "\n"),
	}
	for of, n := range now {
		before, found := f[of]
		if !found {
			before.most, before.least = n, n
		}
		f[of] = struct{ most, least int }{max(before.most, n), min(before.least, n)}
	}
}

// number is what stands behind a name.
func number(t *testing.T, text, name string) int {
	t.Helper()
	_, after, found := strings.Cut(text, name)
	require.True(t, found, name)
	var n float64
	_, err := fmt.Sscan(after, &n)
	require.NoError(t, err)
	return int(n)
}

// Vault restarts again and again; its certificate is renewed with each tenth restart; the key is
// rotated now and then, and the CA with it. What the sidecar takes in the last tenth of that is
// what it took in the first. RECOVERIES=10000 is make longevity.
func TestLongevity_RecoveriesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	recoveries := 300
	if text := os.Getenv("RECOVERIES"); text != "" {
		var err error
		recoveries, err = strconv.Atoi(text)
		require.NoError(t, err, "RECOVERIES")
		require.GreaterOrEqual(t, recoveries, 300, "RECOVERIES")
	}
	part := recoveries / 10

	env := newEnv(t)
	secret, err := env.NewSecret()
	require.NoError(t, err)
	share := randomShare(32)
	require.NoError(t, secret.WriteShares(share))
	vault := newStandIn(t, hexKey(t, share))
	vault.ca, err = env.NewCA("vault")
	require.NoError(t, err)
	vault.begin(t)
	state, err := env.Mkdir("state")
	require.NoError(t, err)
	config := testenv.SidecarConfig{
		Vault: "https://" + vault.addr, Keys: secret.Dir, State: state, Args: []string{"--vault-cacert", vault.ca.CAFile},
	}
	sidecar, err := env.StartSidecar(config)
	require.NoError(t, err)

	first, last := footprint{}, footprint{}
	for n := 1; n <= recoveries; n++ {
		require.NoError(t, testenv.Await(t.Context(), 20*time.Second, fmt.Sprintf("recovery %d", n), func() string {
			_, metrics, err := sidecar.Get(t.Context(), "/metrics")
			if err != nil {
				return err.Error()
			}
			if seen := number(t, metrics, "\nvault_unseal_sidecar_recovery_duration_seconds_count "); seen != n {
				return fmt.Sprintf("%d; %s", seen, sidecar.Tail(20))
			}
			return ""
		}))
		if n == part { // while Vault is open, for the key is read again once it is sealed
			t.Logf("the first %d: %v", n, first)
		}
		switch {
		case n <= part && n > part/2: // by then its memory and its threads have come to what they are
			first.look(t, sidecar, state)
		case n > recoveries-part/2:
			last.look(t, sidecar, state)
		case n%max(1, part/4) == 0:
			share = randomShare(32)
			require.NoError(t, secret.WriteShares(share))
			vault.setKey(hexKey(t, share))
			vault.ca, err = env.NewCA("vault") // into the files of the former
			require.NoError(t, err)
		}
		if n%10 == 0 {
			require.NoError(t, vault.ca.RenewServerCert(time.Now().Add(time.Duration(n)*time.Minute)))
		}
		vault.kill()
		vault.begin(t)
	}
	t.Logf("the last %d: %v", part/2, last)
	for of, bound := range map[string]int{
		"threads": 3, "file descriptors": 5, "lines of the metrics": 0, "bytes of state.json": 300,
		"KiB of memory": 1024,
	} {
		assert.LessOrEqual(t, last[of].least, first[of].most+bound, of)
	}
}
