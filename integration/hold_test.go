package integration

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOperatorSeal_IsHeld(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"an operator seals", sealVault,
			[]condition{phaseIs("held"), aliveNotReady(), sendsNothing(), logContains("sealed manually")}},
		phase{"the sidecar restarts: still held", sequence(stopSidecar, startSidecar), []condition{phaseIs("held"), sendsNothing()}},
		phase{"it is killed and starts again: still held", sequence(killSidecar, startSidecar), []condition{phaseIs("held"), sendsNothing()}},
		phase{"a person unseals", unsealByHand, []condition{serving()}},
		phase{"and seals again", sealVault, []condition{phaseIs("held"), sendsNothing()}},
		phase{"vault's process restarts", restartVaultAtOnce, []condition{sharesSent(1), serving()}},
	)
}

func TestOperatorSeal_IsHeldAfterSidecarDowntime(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"the sidecar is killed, an operator seals, the sidecar is back", sequence(killSidecar, sealVault, startSidecar),
			[]condition{phaseIs("held"), sendsNothing()}},
		phase{"the sidecar is killed, vault restarts, the sidecar is back", sequence(killSidecar, restartVaultAtOnce, startSidecar),
			[]condition{serving(), sharesSent(1)}},
	)
}

func TestOperatorSeal_EndsWhenKeysChange(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"an operator seals", sealVault, []condition{phaseIs("held"), sendsNothing()}},
		phase{"the same keys are written again: no change", mountVaultShares, []condition{sendsNothing(), phaseIs("held")}},
		phase{"other keys are mounted beside ours", func(sc *scenario) {
			mountShares(randomShare(32), sc.vault.Keys[0])(sc)
		}, []condition{serving(), sharesSent(1)}},
		phase{"an operator seals again", sealVault, []condition{phaseIs("held"), sendsNothing()}},
	)
}

func TestOperatorSeal_IsUndoneWithOptionUnseal(t *testing.T) {
	t.Parallel()
	run(t, setup{args: []string{"--operator-seal", "unseal"}},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"an operator seals", sealVault, []condition{sharesSent(1), serving()}},
		phase{"the sidecar restarts and he seals again", sequence(stopSidecar, startSidecar), []condition{serving()}},
		phase{"again", sealVault, []condition{sharesSent(1), serving()}},
		phase{"and while the sidecar is away", sequence(killSidecar, sealVault, startSidecar), []condition{sharesSent(1), serving()}},
	)
}

func TestStateDir_UnwritableForgetsSealOnRestart(t *testing.T) {
	t.Parallel()
	run(t, setup{args: []string{"--state-dir", "/proc/nowhere"}},
		phase{"all is well, and it says what it cannot know", startSidecar,
			[]condition{serving(), logContains("state cannot be saved")}},
		phase{"an operator seals", sealVault, []condition{phaseIs("held"), sendsNothing()}},
		phase{"the sidecar restarts: it cannot know", sequence(stopSidecar, startSidecar), []condition{sharesSent(1), serving()}},
	)
}

// A proxy in the pod listens throughout, whichever run of Vault is behind it.
func TestReverseProxy_RestartAndSealAreDistinguished(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]bool{"that answers 502": false, "that ends the connection": true} {
		behind := func(sc *scenario) {
			front, err := sc.env.StartReverseProxy(sc.vault, cut)
			require.NoError(sc, err)
			sc.setup.args = append(sc.setup.args, "--vault-addr", front)
		}
		away := phaseIs("failing")
		if cut {
			away = phaseIs("unreachable")
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, setup{},
				phase{"all is well", sequence(behind, startSidecar), []condition{serving()}},
				phase{"vault alone is away", killVault, []condition{away}},
				phase{"and is back", startVault, []condition{sharesSent(1), serving()}},
				phase{"an operator seals", sealVault, []condition{phaseIs("held"), sendsNothing()}},
				phase{"the sidecar restarts: still held", sequence(stopSidecar, startSidecar), []condition{phaseIs("held"), sendsNothing()}},
				phase{"a person unseals", unsealByHand, []condition{serving()}},
				phase{"and seals again", sealVault, []condition{phaseIs("held"), sendsNothing()}},
				phase{"vault alone is away", killVault, []condition{away}},
				phase{"the sidecar restarts", sequence(stopSidecar, startSidecar), []condition{away}},
				phase{"and vault is back", startVault, []condition{sharesSent(1), serving()}},
			)
		})
	}
}

// Why a restart that no request meets is taken for a seal by hand there: if
// this fails, Vault has begun to answer something that tells them apart.
func TestVault_AnswersTheSameAfterSealAndRestart(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{})
	// The time; and that of the build, in the place of which a Vault whose build
	// was not told it gives the time of its start. Releases are told.
	passing := regexp.MustCompile(`"(server_time_utc|clock_skew_ms|echo_duration_ms|build_date)":("[^"]*"|\d+),?`)
	answers := func() (out []string) {
		for _, path := range []string{"seal-status", "health", "leader", "init"} {
			code, body := request(t, http.MethodGet, sc.vault.Addr+"/v1/sys/"+path, "", "")
			body = passing.ReplaceAllString(body, "")
			out = append(out, fmt.Sprint(path, " ", code, " ", body))
		}
		return out
	}
	unsealByHand(sc)
	sealVault(sc)
	sealed := answers()
	killVault(sc)
	startVaultAndWait(sc)
	assert.Equal(t, sealed, answers())
}
