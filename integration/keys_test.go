package integration

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func onlyGarbage(length, count int) func([]string) []string {
	return func([]string) []string {
		var shares []string
		for range count {
			shares = append(shares, garbage(length))
		}
		return shares
	}
}

func TestWrongKeyThenTheRightOne(t *testing.T) {
	t.Parallel()
	play(t, home{mount: onlyGarbage(32, 1)},
		phase{"a wrong key is mounted: it is sent once", startSidecar,
			[]expectation{phaseIs("key-rejected"), sent(1), leavesVaultAlone(), logs("vault rejected the key")}},
		phase{"the sidecar restarts: it remembers", all(stopSidecar, startSidecar),
			[]expectation{phaseIs("key-rejected"), leavesVaultAlone(), sent(0)}},
		phase{"the right key is swapped in", mountVaultsShares, []expectation{serving(), sent(1)}},
	)
}

func TestWrongKeyIsTriedAgainWithANewVaultProcess(t *testing.T) {
	t.Parallel()
	play(t, home{mount: onlyGarbage(32, 1)},
		phase{"a wrong key is mounted", startSidecar, []expectation{phaseIs("key-rejected"), sent(1)}},
		phase{"vault restarts", restartVaultAtOnce, []expectation{sent(1), phaseIs("key-rejected"), leavesVaultAlone()}},
	)
}

func TestOneBadShareAmongGoodOnes(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 5, threshold: 3, mount: func(keys []string) []string {
		return []string{keys[0], garbage(33), keys[2], keys[3], keys[4]}
	}},
		phase{"the sidecar starts: it is not sent", startSidecar, []expectation{serving(), sent(3)}},
	)
}

func TestOldAndNewKeySideBySide(t *testing.T) {
	t.Parallel()
	play(t, home{mount: func(keys []string) []string { return []string{keys[0], garbage(32)} }},
		phase{"the later one is tried first", startSidecar, []expectation{serving(), sent(2)}},
	)
}

func TestTooFewSharesAreNotSent(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 5, threshold: 3, mount: func(keys []string) []string { return keys[:2] }},
		phase{"two of three are mounted", startSidecar,
			[]expectation{phaseIs("no-key"), leavesVaultAlone(), sent(0)}},
		phase{"a person enters the third and our two, slowly", func(w *world) {
			for _, key := range w.vault.Keys[2:] {
				if s := w.enterShare(key); !s.Sealed {
					return
				}
				await(w, leavesVaultAlone())
			}
		}, []expectation{serving()}},
	)
}

func TestTooFewSharesAreToldWhileVaultIsOpen(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 3, threshold: 2, mount: func(keys []string) []string { return keys[:1] }},
		phase{"one of two is mounted, and a person opens vault", all(startSidecar, unsealByHand), []expectation{
			serving(), keyError("1 of the 2 shares that the threshold needs are mounted"),
			measures("vault_unseal_sidecar_key_usable 0"), measures("vault_unseal_sidecar_key_shares 1"),
			logs("unseal key cannot be used"),
		}},
		phase{"all are", mountVaultsShares, []expectation{keyError(""), measures("vault_unseal_sidecar_key_usable 1")}},
		phase{"vault takes others now, and more of them", rekey(5, 4), []expectation{
			within(90*time.Second, keyError("3 of the 4 shares that the threshold needs are mounted")),
		}},
		phase{"they are mounted", mountVaultsShares, []expectation{keyError(""), serving(), measures("vault_unseal_sidecar_key_shares 5")}},
		phase{"vault restarts", restartVaultAtOnce, []expectation{sent(4), serving(), keyError("")}},
	)
}

// keyError expects what /status says is wrong with the mounted key.
func keyError(want string) expectation {
	return expectation{fmt.Sprintf("the error of the key to be %q", want), func(w *world) string {
		s, err := w.sidecar.Status(w.ctx)
		switch {
		case err != nil:
			return err.Error()
		case s.KeyError != want:
			return fmt.Sprintf("it is %q", s.KeyError)
		}
		return ""
	}}
}

func TestSharesOfUnequalLengthAreNotSent(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 3, threshold: 3, mount: func(keys []string) []string {
		return []string{keys[0], keys[1], garbage(32)}
	}},
		phase{"one share is shorter", startSidecar,
			[]expectation{phaseIs("no-key"), leavesVaultAlone(), sent(0)}},
	)
}

// await waits for one more expectation inside a step.
func await(w *world, e expectation) {
	w.Helper()
	require.NoError(w, awaitErr(w, e))
}

func TestGarbageLeftByAStranger(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]int{"one share": 1, "two shares": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, home{shares: 5, threshold: 3},
				phase{"garbage lies in vault", func(w *world) {
					for range left {
						w.enterShare(garbage(33))
					}
				}, []expectation{progress(left)}},
				phase{"the sidecar starts", startSidecar, []expectation{serving()}},
			)
		})
	}
}

func TestGarbageSentAllTheWhile(t *testing.T) {
	t.Parallel()
	for name, flood := range map[string]struct{ senders, shares, threshold int }{
		"by one":     {1, 5, 3},
		"by several": {6, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, home{shares: flood.shares, threshold: flood.threshold},
				phase{"strangers send garbage without end", func(w *world) {
					ctx, cancel := context.WithCancel(w.ctx)
					w.Cleanup(cancel)
					for range flood.senders {
						go sendGarbage(ctx, w.vault)
					}
					await(w, expectation{"them to be heard", func(w *world) string {
						if n := w.vault.SharesSent(); n < 10 {
							return fmt.Sprint(n, " shares")
						}
						return ""
					}})
					w.startSidecar()
				}, []expectation{serving()}},
			)
		})
	}
}

// sendGarbage sends share after share, as fast as Vault answers, until Vault
// is open.
func sendGarbage(ctx context.Context, v *testenv.Vault) {
	for ctx.Err() == nil {
		if s, err := v.Unseal(ctx, garbage(33)); err == nil && !s.Sealed {
			return
		}
	}
}

// A stranger's flood must not make a good key look wrong, for that would lock
// it out for good. Ten times, because it takes a share at just the right time.
func TestAFloodLocksNobodyOut(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 3, threshold: 2},
		phase{"a sidecar starts, and again, under a flood", func(w *world) {
			ctx, cancel := context.WithCancel(w.ctx)
			w.Cleanup(cancel)
			for range 10 {
				for range 6 {
					go sendGarbage(ctx, w.vault)
				}
				w.startSidecar()
				await(w, serving())
				require.NotContains(w, w.sidecar.Output(), "vault refused")
				stopSidecar(w)
				restartVaultAtOnce(w)
				require.NoError(w, w.vault.AwaitListening(w.ctx))
			}
		}, nil},
	)
}

func TestAPersonHalfwayThrough(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 5, threshold: 3},
		phase{"a person has entered two good shares", func(w *world) {
			for _, key := range w.vault.Keys[:2] {
				w.enterShare(key)
			}
		}, []expectation{progress(2)}},
		phase{"the sidecar starts: its third finishes it", startSidecar, []expectation{serving(), sent(3)}},
	)
}

// The person goes on for as long as Vault is sealed, a share for each one of
// ours, so that no attempt is left in peace.
func TestAPersonEntersSharesSlowlyBesideUs(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 5, threshold: 3, gated: true, mount: func(keys []string) []string {
		return []string{keys[0], keys[1], keys[2], garbage(33)}
	}},
		phase{"a person has begun, and the sidecar starts", func(w *world) {
			storage("slow 5ms")(w)
			w.enterShare(w.vault.Keys[4])
			w.startSidecar()
			for i := 0; ; i++ {
				counted := w.vault.SharesSent()
				await(w, expectation{"a share of ours", func(w *world) string {
					if s, err := w.vault.SealStatus(w.ctx); err == nil && !s.Sealed {
						return ""
					}
					if w.vault.SharesSent() == counted {
						return "none more"
					}
					return ""
				}})
				// A refusal speaks of the garbage among ours.
				if s, err := w.vault.Unseal(w.ctx, w.vault.Keys[i%5]); err == nil && !s.Sealed {
					return
				}
			}
		}, []expectation{serving(), logs("recovered")}},
	)
}

func TestAPersonEntersSharesWhileWeAreLocked(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 5, threshold: 3, mount: onlyGarbage(33, 3)},
		phase{"wrong shares are mounted", startSidecar,
			[]expectation{phaseIs("key-rejected"), sent(6), progress(0)}}, // in two rounds, see the README's Decisions
		phase{"a person enters the first", enter(0), []expectation{leavesVaultAlone(), progress(1)}},
		phase{"and the second", enter(1), []expectation{leavesVaultAlone(), progress(2)}},
		phase{"and the third", enter(2), []expectation{serving()}},
	)
}

func enter(i int) func(w *world) {
	return func(w *world) { w.enterShare(w.vault.Keys[i]) }
}

func TestKeysMissingAtFirst(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"no key is mounted", func(w *world) {
			require.NoError(w, os.RemoveAll(w.secret.Dir))
			w.startSidecar()
		}, []expectation{phaseIs("no-key"), aliveNotReady(), leavesVaultAlone()}},
		phase{"a malformed one is", func(w *world) {
			require.NoError(w, os.MkdirAll(w.secret.Dir, 0o755))
			w.secrets = append(w.secrets, "this is no key at all, really")
			require.NoError(w, w.secret.Write(map[string]string{"key": "this is no key at all, really\n"}))
		}, []expectation{logs("too short for a share"), phaseIs("no-key"), leavesVaultAlone()}},
		phase{"the right one is, as one hex line with blanks around it", func(w *world) {
			require.NoError(w, w.secret.Write(map[string]string{"key": "  " + hexOf(w.vault.Keys[0]) + " \r\n\n"}))
		}, []expectation{serving(), sent(1)}},
	)
}

func TestSeveralSharesInOneFile(t *testing.T) {
	t.Parallel()
	play(t, home{shares: 5, threshold: 3},
		phase{"all shares are lines of one file", func(w *world) {
			text := ""
			for _, key := range w.vault.Keys {
				text += key + "\n"
			}
			require.NoError(w, w.secret.Write(map[string]string{"key": text}))
			w.startSidecar()
		}, []expectation{serving(), sent(3)}},
	)
}

func TestASwapIsSeenWithinASecond(t *testing.T) {
	t.Parallel()
	w := play(t, home{mount: onlyGarbage(32, 1)},
		phase{"a wrong key is mounted", startSidecar, []expectation{phaseIs("key-rejected")}},
	)
	began := time.Now()
	mountVaultsShares(w)
	await(w, logsTimes("unseal key is usable", 2))
	assert.Less(t, time.Since(began), time.Second)
	await(w, serving())
}
