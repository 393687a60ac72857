package integration

import (
	"testing"
)

func TestOperatorSealIsHeld(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"an operator seals", sealVault,
			[]expectation{phaseIs("held"), aliveNotReady(), leavesVaultAlone(), logs("sealed on purpose")}},
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
			mountShares(w.vault.Keys[0], garbage(32))(w)
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
			[]expectation{serving(), logs("state cannot be kept")}},
		phase{"an operator seals", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"the sidecar restarts: it cannot know", all(stopSidecar, startSidecar), []expectation{sent(1), serving()}},
	)
}
