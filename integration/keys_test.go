package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func randomShares(length, count int) func([]string) []string {
	return func([]string) []string {
		var shares []string
		for range count {
			shares = append(shares, randomShare(length))
		}
		return shares
	}
}

func TestKeys_WrongKeyIsReplacedByRightOne(t *testing.T) {
	t.Parallel()
	run(t, setup{mountedShares: randomShares(32, 1)},
		phase{"a wrong key is mounted: it is sent once", startSidecar,
			[]condition{phaseIs("key-rejected"), sharesSent(1), sendsNothing(), logContains("vault rejected the key")}},
		phase{"the sidecar restarts: it remembers", sequence(stopSidecar, startSidecar),
			[]condition{phaseIs("key-rejected"), sendsNothing(), sharesSent(0)}},
		phase{"the right key is swapped in", mountVaultShares, []condition{serving(), sharesSent(1)}},
	)
}

func TestKeys_WrongKeyIsRetriedAfterVaultRestart(t *testing.T) {
	t.Parallel()
	run(t, setup{mountedShares: randomShares(32, 1)},
		phase{"a wrong key is mounted", startSidecar, []condition{phaseIs("key-rejected"), sharesSent(1)}},
		phase{"vault restarts", restartVaultAtOnce, []condition{sharesSent(1), phaseIs("key-rejected"), sendsNothing()}},
	)
}

func TestKeys_BadShareAmongGoodOnesIsExcluded(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 5, threshold: 3, mountedShares: func(keys []string) []string {
		return []string{keys[0], randomShare(33), keys[2], keys[3], keys[4]}
	}},
		phase{"the sidecar starts: it is not sent", startSidecar, []condition{serving(), sharesSent(3)}},
	)
}

func TestKeys_OldAndNewKeySideBySideUnseal(t *testing.T) {
	t.Parallel()
	run(t, setup{mountedShares: func(keys []string) []string { return []string{keys[0], randomShare(32)} }},
		phase{"the later one is tried first", startSidecar, []condition{serving(), sharesSent(2)}},
	)
}

func TestKeys_TooFewSharesAreNotSent(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 5, threshold: 3, mountedShares: func(keys []string) []string { return keys[:2] }},
		phase{"two of three are mounted", startSidecar,
			[]condition{phaseIs("no-key"), sendsNothing(), sharesSent(0)}},
		phase{"a person enters the third and our two, slowly", func(sc *scenario) {
			for _, key := range sc.vault.Keys[2:] {
				if s := sc.enterShare(key); !s.Sealed {
					return
				}
				await(sc, sendsNothing())
			}
		}, []condition{serving()}},
	)
}

func TestKeys_TooFewSharesAreReportedWhileUnsealed(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 3, threshold: 2, mountedShares: func(keys []string) []string { return keys[:1] }},
		phase{"one of two is mounted, and a person opens vault", sequence(startSidecar, unsealByHand), []condition{
			serving(), keyErrorContains("1 of the 2 shares that the threshold needs are mounted"),
			metricsContain("vault_unseal_sidecar_key_usable 0"), metricsContain("vault_unseal_sidecar_key_shares 1"),
			logContains("unseal key cannot be used"),
		}},
		phase{"all are", mountVaultShares, []condition{keyErrorContains(""), metricsContain("vault_unseal_sidecar_key_usable 1")}},
		phase{"vault takes others now, and more of them", rekey(5, 4), []condition{
			withTimeout(90*time.Second, keyErrorContains("3 of the 4 shares that the threshold needs are mounted")),
		}},
		phase{"they are mounted", mountVaultShares, []condition{keyErrorContains(""), serving(), metricsContain("vault_unseal_sidecar_key_shares 5")}},
		phase{"vault restarts", restartVaultAtOnce, []condition{sharesSent(4), serving(), keyErrorContains("")}},
	)
}

// keyErrorContains expects what /status says is wrong with the mounted key.
func keyErrorContains(want string) condition {
	return condition{fmt.Sprintf("the error of the key to be %q", want), func(sc *scenario) string {
		s, err := sc.sidecar.Status(sc.ctx)
		switch {
		case err != nil:
			return err.Error()
		case s.KeyError != want:
			return fmt.Sprintf("it is %q", s.KeyError)
		}
		return ""
	}}
}

func TestKeys_SharesOfUnequalLengthAreNotSent(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 3, threshold: 3, mountedShares: func(keys []string) []string {
		return []string{keys[0], keys[1], randomShare(32)}
	}},
		phase{"one share is shorter", startSidecar,
			[]condition{phaseIs("no-key"), sendsNothing(), sharesSent(0)}},
	)
}

// await waits for one more condition inside a step.
func await(sc *scenario, cond condition) {
	sc.Helper()
	require.NoError(sc, awaitErr(sc, cond))
}

func TestOtherClients_LeftoverSharesDoNotPreventUnseal(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]int{"one share": 1, "two shares": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, setup{shares: 5, threshold: 3},
				phase{"random shares lie in vault", func(sc *scenario) {
					for range left {
						sc.enterShare(randomShare(33))
					}
				}, []condition{unsealProgressIs(left)}},
				phase{"the sidecar starts", startSidecar, []condition{serving()}},
			)
		})
	}
}

func TestOtherClients_ContinuousSharesDoNotPreventUnseal(t *testing.T) {
	t.Parallel()
	for name, flood := range map[string]struct{ senders, shares, threshold int }{
		"by one":     {1, 5, 3},
		"by several": {6, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, setup{shares: flood.shares, threshold: flood.threshold},
				phase{"other clients send random shares all the time", func(sc *scenario) {
					ctx, cancel := context.WithCancel(sc.ctx)
					sc.Cleanup(cancel)
					for range flood.senders {
						go sendRandomShares(ctx, sc.vault, 20*time.Millisecond)
					}
					await(sc, condition{"them to be heard", func(sc *scenario) string {
						if n := sc.vault.SharesSent(); n < 10 {
							return fmt.Sprint(n, " shares")
						}
						return ""
					}})
					sc.startSidecar()
				}, []condition{serving()}},
			)
		})
	}
}

// sendRandomShares sends share after share until Vault is open, each up to so long after
// Vault's answer to the one before; with 0 how long ours find no gap is chance.
func sendRandomShares(ctx context.Context, v *testenv.Vault, maxPause time.Duration) {
	for ctx.Err() == nil {
		if s, err := v.Unseal(ctx, randomShare(33)); err == nil && !s.Sealed {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rand.Int64N(int64(maxPause) + 1))): // the load itself
		}
	}
}

// A flood from other clients may keep Vault sealed for as long as it lasts, but must not
// make a good key look wrong. Ten times, because it takes a share at just the right time.
func TestOtherClients_FloodDoesNotRejectGoodKey(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 3, threshold: 2},
		phase{"a sidecar starts, and again, under a flood", func(sc *scenario) {
			for range 10 {
				ctx, cancel := context.WithCancel(sc.ctx)
				sc.Cleanup(cancel)
				var flood sync.WaitGroup
				for range 6 {
					flood.Go(func() { sendRandomShares(ctx, sc.vault, 0) })
				}
				sc.startSidecar()
				await(sc, condition{"30 of its shares to be answered, or vault to be open", func(sc *scenario) string {
					answered := strings.Count(sc.sidecar.Output(), "unseal answered")
					if s, err := sc.vault.SealStatus(sc.ctx); answered < 30 && (err != nil || s.Sealed) {
						return fmt.Sprint(answered, " shares")
					}
					return ""
				}})
				cancel()
				flood.Wait()
				await(sc, serving())
				require.NotContains(sc, sc.sidecar.Output(), "vault refused")
				stopSidecar(sc)
				restartVaultAtOnce(sc)
				require.NoError(sc, sc.vault.AwaitListening(sc.ctx))
			}
		}, nil},
	)
}

func TestOtherClients_PartialProgressIsCompleted(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 5, threshold: 3},
		phase{"a person has entered two good shares", func(sc *scenario) {
			for _, key := range sc.vault.Keys[:2] {
				sc.enterShare(key)
			}
		}, []condition{unsealProgressIs(2)}},
		phase{"the sidecar starts: its third finishes it", startSidecar, []condition{serving(), sharesSent(3)}},
	)
}

// The person goes on for as long as Vault is sealed, a share for each one of
// ours, so that no attempt is left in peace.
func TestOtherClients_SlowManualUnsealDoesNotPreventOurs(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 5, threshold: 3, stallable: true, mountedShares: func(keys []string) []string {
		return []string{keys[0], keys[1], keys[2], randomShare(33)}
	}},
		phase{"a person has begun, and the sidecar starts", func(sc *scenario) {
			setStorage("slow 5ms")(sc)
			sc.enterShare(sc.vault.Keys[4])
			sc.startSidecar()
			for i := 0; ; i++ {
				counted := sc.vault.SharesSent()
				await(sc, condition{"a share of ours", func(sc *scenario) string {
					if s, err := sc.vault.SealStatus(sc.ctx); err == nil && !s.Sealed {
						return ""
					}
					if sc.vault.SharesSent() == counted {
						return "none more"
					}
					return ""
				}})
				// A refusal speaks of the garbage among ours.
				if s, err := sc.vault.Unseal(sc.ctx, sc.vault.Keys[i%5]); err == nil && !s.Sealed {
					return
				}
			}
		}, []condition{serving(), logContains("recovered")}},
	)
}

func TestOtherClients_ManualUnsealWorksWhileKeyIsRejected(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 5, threshold: 3, mountedShares: randomShares(33, 3)},
		phase{"wrong shares are mounted", startSidecar,
			[]condition{phaseIs("key-rejected"), sharesSent(6), unsealProgressIs(0)}}, // in two rounds, see the README's Decisions
		phase{"a person enters the first", enterShare(0), []condition{sendsNothing(), unsealProgressIs(1)}},
		phase{"and the second", enterShare(1), []condition{sendsNothing(), unsealProgressIs(2)}},
		phase{"and the third", enterShare(2), []condition{serving()}},
	)
}

func enterShare(i int) func(sc *scenario) {
	return func(sc *scenario) { sc.enterShare(sc.vault.Keys[i]) }
}

func TestKeys_MissingAtStartAreAwaited(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"no key is mounted", func(sc *scenario) {
			require.NoError(sc, os.RemoveAll(sc.secret.Dir))
			sc.startSidecar()
		}, []condition{phaseIs("no-key"), aliveNotReady(), sendsNothing()}},
		phase{"a malformed one is", func(sc *scenario) {
			require.NoError(sc, os.MkdirAll(sc.secret.Dir, 0o755))
			sc.secrets = append(sc.secrets, "this is no key at all, really")
			require.NoError(sc, sc.secret.Write(map[string]string{"key": "this is no key at all, really\n"}))
		}, []condition{logContains("too short for a share"), phaseIs("no-key"), sendsNothing()}},
		phase{"the right one is, as one hex line with blanks around it", func(sc *scenario) {
			require.NoError(sc, sc.secret.Write(map[string]string{"key": "  " + shareHex(sc.vault.Keys[0]) + " \r\n\n"}))
		}, []condition{serving(), sharesSent(1)}},
	)
}

func TestKeys_SeveralSharesInOneFile(t *testing.T) {
	t.Parallel()
	run(t, setup{shares: 5, threshold: 3},
		phase{"all shares are lines of one file", func(sc *scenario) {
			text := ""
			for _, key := range sc.vault.Keys {
				text += key + "\n"
			}
			require.NoError(sc, sc.secret.Write(map[string]string{"key": text}))
			sc.startSidecar()
		}, []condition{serving(), sharesSent(3)}},
	)
}

func TestKeys_SwapIsNoticedWithinASecond(t *testing.T) {
	t.Parallel()
	sc := run(t, setup{mountedShares: randomShares(32, 1)},
		phase{"a wrong key is mounted", startSidecar, []condition{phaseIs("key-rejected")}},
	)
	began := time.Now()
	mountVaultShares(sc)
	await(sc, logContainsTimes("unseal key is usable", 2))
	assert.Less(t, time.Since(began), time.Second)
	await(sc, serving())
}
