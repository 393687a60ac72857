package integration

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOperatorSealIsHeld(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"an operator seals", sealVault,
			[]expectation{phaseIs("held"), aliveNotReady(), leavesVaultAlone(), logs("sealed manually")}},
		phase{"the sidecar restarts: still held", all(stopSidecar, startSidecar), []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"it is killed and starts again: still held", all(killSidecar, startSidecar), []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"a person unseals", unsealByHand, []expectation{serving()}},
		phase{"and seals again", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"vault's process restarts", restartVaultAtOnce, []expectation{sent(1), serving()}},
	)
}

func TestSealedWhileTheSidecarWasAway(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"the sidecar is killed, an operator seals, the sidecar is back", all(killSidecar, sealVault, startSidecar),
			[]expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"the sidecar is killed, vault restarts, the sidecar is back", all(killSidecar, restartVaultAtOnce, startSidecar),
			[]expectation{serving(), sent(1)}},
	)
}

func TestHoldEndsWhenTheKeysChange(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"an operator seals", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"the same keys are written again: no change", mountVaultsShares, []expectation{leavesVaultAlone(), phaseIs("held")}},
		phase{"other keys are mounted beside ours", func(w *world) {
			mountShares(garbage(32), w.vault.Keys[0])(w)
		}, []expectation{serving(), sent(1)}},
		phase{"an operator seals again", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
	)
}

func TestOperatorSealIsUndoneWhenToldSo(t *testing.T) {
	t.Parallel()
	play(t, home{args: []string{"--operator-seal", "unseal"}},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"an operator seals", sealVault, []expectation{sent(1), serving()}},
		phase{"the sidecar restarts and he seals again", all(stopSidecar, startSidecar), []expectation{serving()}},
		phase{"again", sealVault, []expectation{sent(1), serving()}},
		phase{"and while the sidecar is away", all(killSidecar, sealVault, startSidecar), []expectation{sent(1), serving()}},
	)
}

func TestWithoutAStateDirectory(t *testing.T) {
	t.Parallel()
	play(t, home{args: []string{"--state-dir", "/proc/nowhere"}},
		phase{"all is well, and it says what it cannot know", startSidecar,
			[]expectation{serving(), logs("state cannot be saved")}},
		phase{"an operator seals", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"the sidecar restarts: it cannot know", all(stopSidecar, startSidecar), []expectation{sent(1), serving()}},
	)
}

// A proxy in the pod listens throughout, whichever run of Vault is behind it.
func TestVaultBehindAProxy(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]bool{"that answers 502": false, "that ends the connection": true} {
		behind := func(w *world) {
			front, err := w.lab.Front(w.vault, cut)
			require.NoError(w, err)
			w.home.args = append(w.home.args, "--vault-addr", front)
		}
		away := phaseIs("failing")
		if cut {
			away = phaseIs("unreachable")
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, home{},
				phase{"all is well", all(behind, startSidecar), []expectation{serving()}},
				phase{"vault alone is away", killVault, []expectation{away}},
				phase{"and is back", startVault, []expectation{sent(1), serving()}},
				phase{"an operator seals", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
				phase{"the sidecar restarts: still held", all(stopSidecar, startSidecar), []expectation{phaseIs("held"), leavesVaultAlone()}},
				phase{"a person unseals", unsealByHand, []expectation{serving()}},
				phase{"and seals again", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
				phase{"vault alone is away", killVault, []expectation{away}},
				phase{"the sidecar restarts", all(stopSidecar, startSidecar), []expectation{away}},
				phase{"and vault is back", startVault, []expectation{sent(1), serving()}},
			)
		})
	}
}

// Why a restart that no request meets is taken for a seal by hand there: if
// this fails, Vault has begun to answer something that tells them apart.
func TestNothingInVaultsAnswersTellsASealFromARestart(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{})
	// The time; and that of the build, in the place of which a Vault whose build
	// was not told it gives the time of its start. Releases are told.
	passing := regexp.MustCompile(`"(server_time_utc|clock_skew_ms|echo_duration_ms|build_date)":("[^"]*"|\d+),?`)
	answers := func() (out []string) {
		for _, path := range []string{"seal-status", "health", "leader", "init"} {
			code, body := ask(t, http.MethodGet, w.vault.Addr+"/v1/sys/"+path, "", "")
			body = passing.ReplaceAllString(body, "")
			out = append(out, fmt.Sprint(path, " ", code, " ", body))
		}
		return out
	}
	unsealByHand(w)
	sealVault(w)
	sealed := answers()
	killVault(w)
	startVaultAndWait(w)
	assert.Equal(t, sealed, answers())
}
