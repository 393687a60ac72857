package unseal

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoop_UnsealsAVaultThatStarts(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.start()
		h.advance(10 * time.Second)
		h.expectPhases(Starting, Unreachable)
		assert.Equal(h, "connection refused: vault is not reachable", h.state().Reason)
		assert.False(h, h.state().Current.Done)

		h.vault.begin("p")
		began := time.Now()
		h.advance(5 * time.Second)
		h.expectPhases(Starting, Unreachable, Unsealing, Activating, Active)
		h.expectSent(1)
		assert.Less(h, h.vault.sentAt[0].Sub(began), 35*time.Millisecond, "a Vault that listens again is noticed")

		last := h.state().Last
		require.NotNil(h, last)
		assert.True(h, last.Done)
		assert.Nil(h, h.state().Current)
		assert.Len(h, last.Steps, 4)
	})
}

func TestLoop_LogsEachPhaseOnce(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.start()
		for _, process := range []string{"p", "q"} {
			h.vault.end()
			h.advance(10 * time.Minute)
			h.vault.begin(process)
			h.advance(10 * time.Minute)
		}
		assert.Equal(h, []string{
			msgKeysLoaded, msgNoState,
			phases[Unreachable].Message, phases[Unsealing].Message, phases[Activating].Message, phases[Active].Message, msgRecovered,
			phases[Unreachable].Message, phases[Unsealing].Message, phases[Activating].Message, phases[Active].Message, msgRecovered,
		}, sorted(h.logged(), msgKeysLoaded, msgNoState))
		h.expectSent(2)
		assert.Greater(h, h.vault.count(&h.vault.probes), 2*600*25, "it was asked all the time")
	})
}

// sorted puts the given messages first: at the start their order is open.
func sorted(messages []string, first ...string) []string {
	out := append([]string(nil), first...)
next:
	for _, m := range messages {
		for _, f := range first {
			if m == f {
				continue next
			}
		}
		out = append(out, m)
	}
	return out
}

func TestLoop_SlowsItsProbesOfAVaultThatStaysUnreachable(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.start()
		h.advance(10 * time.Second)
		young := h.vault.count(&h.vault.probes)
		assert.Greater(h, young, 10*50)
		assert.LessOrEqual(h, young, 10*100)

		h.advance(15 * time.Minute)
		before := h.vault.count(&h.vault.probes)
		h.advance(100 * time.Second)
		assert.InDelta(h, 100, h.vault.count(&h.vault.probes)-before, 12)
	})
}

func TestLoop_KeepsAtMostThreeProbesInFlight(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.stopAnswering()
		h.start()
		h.advance(1900 * time.Millisecond)
		h.expectPhases(Starting)
		h.advance(time.Hour)
		h.expectPhases(Starting, Unresponsive)
		assert.Equal(h, 3, h.vault.count(&h.vault.maxInFlight))
		assert.Equal(h, 3, h.vault.count(&h.vault.probes), "those that wait are left open")

		began := time.Now()
		h.vault.resumeAnswering()
		h.advance(time.Minute)
		h.expectPhases(Starting, Unresponsive, Unsealing, Activating, Active)
		assert.Less(h, h.vault.sentAt[0].Sub(began), 5*time.Millisecond, "an open probe is the fastest notice")
		h.expectSent(1)
	})
}

func TestLoop_IgnoresALateAnswer(t *testing.T) {
	l := New(Config{Log: nopLogger, Processes: newFakeVault(1), Store: &fakeStore{}})
	l.ctx = t.Context()
	reported := 0
	start := func() *call {
		return l.start(time.Now(), func(context.Context) func() { return func() { reported++ } })
	}
	start()
	(<-l.reports)()
	assert.Equal(t, 1, reported)
	late := start()
	report := <-l.reports
	late.drop()
	report()
	assert.Equal(t, 1, reported, "of a call that was dropped when its answer was there")

	second := start()
	l.prober.inFlight = []*call{start(), second}
	l.handleProbe(time.Now(), probeResult{answer: AnswerUnsealed, process: "p"})
	assert.Equal(t, AnswerUnsealed, l.prober.answer)
	assert.Equal(t, "p", l.saved.Unsealed)
	assert.Empty(t, l.prober.inFlight)
	assert.True(t, second.dropped, "the first answer won")
	l.sender.call, l.storage.call = start(), start()
	unseal, lookup := l.sender.call, l.storage.call
	l.resetAttempt()
	l.storageState(time.Now())
	assert.True(t, unseal.dropped)
	assert.True(t, lookup.dropped)
}

// Vault reads its sealed flag before it waits for its lock: probes that hung
// beside an unseal say "sealed" after it.
func TestLoop_LateSealStatusIsNoManualSeal(t *testing.T) {
	for _, lag := range []struct{ status, unseal time.Duration }{
		{0, 0}, {5 * time.Millisecond, 0}, {0, 5 * time.Millisecond}, {time.Second, 0}, {0, time.Second}, {3 * time.Second, 0}, {1500 * time.Millisecond, 1500 * time.Millisecond},
	} {
		for _, threshold := range []int{1, 3} {
			t.Run(fmt.Sprintf("status %v late, unseal %v late, threshold %d", lag.status, lag.unseal, threshold), func(t *testing.T) {
				inBubble(t, threshold, threshold, func(h *harness) {
					h.vault.begin("p")
					h.start()
					h.vault.hangStorage()
					h.advance(time.Minute)
					h.vault.with(func() { h.vault.statusLag, h.vault.unsealLag = lag.status, lag.unseal })
					h.vault.resumeStorage()
					h.advance(100 * time.Millisecond)
					h.vault.with(func() { h.vault.statusLag, h.vault.unsealLag = 0, 0 })
					h.advance(time.Minute)
					h.expectPhase(Active)
					assert.NotContains(h, h.phases(), Held.String())
					assert.LessOrEqual(h, len(h.vault.sentShares()), threshold+1)
				})
			})
		}
	}
}

func TestLoop_NeitherCancelsNorRepeatsAHungUnseal(t *testing.T) {
	for _, threshold := range []int{1, 3} {
		t.Run(fmt.Sprintf("threshold %d", threshold), func(t *testing.T) {
			inBubble(t, threshold, threshold, func(h *harness) {
				h.vault.begin("p")
				h.vault.hangStorage()
				h.start()
				h.advance(6 * time.Hour)
				h.expectPhases(Starting, Unsealing, UnsealHanging)
				h.expectSent(1)
				assert.LessOrEqual(h, h.vault.count(&h.vault.maxInFlight), 3)

				h.vault.resumeStorage()
				h.advance(time.Second)
				h.expectPhase(Active)
				h.expectSent(threshold)
				assert.Zero(h, h.vault.count(&h.vault.abandoned))
				assert.Equal(h, 1, h.loggedTimes(phases[UnsealHanging].Message))
			})
		})
	}
}

func TestLoop_RetriesAFailedUnsealWithBackoff(t *testing.T) {
	for _, threshold := range []int{1, 3} {
		t.Run(fmt.Sprintf("threshold %d", threshold), func(t *testing.T) {
			inBubble(t, threshold, threshold, func(h *harness) {
				h.vault.begin("p")
				h.vault.set(&h.vault.unsealErr, errStorage)
				h.start()
				h.advance(3 * time.Hour)
				h.expectPhases(Starting, Unsealing, Failing)
				assert.Equal(h, errStorage.Error(), h.state().Reason)
				assert.LessOrEqual(h, len(h.logged()), 5, "%q", h.logged())
				sent := len(h.vault.sentShares())
				for n := 20; n < sent; n++ {
					wait := 0.9
					if n > fastRetries {
						wait = 4.5
					}
					assert.InDelta(h, wait, h.vault.sentAt[n].Sub(h.vault.sentAt[n-1]).Seconds(), 0.6)
				}
				assert.Greater(h, h.vault.sentAt[fastRetries].Sub(h.vault.sentAt[0]), fastPollWindow)
				assert.Less(h, h.vault.sentAt[1].Sub(h.vault.sentAt[0]), 80*time.Millisecond, "the first retry comes soon")

				h.vault.set(&h.vault.unsealErr, nil)
				h.advance(10 * time.Second)
				h.expectPhases(Starting, Unsealing, Failing, Activating, Active)
			})
		})
	}
}

// A changed key is tried at once. Its failures must not delay the unseal once storage is back.
func TestLoop_KeysThatChangeWhileVaultFailsDelayNothing(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.set(&h.vault.unsealErr, errStorage)
		h.start()
		right := h.keys.shares[0]
		for n := range 20 {
			h.keys.mount(wrongKey(byte(n), 32))
			h.advance(time.Second)
		}
		h.keys.mount(right)
		h.advance(time.Second)
		h.expectPhase(Failing)
		h.vault.set(&h.vault.unsealErr, nil)
		h.advance(1100 * time.Millisecond)
		h.expectPhase(Active)
	})
}

func TestLoop_SealStatusErrorIsFailing(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.set(&h.vault.statusErr, errStorage)
		h.start()
		h.advance(time.Hour)
		h.expectPhases(Starting, Failing)
		h.expectSent(0)
		assert.Equal(h, 1, h.loggedTimes(phases[Failing].Message))
		h.vault.set(&h.vault.statusErr, nil)
		h.advance(2 * time.Second)
		h.expectPhases(Starting, Failing, Unsealing, Activating, Active)
	})
}

func TestLoop_HealthErrorBesideAGoodSealStatusIsFailing(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(time.Second)
		h.expectPhase(Active)
		h.resetRecords()
		h.vault.set(&h.vault.healthErr, errStorage)
		h.advance(time.Hour)
		h.expectPhases(Active, Failing)
		h.vault.set(&h.vault.healthErr, nil)
		h.advance(2 * time.Second)
		h.expectPhases(Active, Failing, Active)
		h.expectSent(1)
	})
}

func TestLoop_StopsAtOnceDuringAHang(t *testing.T) {
	for sentence, prepare := range map[string]func(v *fakeVault){
		"no listener":       func(v *fakeVault) { v.end() },
		"Vault is silent":   func(v *fakeVault) { v.stopAnswering() },
		"the unseal hangs":  func(v *fakeVault) { v.hangStorage() },
		"the storage hangs": func(v *fakeVault) { v.unseal(); v.hangStorage() },
		"all is well":       func(*fakeVault) {},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 3, 3, func(h *harness) {
				h.vault.begin("p")
				prepare(h.vault)
				h.start()
				h.advance(time.Minute)
				began := time.Now()
				h.stop() // and the bubble ends only when every goroutine did
				assert.Zero(h, time.Since(began))
				assert.Zero(h, h.keys.inMemory())
			})
		})
	}
}

func TestLoop_TurnsEverySecondInEachStateOfVault(t *testing.T) {
	for sentence, prepare := range map[string]func(v *fakeVault){
		"no listener":     func(v *fakeVault) { v.end() },
		"Vault is silent": func(v *fakeVault) { v.stopAnswering() },
		"the kernel is slow to say who listens, too": func(v *fakeVault) {
			v.stopAnswering()
			v.processTook = 30 * time.Second
		},
		"the unseal hangs": func(v *fakeVault) { v.hangStorage() },
		"all is well":      func(*fakeVault) {},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.vault.begin("p")
				prepare(h.vault)
				h.start()
				for range 1000 {
					h.advance(777 * time.Millisecond)
					require.LessOrEqual(h, h.loop.Turned(), time.Second)
				}
			})
		})
	}
}

func TestLoop_WaitsForInitialization(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.with(func() { h.vault.status.Initialized = false })
		h.start()
		h.advance(time.Hour)
		h.expectPhases(Starting, Uninitialized)
		h.expectSent(0)
		h.vault.with(func() { h.vault.status.Initialized = true })
		h.advance(2 * time.Second)
		h.expectPhases(Starting, Uninitialized, Unsealing, Activating, Active)
	})
}

func TestLoop_SendsNothingToAnUnsupportedSeal(t *testing.T) {
	for sentence, change := range map[string]func(s *SealStatus){
		"another seal unseals by itself": func(s *SealStatus) { s.Type = "awskms" },
		"its shares are recovery keys":   func(s *SealStatus) { s.Recovery = true },
		"a seal migration is under way":  func(s *SealStatus) { s.Migration = true },
		"the node was removed":           func(s *SealStatus) { s.Removed = true },
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.vault.begin("p")
				h.vault.with(func() { change(&h.vault.status) })
				h.start()
				h.advance(time.Hour)
				h.expectPhases(Starting, LeftAlone)
				assert.NotEmpty(h, h.state().Reason)
				h.expectSent(0)
				h.vault.unseal()
				h.advance(2 * time.Second)
				h.expectPhase(Active)
				h.expectSent(0)
			})
		})
	}
}

func TestLoop_ReportsAStandbyAsServing(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.with(func() { h.vault.standby = true })
		h.start()
		h.advance(time.Hour)
		h.expectPhases(Starting, Unsealing, Activating, Standby)
		assert.Empty(h, h.vault.lookups, "a standby would pass the lookup on")
		h.resetRecords()
		h.vault.with(func() { h.vault.standby = false })
		h.advance(time.Minute)
		h.expectPhases(Standby, Active)
		assert.Equal(h, []string{phases[Active].Message}, h.logged(), "nothing recovered")
	})
}

func TestLoop_SendsAllSharesToAJoiningRaftNode(t *testing.T) {
	inBubble(t, 3, 3, func(h *harness) {
		h.vault.begin("p")
		h.vault.with(func() { h.vault.status.Threshold, h.vault.status.Shares = 0, 0 })
		h.start()
		h.advance(500 * time.Millisecond)
		h.expectSent(3)
		assert.Equal(h, []string{h.vault.right[2], h.vault.right[1], h.vault.right[0]}, h.vault.sentShares())
		h.advance(time.Hour)
		sent := len(h.vault.sentShares())
		assert.Less(h, sent, 3*3600/4+30, "it is not flooded while it joins")
		assert.Greater(h, sent, 3*3600/5-30)
		assert.Zero(h, h.loggedTimes(msgInterfered), "there was no interference")
		h.expectPhases(Starting, Unsealing)

		h.vault.with(func() { h.vault.status.Threshold, h.vault.status.Shares, h.vault.parts = 3, 3, nil })
		h.advance(10 * time.Second)
		h.expectPhase(Active)
	})
}

func TestLoop_SendsTheNextKeyToAJoiningRaftNodeAfterARejection(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		right := h.vault.right[0]
		h.keys.mount(h.keys.shares[0], wrongKey(9, 32))
		h.vault.with(func() {
			h.vault.status.Threshold, h.vault.status.Shares = 0, 0
			h.vault.verifiesEachShare = true
		})
		h.start()
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		assert.Equal(h, right, h.vault.sentShares()[1])
		h.expectSent(2)
	})
}

// Sent the key again while it joins, Vault would go through its unseal twice,
// and then two standbys run in one process.
func TestLoop_WaitsForARaftNodeThatAcceptedTheKey(t *testing.T) {
	for sentence, n := range map[string]int{"the whole key": 1, "three shares": 3} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, n, n, func(h *harness) {
				h.vault.begin("p")
				h.vault.with(func() { h.vault.joinDelay, h.vault.standby, h.vault.status.Raft = 20*time.Second, true, true })
				h.start()
				h.advance(19 * time.Second)
				h.expectPhase(Unsealing)
				h.advance(3 * time.Second)
				h.expectPhase(Standby)
				h.expectSent(n)
				assert.Equal(h, 1, h.loggedTimes(msgJoining))
				assert.Zero(h, h.loggedTimes(msgInterfered))
			})
		})
	}
	t.Run("a join that comes to nothing is begun again", func(t *testing.T) {
		inBubble(t, 1, 1, func(h *harness) {
			h.vault.begin("p")
			h.vault.with(func() { h.vault.joinDelay, h.vault.status.Raft = 2*time.Hour, true })
			h.start()
			h.advance(10*time.Minute + time.Second)
			assert.Equal(h, 20+1, h.vault.count(&h.vault.joins))
		})
	})
}

// A foreign process in the place of Vault is not sent the key, which the reason says, and
// Vault is once it is back.
func TestLoop_SendsAWithheldKeyOnceVaultIsBack(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("foreign")
		h.vault.set(&h.vault.unsealErr, fmt.Errorf("it runs as uid 7: correct --vault-uid: %w", ErrWithheld))
		h.start()
		h.advance(time.Minute)
		h.expectPhase(Failing)
		assert.Contains(t, h.state().Reason, "it runs as uid 7")
		assert.Empty(t, h.state().Advice, "the reason has it")
		assert.Equal(t, 1, h.loggedTimes(phases[Failing].Message))
		assert.Less(t, len(h.vault.sentShares()), 40)
		h.vault.set(&h.vault.unsealErr, nil)
		h.vault.begin("vault")
		h.advance(2 * time.Second)
		h.expectPhase(Active)
	})
}
