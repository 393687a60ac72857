package unseal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withRejectedKey runs a scenario in which Vault has rejected the mounted key.
func withRejectedKey(t *testing.T, scenario func(h *harness, right Share)) {
	t.Helper()
	inBubble(t, 1, 1, func(h *harness) {
		right := h.keys.shares[0]
		h.keys.mount(wrongKey(1, 32))
		h.vault.begin("p")
		h.start()
		h.advance(time.Second)
		h.expectPhases(Starting, Unsealing, KeyRejected)
		h.expectSent(1)
		scenario(h, right)
	})
}

func TestLoop_SendsAWrongKeyOnce(t *testing.T) {
	t.Run("and nothing more for a day", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, _ Share) {
			before := len(h.logged())
			h.advance(24 * time.Hour)
			h.expectPhases(Starting, Unsealing, KeyRejected)
			h.expectSent(1)
			assert.Len(h, h.logged(), before)
			assert.NotEmpty(h, h.state().Reason)
			assert.NotEmpty(h, h.state().Advice)
			assert.Zero(h, h.keys.inMemory())
		})
	})
	t.Run("until the right one is mounted", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, right Share) {
			h.keys.mount(right)
			began := time.Now()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(2)
			assert.Less(h, h.vault.sentAt[1].Sub(began), time.Second, "without a hint")
		})
	})
	t.Run("until the right one is mounted beside it, which goes out alone", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, right Share) {
			h.keys.mount(h.keys.shares[0], right)
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(2)
		})
	})
	t.Run("and another wrong one is sent once too", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, _ Share) {
			h.keys.mount(wrongKey(2, 32))
			h.advance(time.Hour)
			h.expectPhase(KeyRejected)
			h.expectSent(2)
			h.keys.mount(wrongKey(2, 32)) // written again as it was
			h.advance(time.Hour)
			h.expectSent(2)
		})
	})
	t.Run("once for each process", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, _ Share) {
			for n := range 3 {
				h.vault.end()
				h.advance(time.Second)
				h.vault.begin(string(rune('q' + n)))
				h.advance(time.Hour)
				h.expectPhase(KeyRejected)
				h.expectSent(n + 2)
			}
		})
	})
	t.Run("once for each seal configuration", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, _ Share) {
			h.vault.with(func() { h.vault.status.Shares = 2 })
			h.advance(time.Hour)
			h.expectPhase(KeyRejected)
			h.expectSent(2)
		})
	})
	t.Run("and not again by another sidecar", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, _ Share) {
			for range 3 {
				h.start()
				h.advance(time.Minute)
				h.expectPhase(KeyRejected)
			}
			h.expectSent(1)
		})
	})
	t.Run("and not again after silence and errors", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, _ Share) {
			h.vault.stopAnswering()
			h.advance(time.Minute)
			h.vault.resumeAnswering()
			h.vault.set(&h.vault.statusErr, errStorage)
			h.advance(time.Minute)
			h.vault.set(&h.vault.statusErr, nil)
			h.advance(time.Minute)
			h.expectPhase(KeyRejected)
			h.expectSent(1)
		})
	})
	t.Run("and a manual unseal is left alone", func(t *testing.T) {
		withRejectedKey(t, func(h *harness, _ Share) {
			h.vault.unseal()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(1)
		})
	})
}

func TestLoop_FindsTheRightKeyBesideOldOnes(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.keys.mount(wrongKey(1, 32), h.keys.shares[0], wrongKey(2, 32))
		h.vault.begin("p")
		h.start()
		h.advance(time.Second)
		h.expectPhases(Starting, Unsealing, Activating, Active)
		h.expectSent(2)
		assert.Equal(h, 1, h.loggedTimes(msgRefusedShares))
	})
}

func TestLoop_SendsNoMoreSharesThanTheThreshold(t *testing.T) {
	inBubble(t, 3, 5, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(time.Second)
		h.expectPhase(Active)
		h.expectSent(3)
	})
}

func TestLoop_UnsealsDespiteOneBadShare(t *testing.T) {
	for bad := range 5 {
		t.Run(fmt.Sprintf("share %d", bad), func(t *testing.T) {
			inBubble(t, 3, 5, func(h *harness) {
				shares := slices.Clone(h.keys.shares)
				shares[bad] = wrongKey(1, 33)
				h.keys.mount(shares...)
				h.vault.begin("p")
				h.start()
				h.advance(time.Second)
				h.expectPhase(Active)
				assert.LessOrEqual(h, len(h.vault.sentShares()), 3*5)
				assert.Zero(h, h.loggedTimes(msgInterfered))
			})
		})
	}
}

func TestLoop_TriesAtMostTwentyCombinations(t *testing.T) {
	inBubble(t, 3, 5, func(h *harness) {
		var wrong []Share
		for b := range 12 {
			wrong = append(wrong, wrongKey(byte(b), 33))
		}
		h.keys.mount(wrong...)
		h.vault.begin("p")
		h.start()
		h.advance(4 * time.Minute)
		h.expectPhase(KeyRejected)
		h.expectSent(2 * 20 * 3)
		tried := map[[3]string]int{}
		for three := range slices.Chunk(h.vault.sentShares(), 3) {
			tried[[3]string(three)]++
		}
		assert.Len(h, tried, 20)
		for _, times := range tried {
			assert.Equal(h, 2, times, "each is seen refused in two rounds")
		}
		assert.Equal(h, 20, h.loggedTimes(msgRefusedShares))
		h.start()
		h.advance(4 * time.Minute)
		h.expectSent(2 * 20 * 3)
	})
}

func TestLoop_SendsNoUnusableKeys(t *testing.T) {
	for sentence, mount := range map[string]func(k *fakeKeys){
		"missing":              func(k *fakeKeys) { k.fail("missing") },
		"too few":              func(k *fakeKeys) { k.mount(k.shares[:2]...) },
		"of unequal length":    func(k *fakeKeys) { k.mount(k.shares[0], k.shares[1], shareOf(1, 32)) },
		"too few of one split": func(k *fakeKeys) { k.mount(k.shares[0], k.shares[1], shareOf(1, 17), shareOf(2, 17)) },
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 3, 5, func(h *harness) {
				right := h.keys.shares
				mount(h.keys)
				h.vault.begin("p")
				h.start()
				h.advance(time.Hour)
				h.expectPhases(Starting, NoKey)
				assert.NotEmpty(h, h.state().Reason)
				h.expectSent(0)
				assert.Equal(h, 1, h.loggedTimes(phases[NoKey].Message))

				h.keys.mount(right...)
				h.hint()
				began := time.Now()
				h.advance(5 * time.Second)
				h.expectPhase(Active)
				assert.Less(h, h.vault.sentAt[0].Sub(began), 5*time.Millisecond, "a hint is followed at once")
			})
		})
	}
}

func TestLoop_LogsEachChangeOfTheKeyError(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		right := h.keys.shares
		h.keys.fail("first")
		h.start()
		h.advance(time.Minute)
		assert.Equal(h, "first", h.state().KeyError)
		h.keys.fail("second")
		h.advance(time.Minute)
		assert.Equal(h, "second", h.state().KeyError)
		assert.Zero(h, h.state().Shares)
		h.keys.mount(right...)
		h.advance(time.Minute)
		assert.Empty(h, h.state().KeyError)
		assert.Equal(h, len(right), h.state().Shares)
		assert.Equal(h, 2, h.loggedTimes(msgKeysProblem))
		assert.Equal(h, 1, h.loggedTimes(msgKeysLoaded))
	})
}

// What is mounted beside the shares is logged when it changes, and is no change of
// the key: it ends no hold.
func TestLoop_LogsChangedRemarksAboutTheMount(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		right := h.keys.shares
		remark := func(remarks ...Remark) {
			h.keys.change(right, remarks, nil)
			h.advance(time.Minute)
			assert.Equal(h, remarks, h.state().Remarks)
		}
		h.vault.begin("p")
		h.start()
		h.advance(time.Minute)
		h.vault.seal()
		h.advance(time.Minute)
		h.expectPhase(Held)
		token, note := Remark{Entry: "root", What: "a token", Token: true}, Remark{Entry: "note", What: "empty"}
		remark(token, note)
		remark(token, note)
		assert.Equal(h, 1, h.loggedTimes(msgTokenMounted))
		assert.Equal(h, 1, h.loggedTimes(msgNotShares))
		assert.Contains(h, h.output.String(), "root: a token")
		remark(note)
		assert.Equal(h, 1, h.loggedTimes(msgTokenMounted))
		assert.Equal(h, 2, h.loggedTimes(msgNotShares))
		h.expectPhase(Held)
		h.expectSent(1)

		h.keys.change(nil, []Remark{token, note}, errors.New("root: a token; note: empty"))
		h.advance(time.Minute)
		assert.Equal(h, 2, h.loggedTimes(msgTokenMounted), "it is logged beside an error too")
		assert.Equal(h, 2, h.loggedTimes(msgNotShares), "and the rest is in the error")
	})
}

// The threshold is known after the keys were read, and decides which of them are
// of one key: a sidecar that starts anew knows at once that all were refused.
func TestLoop_ReadsTheKeysForTheThreshold(t *testing.T) {
	inBubble(t, 3, 5, func(h *harness) {
		h.keys.mount(interleave(split(5, 3), split(5, 3))...)
		h.vault.begin("p")
		h.start()
		h.advance(time.Minute)
		h.expectPhase(KeyRejected)
		h.expectSent(2 * 2 * 3)
		h.resetRecords()
		h.start()
		h.advance(time.Second)
		h.expectPhases(KeyRejected, Starting, KeyRejected)
		reads := h.keys.reads
		h.advance(4 * time.Minute)
		assert.Equal(h, reads, h.keys.reads, "they are read for it once")
	})
}

// The keys are another number of others while shares are on their way.
func TestLoop_RestartsAnAttemptWhenTheKeysChange(t *testing.T) {
	for sentence, row := range map[string]struct {
		change func(h *harness, right []Share)
		end    Phase
	}{
		"to fewer":                     {func(h *harness, right []Share) { h.keys.mount(right[:3]...) }, Active},
		"to too few":                   {func(h *harness, right []Share) { h.keys.mount(right[:1]...) }, NoKey},
		"to others":                    {func(h *harness, _ []Share) { h.keys.mount(wrongKey(1, 33), wrongKey(2, 33), wrongKey(3, 33)) }, KeyRejected},
		"to none":                      {func(h *harness, _ []Share) { h.keys.fail("missing") }, NoKey},
		"to the same in another order": {func(h *harness, right []Share) { h.keys.mount(right[4], right[3], right[2], right[1], right[0]) }, Active},
	} {
		for _, n := range []int{1, 2, 3, 4, 5} {
			t.Run(fmt.Sprintf("%s, before share %d", sentence, n), func(t *testing.T) {
				inBubble(t, 3, 5, func(h *harness) {
					right := slices.Clone(h.keys.shares)
					h.keys.mount(right[0], right[1], right[2], wrongKey(7, 33), wrongKey(8, 33)) // too few to be distinguished
					h.vault.beforeShare = func(at int) {
						if at == n {
							row.change(h, right)
							h.hint()
						}
					}
					h.vault.begin("p")
					h.start()
					h.advance(time.Minute)
					h.expectPhase(row.end)
					assert.Zero(h, h.keys.inMemory())
					assert.Zero(h, h.loggedTimes(phases[Failing].Message))
				})
			})
		}
	}
}

func TestLoop_UnsealsWithKeysThatReturnDuringAnAttempt(t *testing.T) {
	inBubble(t, 3, 3, func(h *harness) {
		right := h.keys.shares
		h.vault.hangStorage()
		h.vault.begin("p")
		h.start()
		h.advance(5 * time.Second)
		h.keys.fail("missing")
		h.advance(5 * time.Second)
		assert.Zero(h, h.keys.inMemory(), "what is gone from the mount is gone from memory")
		h.keys.mount(right...)
		h.advance(5 * time.Second)
		h.vault.resumeStorage()
		h.advance(5 * time.Second)
		h.expectPhase(Active)
	})
}

func TestLoop_KeepsSharesInMemoryOnlyDuringAnAttempt(t *testing.T) {
	inBubble(t, 3, 3, func(h *harness) {
		h.start()
		h.advance(time.Minute)
		assert.Zero(h, h.keys.inMemory(), "while Vault is away")
		h.vault.begin("p")
		h.vault.hangStorage()
		h.advance(time.Minute)
		assert.Equal(h, 3, h.keys.inMemory(), "while the unseal hangs")
		h.vault.resumeStorage()
		h.advance(time.Second)
		h.expectPhase(Active)
		assert.Zero(h, h.keys.inMemory(), "once it is unsealed")

		h.vault.begin("q")
		h.vault.set(&h.vault.unsealErr, errStorage)
		h.advance(time.Minute)
		h.expectPhase(Failing)
		assert.Zero(h, h.keys.inMemory(), "between two attempts")

		h.vault.set(&h.vault.unsealErr, nil)
		h.vault.begin("r")
		h.vault.hangStorage()
		h.advance(time.Minute)
		h.vault.with(func() { h.vault.status.Migration = true })
		h.vault.resumeStorage()
		h.advance(time.Minute)
		assert.Zero(h, h.keys.inMemory(), "in the middle of an attempt that is not gone on with")
		h.expectNoMoreSent(time.Hour)
	})
}

func (h *harness) expectNoMoreSent(d time.Duration) {
	h.Helper()
	before := len(h.vault.sentShares())
	h.advance(d)
	h.expectSent(before)
}

func TestLoop_RestartsAnAttemptWhenVaultIsKilled(t *testing.T) {
	for n := 1; n <= 3; n++ {
		t.Run(fmt.Sprintf("before share %d", n), func(t *testing.T) {
			inBubble(t, 3, 3, func(h *harness) {
				h.vault.beforeShare = func(at int) {
					if at == n {
						h.vault.begin("q")
					}
				}
				h.vault.begin("p")
				h.start()
				h.advance(5 * time.Second)
				h.expectPhase(Active)
				h.expectSent(n + 3)
				assert.NotContains(h, h.phases(), Held.String())
				assert.NotContains(h, h.phases(), KeyRejected.String())
			})
		})
	}
}

func TestLoop_RecoversAVaultKilledDuringAHungUnseal(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.hangStorage()
		h.start()
		h.advance(time.Minute)
		h.vault.end()
		h.vault.resumeStorage()
		h.advance(time.Second)
		h.expectPhase(Unreachable)
		h.vault.begin("q")
		h.advance(time.Second)
		h.expectPhase(Active)
		h.expectSent(2)
	})
}

func TestLoop_RetriesABrokenUnsealWithBackoff(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.set(&h.vault.unsealErr, brokenReply.err)
		h.start()
		h.advance(time.Hour)
		assert.Less(h, len(h.vault.sentShares()), retriesPerHour)
		assert.LessOrEqual(h, len(h.logged()), 2*loggedPerHour, "a Vault that flaps does not fill the log")
		assert.Positive(h, h.loggedTimes(msgFlapping))
		assert.LessOrEqual(h, h.loggedTimes(msgFlapping), 3)
		h.vault.set(&h.vault.unsealErr, nil)
		h.advance(2 * time.Minute)
		h.expectPhase(Active)
		assert.Equal(h, []string{phases[Active].Message, msgRecovered}, h.logged()[len(h.logged())-2:], "what lasts is logged after all")
		h.resetRecords()
		h.advance(time.Hour)
		assert.Empty(h, h.logged())
	})
}

func TestLoop_ToleratesForeignShares(t *testing.T) {
	garbage := func(n int) string { return inHex(wrongKey(byte(0xa0+n), 33)) }
	t.Run("whose garbage lay there spoil one attempt", func(t *testing.T) {
		for left := 1; left <= 2; left++ {
			t.Run(fmt.Sprintf("%d shares", left), func(t *testing.T) {
				inBubble(t, 3, 3, func(h *harness) {
					h.vault.begin("p")
					for n := range left {
						h.vault.sendForeign(garbage(n))
					}
					h.start()
					h.advance(time.Second)
					h.expectPhases(Starting, Unsealing, Activating, Active)
					assert.LessOrEqual(h, len(h.vault.sentShares()), 6)
					assert.Zero(h, h.loggedTimes(msgRefusedShares), "our key was not refused")
				})
			})
		}
	})
	t.Run("whose good shares lay there help", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *harness) {
			h.vault.begin("p")
			h.vault.sendForeign(h.vault.right[2])
			h.vault.sendForeign(h.vault.right[1])
			h.start()
			h.advance(time.Second)
			h.expectPhase(Active)
			h.expectSent(1)
		})
	})
	t.Run("who send all the while do not stop a recovery that gets through once", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *harness) {
			h.vault.begin("p")
			h.vault.beforeShare = func(n int) {
				if n < 200 {
					h.vault.sendForeign(garbage(n))
				}
			}
			h.start()
			h.advance(5 * time.Minute)
			h.expectPhase(Active)
			assert.NotContains(h, h.phases(), KeyRejected.String())
			assert.Zero(h, h.loggedTimes(msgRefusedShares))
			assert.Equal(h, 1, h.loggedTimes(msgInterfered))
		})
	})
	t.Run("who were just there make a refusal count only when it is seen again", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *harness) {
			h.keys.mount(wrongKey(1, 33), wrongKey(2, 33), wrongKey(3, 33))
			h.vault.begin("p")
			h.vault.beforeShare = func(n int) {
				if n == 2 {
					h.vault.sendForeign(garbage(n))
				}
			}
			h.start()
			h.advance(4 * time.Minute)
			h.expectPhase(KeyRejected)
			assert.Equal(h, 1, h.loggedTimes(msgInterfered))
			assert.Equal(h, 1, h.loggedTimes(msgRefusedShares))
			sent := len(h.vault.sentShares())
			assert.GreaterOrEqual(h, sent, 2+2*3, "it was seen again")
			assert.LessOrEqual(h, sent, 3+3*3, "and not for ever")
		})
	})
	t.Run("who fill the threshold between two of ours cannot lock us", func(t *testing.T) {
		// In turns, our first share meets two that they left, and our last
		// one does: the second looks just like a refusal of ours.
		inBubble(t, 3, 3, func(h *harness) {
			h.vault.begin("p")
			turn := 0
			h.vault.beforeShare = func(n int) {
				sending := h.vault.sentShares()[n-1]
				if turn < 100 && sending == h.vault.right[turn%2*2] {
					turn++
					h.vault.with(func() { h.vault.parts = []string{garbage(0), garbage(1)} })
				}
			}
			h.start()
			h.advance(5 * time.Minute)
			assert.NotContains(h, h.phases(), KeyRejected.String())
			h.expectPhase(Active)
		})
	})
	t.Run("who fill the gap before our last share unseen cannot lock us", func(t *testing.T) {
		// Two of theirs: the first is refused with ours, and the second makes
		// the count what we expect.
		inBubble(t, 2, 3, func(h *harness) {
			h.vault.begin("p")
			bursts := 0
			h.vault.beforeShare = func(n int) {
				if n%2 == 0 && bursts < 50 {
					bursts++
					h.vault.sendForeign(garbage(1))
					h.vault.sendForeign(garbage(2))
				}
			}
			// Between the rounds they go on, at a pace that some probe meets.
			h.start()
			for range 200 {
				h.advance(100 * time.Millisecond)
				if bursts < 50 && !h.state().Phase.Serving() {
					h.vault.sendForeign(garbage(1))
				}
			}
			h.advance(time.Minute)
			h.expectPhase(Active)
			assert.NotContains(h, h.phases(), KeyRejected.String())
			assert.Zero(h, h.loggedTimes(msgRefusedShares))
		})
	})
	t.Run("who do so once, and are gone, cannot lock us", func(t *testing.T) {
		inBubble(t, 2, 2, func(h *harness) {
			h.vault.begin("p")
			h.vault.beforeShare = func(n int) {
				if n == 2 {
					h.vault.sendForeign(garbage(1))
					h.vault.sendForeign(garbage(2))
				}
			}
			h.start()
			h.advance(5 * time.Second)
			h.expectPhase(Active)
			h.expectSent(4)
		})
	})
	t.Run("who reset our last share away do not make us wait", func(t *testing.T) {
		inBubble(t, 2, 2, func(h *harness) {
			h.vault.begin("p")
			h.vault.resets = 3
			h.start()
			h.advance(2 * time.Second)
			h.expectPhase(Active)
			assert.Zero(h, h.loggedTimes(msgJoining))
		})
	})
	t.Run("who enter shares slowly while we are locked are let be", func(t *testing.T) {
		inBubble(t, 3, 5, func(h *harness) {
			right := h.vault.right
			h.keys.mount(wrongKey(1, 33), wrongKey(2, 33), wrongKey(3, 33))
			h.vault.begin("p")
			h.start()
			h.advance(time.Minute)
			h.expectPhase(KeyRejected)
			h.advance(10 * time.Minute)
			sent := len(h.vault.sentShares())
			for _, share := range right[:3] {
				h.vault.sendForeign(share)
				h.advance(20 * time.Minute)
			}
			h.advance(10 * time.Second)
			h.expectPhase(Active)
			h.expectSent(sent)
		})
	})
	t.Run("who unseal beside us end our attempt", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *harness) {
			h.vault.begin("p")
			h.vault.beforeShare = func(n int) {
				if n == 2 {
					h.vault.unseal()
				}
			}
			h.start()
			h.advance(5 * time.Second)
			h.expectPhases(Starting, Unsealing, Activating, Active)
			h.expectSent(2)
		})
	})
}

func TestLoop_LateUnsealAnswerChangesNoPhase(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.vault.unsealLag = time.Minute
		h.start()
		h.advance(30 * time.Second)
		h.expectPhase(Active)
		h.resetRecords()
		h.advance(time.Hour)
		h.expectPhases(Active)
		assert.Empty(h, h.logged())
		assert.Zero(h, h.keys.inMemory())
	})
}

// The answer to a share and the news of other keys come in the same turn: the
// places of the attempt mean other shares now, or none.
func TestLoop_AppliesAnAnswerAndChangedKeysInOneTurn(t *testing.T) {
	for _, left := range []int{1, 3, 4} {
		t.Run(fmt.Sprintf("%d shares are left", left), func(t *testing.T) {
			inBubble(t, 3, 5, func(h *harness) {
				h.start()
				h.stop() // it is turned by hand
				l, right := h.loop, h.keys.shares
				ctx, cancel := context.WithCancel(h.Context())
				defer cancel()
				l.ctx = ctx
				l.prober.answer, l.process.current, l.prober.status = AnswerSealed, "p", SealStatus{Sealed: true, Type: "shamir", Threshold: 3, Shares: 5}
				l.turn(time.Now())
				require.NotNil(h, l.sender.call)

				h.keys.mount(right[5-left:]...)
				l.keys.next = time.Time{}
				l.handleUnseal(time.Now(), progressed(1, "a").status, nil)
				l.turn(time.Now())
				if left < 3 {
					assert.Equal(h, NoKey.String(), l.phase.String())
					assert.Nil(h, l.sender.call)
				} else {
					assert.Equal(h, 0, l.sender.attempt.sent, "the attempt begins again with the new ones")
				}
				l.keys.wipe()
			})
		})
	}
}

func TestLoop_BacksOffFromAVaultThatReportsAFalseUnseal(t *testing.T) {
	for _, row := range []struct {
		sentence  string
		interrupt func(h *harness)
	}{
		{"and stays connected", func(*harness) {}},
		{"and breaks connections", func(h *harness) {
			h.vault.set(&h.vault.statusErr, fmt.Errorf("connection broken: %w", ErrBroken))
			h.advance(30 * time.Millisecond)
			h.vault.set(&h.vault.statusErr, nil)
			h.hint()
		}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *harness) {
				h.vault.resealsAtOnce = true
				h.vault.begin("p")
				h.start(func(c *Config) { c.HoldSeals = false })
				for range 100 {
					h.advance(100 * time.Millisecond)
					row.interrupt(h)
				}
				sent := len(h.vault.sentShares())
				assert.Greater(h, sent, 3, "it is tried again without end")
				assert.Less(h, sent, 12, "in growing intervals")
				assert.GreaterOrEqual(h, h.vault.sentAt[1].Sub(h.vault.sentAt[0]), 50*time.Millisecond)

				h.vault.with(func() { h.vault.resealsAtOnce = false })
				h.advance(6 * time.Second)
				h.expectPhase(Active)
			})
		})
	}
}

func TestLoop_UnsealsARestartedVaultWithoutBackoff(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.resealsAtOnce = true
		h.vault.begin("p")
		h.start()
		h.advance(10 * time.Second)
		h.vault.with(func() { h.vault.resealsAtOnce = false })
		began := time.Now()
		h.vault.begin("q")
		h.hint()
		h.advance(5 * time.Second)
		h.expectPhase(Active)
		assert.Less(h, h.vault.sentAt[len(h.vault.sentAt)-1].Sub(began), 50*time.Millisecond)
	})
}

func TestLoop_UnsealsAVaultThatServedWithoutBackoff(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start(func(c *Config) { c.HoldSeals = false })
		for n := range 5 {
			h.advance(2 * time.Second)
			h.expectPhase(Active)
			h.vault.seal()
			began := time.Now()
			h.hint()
			h.advance(25 * time.Millisecond)
			h.expectSent(n + 2)
			assert.Less(h, h.vault.sentAt[n+1].Sub(began), 25*time.Millisecond)
		}
	})
}

// Each time that the process wakes costs more than what it does then.
func TestLoop_ChecksTheKeysOfAServingVaultWithItsProbes(t *testing.T) {
	inBubble(t, 1, 1, func(h *harness) {
		h.vault.begin("p")
		h.start()
		h.advance(10 * time.Second)
		h.expectPhase(Active)
		h.keys.mu.Lock()
		before := len(h.keys.stampReads)
		h.keys.mu.Unlock()
		h.advance(time.Minute)
		h.keys.mu.Lock()
		reads := h.keys.stampReads[before:]
		h.keys.mu.Unlock()
		h.vault.mu.Lock()
		asked := h.vault.probedAt
		h.vault.mu.Unlock()
		assert.GreaterOrEqual(h, len(reads), 60, "at least once a second")
		for _, read := range reads {
			assert.True(h, slices.ContainsFunc(asked, read.Equal), "it woke for the keys alone at %v", read)
		}
	})
}
