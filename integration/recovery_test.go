package integration

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRecovery_RefusedConnections(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true},
		phase{"the node reboots and storage hangs: vault does not listen yet",
			sequence(killVault, setStorage("hang"), startVault, startSidecar),
			[]condition{phaseIs("unreachable"), storageBlocked(), aliveNotReady()}},
		phase{"storage is back", setStorage("open"),
			[]condition{serving(), sharesSent(1), logContains("recovered"), logContainsTimes("does not accept connections", 1), logContainsTimes("sending key shares", 1)}},
	)
}

func TestRecovery_StoppedVaultContinues(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"a sealed vault is frozen", sequence(pauseVault, startSidecar),
			[]condition{phaseIs("unresponsive"), aliveNotReady()}},
		phase{"it goes on", continueVault, []condition{serving(), sharesSent(1)}},
		phase{"it is frozen again, unsealed", pauseVault,
			[]condition{phaseIs("unresponsive"), aliveNotReady(), metricsContain(`vault_unseal_sidecar_vault_state{state="unknown"} 1`)}},
		phase{"it goes on", continueVault,
			[]condition{serving(), sharesSent(0), metricsContain(`vault_unseal_sidecar_vault_state{state="active"} 1`)}},
	)
}

func TestRecovery_HungUnseal(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true},
		phase{"storage hangs under a sealed vault that listens", sequence(setStorage("hang"), startSidecar),
			[]condition{phaseIs("unseal-hanging"), storageBlocked(), aliveNotReady()}},
		phase{"storage is back: the one unseal completes", setStorage("open"),
			[]condition{serving(), sharesSentInTotal(1)}},
	)
}

// Longhorn takes minutes, and Vault lets a request last for 90 seconds: what
// it then answers to the unseal that succeeded is an error.
func TestRecovery_UnsealHangsPastMaxRequestDuration(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true, maxRequestDuration: 3 * time.Second},
		phase{"storage hangs under a sealed vault that listens", sequence(setStorage("hang"), startSidecar),
			[]condition{phaseIs("unseal-hanging"), phaseLasted("unseal-hanging", 4*time.Second)}},
		phase{"storage is back: it is no error", setStorage("open"), []condition{serving(), sharesSentInTotal(1), logNeverContains("vault answers with errors")}},
	)
}

// phaseLasted waits until a phase has lasted for so long.
func phaseLasted(phase string, d time.Duration) condition {
	return condition{fmt.Sprintf("%s for %v", phase, d), func(sc *scenario) string {
		s, err := sc.sidecar.Status(sc.ctx)
		if err != nil || s.Phase != phase || s.Seconds < d.Seconds() {
			return fmt.Sprintf("%s for %.1f s %v", s.Phase, s.Seconds, err)
		}
		return ""
	}}
}

func logNeverContains(text string) condition {
	return condition{fmt.Sprintf("the log never to say %q", text), func(sc *scenario) string {
		require.NotContains(sc, sc.sidecar.Output(), text)
		return ""
	}}
}

func TestStorage_HangsUnderUnsealedVault(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true, args: []string{"--storage-probe", "1s"}},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"storage hangs", setStorage("hang"),
			[]condition{phaseIs("storage-hanging"), aliveNotReady(), logContains("storage hangs under an unsealed vault")}},
		phase{"storage is back", setStorage("open"), []condition{serving(), sharesSent(0)}},
	)
}

func TestRecovery_IsDoneOnceStorageIsRead(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"vault is frozen", pauseVault, []condition{phaseIs("unresponsive")}},
		phase{"it goes on over storage that hangs: health says 200", sequence(setStorage("hang"), continueVault),
			[]condition{phaseIs("storage-hanging"), aliveNotReady()}},
		phase{"storage is back", setStorage("open"), []condition{serving()}},
	)
}

func TestStorage_EIOEndsInRecovery(t *testing.T) {
	t.Parallel()
	t.Run("before the unseal", func(t *testing.T) {
		t.Parallel()
		run(t, setup{stallable: true},
			phase{"storage fails", sequence(setStorage("eio"), startSidecar),
				[]condition{phaseIs("failing"), aliveNotReady()}},
			phase{"it heals", setStorage("open"), []condition{serving()}},
		)
	})
	t.Run("during the unseal", func(t *testing.T) {
		t.Parallel()
		run(t, setup{stallable: true, shares: 5, threshold: 3},
			phase{"the unseal hangs", sequence(setStorage("hang"), startSidecar), []condition{phaseIs("unseal-hanging"), storageBlocked()}},
			phase{"what hung fails", setStorage("eio"), []condition{phaseIs("failing")}},
			phase{"it heals", setStorage("open"), []condition{serving()}},
		)
	})
	t.Run("after the unseal", func(t *testing.T) {
		t.Parallel()
		run(t, setup{stallable: true, args: []string{"--storage-probe", "1s"}},
			phase{"all is well", startSidecar, []condition{serving()}},
			phase{"storage fails", setStorage("eio"), []condition{phaseIs("failing"), aliveNotReady()}},
			phase{"it heals", setStorage("open"), []condition{serving()}},
		)
	})
}

func TestStorage_SlowAnswersEndInRecovery(t *testing.T) {
	t.Parallel()
	t.Run("before the unseal", func(t *testing.T) {
		t.Parallel()
		run(t, setup{stallable: true},
			phase{"every operation takes 5 ms", sequence(setStorage("slow 5ms"), startSidecar), []condition{serving(), sharesSent(1)}},
		)
	})
	t.Run("during the unseal", func(t *testing.T) {
		t.Parallel()
		run(t, setup{stallable: true},
			phase{"the unseal hangs", sequence(setStorage("hang"), startSidecar), []condition{phaseIs("unseal-hanging")}},
			phase{"storage is back, and is slow", setStorage("slow 5ms"), []condition{serving(), sharesSentInTotal(1)}},
		)
	})
	t.Run("after the unseal", func(t *testing.T) {
		t.Parallel()
		run(t, setup{stallable: true, args: []string{"--storage-probe", "1s"}},
			phase{"all is well", startSidecar, []condition{serving()}},
			phase{"storage becomes slow: that is not hanging", setStorage("slow 50ms"),
				[]condition{serving(), sendsNothing(), serving(), logNeverContains("storage hangs")}},
		)
	})
	t.Run("slower than a person waits", func(t *testing.T) {
		t.Parallel()
		run(t, setup{stallable: true},
			phase{"every operation takes 3 s", sequence(setStorage("slow 3s"), startSidecar), []condition{phaseIs("unseal-hanging")}},
			phase{"it gets better", setStorage("slow 5ms"), []condition{serving(), sharesSentInTotal(1)}},
		)
	})
}

func TestRecovery_VaultKilledDuringUnseal(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true, shares: 5, threshold: 3},
		phase{"an unseal is slow", sequence(setStorage("slow 300ms"), startSidecar),
			[]condition{logContains("sending key shares"), storageBlocked()}},
		phase{"vault is killed", killVault, []condition{phaseIs("unreachable")}},
		phase{"vault starts again over good storage", sequence(setStorage("open"), startVault), []condition{serving()}},
	)
}

func TestKeys_SharesAndThresholds(t *testing.T) {
	t.Parallel()
	for _, key := range []struct{ shares, threshold int }{{1, 1}, {5, 3}, {5, 5}} {
		t.Run(fmt.Sprintf("%d of %d", key.threshold, key.shares), func(t *testing.T) {
			t.Parallel()
			run(t, setup{shares: key.shares, threshold: key.threshold},
				phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(key.threshold)}},
			)
		})
	}
}

func TestRecovery_VaultRestarted(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"vault stops in its own way: that is no operator's seal", stopVault, []condition{phaseIs("unreachable")}},
		phase{"vault starts", startVault, []condition{serving(), sharesSent(1)}},
		phase{"vault is restarted at once", restartVaultAtOnce, []condition{sharesSent(1), serving()}},
		phase{"and again", restartVaultAtOnce, []condition{sharesSent(1), serving()}},
		phase{"it is restarted between two probes: only its process shows it", func(sc *scenario) {
			sc.sidecar.Signal(syscall.SIGSTOP)
			restartVaultAtOnce(sc)
			require.NoError(sc, sc.vault.AwaitListening(sc.ctx))
			sc.sidecar.Signal(syscall.SIGCONT)
		}, []condition{sharesSent(1), serving()}},
	)
}

func TestRecovery_UninitializedThenInitialized(t *testing.T) {
	t.Parallel()
	run(t, setup{uninitialized: true},
		phase{"vault was never initialized", startSidecar, []condition{phaseIs("uninitialized"), sendsNothing()}},
		phase{"it is initialized, without keys for us", func(sc *scenario) {
			require.NoError(sc, sc.vault.Init(sc.ctx, 1, 1))
		}, []condition{phaseIs("no-key")}},
		phase{"the key is mounted", mountVaultShares, []condition{serving(), sharesSent(1)}},
	)
}

func TestKeys_RekeyWhileRunningIsNoticed(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"the key is changed to 3 of 5, and the Secret with it", sequence(rekey(5, 3), mountVaultShares), []condition{sendsNothing()}},
		phase{"vault restarts", restartVaultAtOnce, []condition{sharesSent(3), serving()}},
	)
}

// rekey does what an operator does, and leaves the Secret as it is.
func rekey(shares, threshold int) func(sc *scenario) {
	return func(sc *scenario) {
		var started, done struct {
			Nonce string   `json:"nonce"`
			Keys  []string `json:"keys_base64"`
		}
		_, err := sc.vault.Call(sc.ctx, "PUT", "sys/rekey/init", map[string]any{"secret_shares": shares, "secret_threshold": threshold}, &started)
		require.NoError(sc, err)
		for _, key := range sc.vault.Keys {
			_, err = sc.vault.Call(sc.ctx, "PUT", "sys/rekey/update", map[string]any{"key": key, "nonce": started.Nonce}, &done)
			require.NoError(sc, err)
			if len(done.Keys) > 0 {
				break
			}
		}
		require.Len(sc, done.Keys, shares)
		sc.vault.Keys = done.Keys
		sc.secrets = append(sc.secrets, done.Keys...)
	}
}

func TestRaft_SingleNodeRecovers(t *testing.T) {
	t.Parallel()
	run(t, setup{raft: true, shares: 5, threshold: 3},
		phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(3)}},
		phase{"vault restarts", restartVaultAtOnce, []condition{sharesSent(3), serving()}},
	)
}

func TestRaft_HangingStorageRecovers(t *testing.T) {
	t.Parallel()
	run(t, setup{raft: true, stallable: true},
		phase{"all is well", startSidecar, []condition{serving()}},
		phase{"the node reboots and storage hangs", sequence(killVault, setStorage("hang"), startVault),
			[]condition{phaseIs("unreachable"), storageBlocked()}},
		phase{"storage is back", setStorage("open"), []condition{serving(), sharesSent(1)}},
	)
}

func TestRecovery_SecretIsReadable(t *testing.T) {
	t.Parallel()
	run(t, setup{stallable: true},
		phase{"a secret is stored", sequence(startSidecar), []condition{serving()}},
		phase{"the node reboots with hanging storage", func(sc *scenario) {
			require.NoError(sc, sc.vault.MountKV(sc.ctx))
			require.NoError(sc, sc.vault.WriteSecret(sc.ctx, "app", "precious"))
			killVault(sc)
			setStorage("hang")(sc)
			startVault(sc)
		}, []condition{phaseIs("unreachable")}},
		phase{"storage is back", setStorage("open"), []condition{serving(), {"the secret to be read", func(sc *scenario) string {
			value, err := sc.vault.ReadSecret(sc.ctx, "app")
			assert.NoError(sc, err)
			if value != "precious" {
				return value
			}
			return ""
		}}}},
	)
}
