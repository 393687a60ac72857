package integration

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefusedThenThaw(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true},
		phase{"the node reboots and storage hangs: vault does not listen yet",
			all(killVault, storage("hang"), startVault, startSidecar),
			[]expectation{phaseIs("unreachable"), storageWaits(), aliveNotReady()}},
		phase{"storage thaws", storage("open"),
			[]expectation{serving(), sent(1), logs("recovered"), logsTimes("does not accept connections", 1), logsTimes("sending key shares", 1)}},
	)
}

func TestStoppedThenContinued(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"a sealed vault is frozen", all(pauseVault, startSidecar),
			[]expectation{phaseIs("unresponsive"), aliveNotReady()}},
		phase{"it goes on", continueVault, []expectation{serving(), sent(1)}},
		phase{"it is frozen again, unsealed", pauseVault,
			[]expectation{phaseIs("unresponsive"), aliveNotReady(), measures(`vault_unseal_sidecar_vault_state{state="unknown"} 1`)}},
		phase{"it goes on", continueVault,
			[]expectation{serving(), sent(0), measures(`vault_unseal_sidecar_vault_state{state="active"} 1`)}},
	)
}

func TestHungUnseal(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true},
		phase{"storage hangs under a sealed vault that listens", all(storage("hang"), startSidecar),
			[]expectation{phaseIs("unseal-hanging"), storageWaits(), aliveNotReady()}},
		phase{"storage thaws: the one unseal completes", storage("open"),
			[]expectation{serving(), sentInAll(1)}},
	)
}

// Longhorn takes minutes, and Vault lets a request last for 90 seconds: what
// it then answers to the unseal that succeeded is an error.
func TestHungUnsealForLongerThanVaultLetsARequestLast(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true, limit: 3 * time.Second},
		phase{"storage hangs under a sealed vault that listens", all(storage("hang"), startSidecar),
			[]expectation{phaseIs("unseal-hanging"), hasLasted("unseal-hanging", 4*time.Second)}},
		phase{"storage thaws: it is no error", storage("open"), []expectation{serving(), sentInAll(1), neverLogs("vault answers with errors")}},
	)
}

// hasLasted waits until a phase has lasted for so long.
func hasLasted(phase string, d time.Duration) expectation {
	return expectation{fmt.Sprintf("%s for %v", phase, d), func(w *world) string {
		s, err := w.sidecar.Status(w.ctx)
		if err != nil || s.Phase != phase || s.Seconds < d.Seconds() {
			return fmt.Sprintf("%s for %.1f s %v", s.Phase, s.Seconds, err)
		}
		return ""
	}}
}

func neverLogs(text string) expectation {
	return expectation{fmt.Sprintf("the log never to say %q", text), func(w *world) string {
		require.NotContains(w, w.sidecar.Output(), text)
		return ""
	}}
}

func TestStorageHangsUnderAnUnsealedVault(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true, args: []string{"--storage-probe", "1s"}},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"storage hangs", storage("hang"),
			[]expectation{phaseIs("storage-hanging"), aliveNotReady(), logs("storage hangs under an unsealed vault")}},
		phase{"storage thaws", storage("open"), []expectation{serving(), sent(0)}},
	)
}

func TestRecoveryIsClosedByReadingStorage(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"vault is frozen", pauseVault, []expectation{phaseIs("unresponsive")}},
		phase{"it goes on over storage that hangs: health says 200", all(storage("hang"), continueVault),
			[]expectation{phaseIs("storage-hanging"), aliveNotReady()}},
		phase{"storage thaws", storage("open"), []expectation{serving()}},
	)
}

func TestStorageAnswersEIO(t *testing.T) {
	t.Parallel()
	t.Run("before the unseal", func(t *testing.T) {
		t.Parallel()
		play(t, home{gated: true},
			phase{"storage fails", all(storage("eio"), startSidecar),
				[]expectation{phaseIs("failing"), aliveNotReady()}},
			phase{"it heals", storage("open"), []expectation{serving()}},
		)
	})
	t.Run("during the unseal", func(t *testing.T) {
		t.Parallel()
		play(t, home{gated: true, shares: 5, threshold: 3},
			phase{"the unseal hangs", all(storage("hang"), startSidecar), []expectation{phaseIs("unseal-hanging"), storageWaits()}},
			phase{"what hung fails", storage("eio"), []expectation{phaseIs("failing")}},
			phase{"it heals", storage("open"), []expectation{serving()}},
		)
	})
	t.Run("after the unseal", func(t *testing.T) {
		t.Parallel()
		play(t, home{gated: true, args: []string{"--storage-probe", "1s"}},
			phase{"all is well", startSidecar, []expectation{serving()}},
			phase{"storage fails", storage("eio"), []expectation{phaseIs("failing"), aliveNotReady()}},
			phase{"it heals", storage("open"), []expectation{serving()}},
		)
	})
}

func TestStorageIsSlow(t *testing.T) {
	t.Parallel()
	t.Run("before the unseal", func(t *testing.T) {
		t.Parallel()
		play(t, home{gated: true},
			phase{"every operation takes 5 ms", all(storage("slow 5ms"), startSidecar), []expectation{serving(), sent(1)}},
		)
	})
	t.Run("during the unseal", func(t *testing.T) {
		t.Parallel()
		play(t, home{gated: true},
			phase{"the unseal hangs", all(storage("hang"), startSidecar), []expectation{phaseIs("unseal-hanging")}},
			phase{"storage thaws, and is slow", storage("slow 5ms"), []expectation{serving(), sentInAll(1)}},
		)
	})
	t.Run("after the unseal", func(t *testing.T) {
		t.Parallel()
		play(t, home{gated: true, args: []string{"--storage-probe", "1s"}},
			phase{"all is well", startSidecar, []expectation{serving()}},
			phase{"storage becomes slow: that is not hanging", storage("slow 50ms"),
				[]expectation{serving(), leavesVaultAlone(), serving(), neverLogs("storage hangs")}},
		)
	})
	t.Run("slower than a person waits", func(t *testing.T) {
		t.Parallel()
		play(t, home{gated: true},
			phase{"every operation takes 3 s", all(storage("slow 3s"), startSidecar), []expectation{phaseIs("unseal-hanging")}},
			phase{"it gets better", storage("slow 5ms"), []expectation{serving(), sentInAll(1)}},
		)
	})
}

func TestVaultKilledInTheMiddleOfAnUnseal(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true, shares: 5, threshold: 3},
		phase{"an unseal is slow", all(storage("slow 300ms"), startSidecar),
			[]expectation{logs("sending key shares"), storageWaits()}},
		phase{"vault is killed", killVault, []expectation{phaseIs("unreachable")}},
		phase{"vault starts again over good storage", all(storage("open"), startVault), []expectation{serving()}},
	)
}

func TestSharesAndThresholds(t *testing.T) {
	t.Parallel()
	for _, key := range []struct{ shares, threshold int }{{1, 1}, {5, 3}, {5, 5}} {
		t.Run(fmt.Sprintf("%d of %d", key.threshold, key.shares), func(t *testing.T) {
			t.Parallel()
			play(t, home{shares: key.shares, threshold: key.threshold},
				phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(key.threshold)}},
			)
		})
	}
}

func TestVaultRestarted(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"vault stops in its own way: that is no operator's seal", stopVault, []expectation{phaseIs("unreachable")}},
		phase{"vault starts", startVault, []expectation{serving(), sent(1)}},
		phase{"vault is restarted at once", restartVaultAtOnce, []expectation{sent(1), serving()}},
		phase{"and again", restartVaultAtOnce, []expectation{sent(1), serving()}},
		phase{"it is restarted while the sidecar looks away: only its process tells", func(w *world) {
			w.sidecar.Signal(syscall.SIGSTOP)
			restartVaultAtOnce(w)
			require.NoError(w, w.vault.AwaitListening(w.ctx))
			w.sidecar.Signal(syscall.SIGCONT)
		}, []expectation{sent(1), serving()}},
	)
}

func TestUninitializedThenInitialized(t *testing.T) {
	t.Parallel()
	play(t, home{virgin: true},
		phase{"vault was never initialized", startSidecar, []expectation{phaseIs("uninitialized"), leavesVaultAlone()}},
		phase{"it is initialized, without keys for us", func(w *world) {
			require.NoError(w, w.vault.Init(w.ctx, 1, 1))
		}, []expectation{phaseIs("no-key")}},
		phase{"the key is mounted", mountVaultsShares, []expectation{serving(), sent(1)}},
	)
}

func TestRekeyedWhileRunning(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"the key is changed to 3 of 5, and the Secret with it", all(rekey(5, 3), mountVaultsShares), []expectation{leavesVaultAlone()}},
		phase{"vault restarts", restartVaultAtOnce, []expectation{sent(3), serving()}},
	)
}

// rekey does what an operator does, and leaves the Secret as it is.
func rekey(shares, threshold int) func(w *world) {
	return func(w *world) {
		var started, done struct {
			Nonce string   `json:"nonce"`
			Keys  []string `json:"keys_base64"`
		}
		_, err := w.vault.Call(w.ctx, "PUT", "sys/rekey/init", map[string]any{"secret_shares": shares, "secret_threshold": threshold}, &started)
		require.NoError(w, err)
		for _, key := range w.vault.Keys {
			_, err = w.vault.Call(w.ctx, "PUT", "sys/rekey/update", map[string]any{"key": key, "nonce": started.Nonce}, &done)
			require.NoError(w, err)
			if len(done.Keys) > 0 {
				break
			}
		}
		require.Len(w, done.Keys, shares)
		w.vault.Keys = done.Keys
		w.secrets = append(w.secrets, done.Keys...)
	}
}

func TestRaftStorage(t *testing.T) {
	t.Parallel()
	play(t, home{raft: true, shares: 5, threshold: 3},
		phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(3)}},
		phase{"vault restarts", restartVaultAtOnce, []expectation{sent(3), serving()}},
	)
}

func TestRaftStorageHangs(t *testing.T) {
	t.Parallel()
	play(t, home{raft: true, gated: true},
		phase{"all is well", startSidecar, []expectation{serving()}},
		phase{"the node reboots and storage hangs", all(killVault, storage("hang"), startVault),
			[]expectation{phaseIs("unreachable"), storageWaits()}},
		phase{"storage thaws", storage("open"), []expectation{serving(), sent(1)}},
	)
}

func TestSecretIsReadableAfterwards(t *testing.T) {
	t.Parallel()
	play(t, home{gated: true},
		phase{"somebody keeps a secret", all(startSidecar), []expectation{serving()}},
		phase{"the node reboots with hanging storage", func(w *world) {
			require.NoError(w, w.vault.MountKV(w.ctx))
			require.NoError(w, w.vault.WriteSecret(w.ctx, "app", "precious"))
			killVault(w)
			storage("hang")(w)
			startVault(w)
		}, []expectation{phaseIs("unreachable")}},
		phase{"storage thaws", storage("open"), []expectation{serving(), {"the secret to be read", func(w *world) string {
			value, err := w.vault.ReadSecret(w.ctx, "app")
			assert.NoError(w, err)
			if value != "precious" {
				return value
			}
			return ""
		}}}},
	)
}
