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

// locked is a home whose key Vault refused.
func locked(t *testing.T, scene func(h *home, right Share)) {
	t.Helper()
	inBubble(t, 1, 1, func(h *home) {
		right := h.keys.shares[0]
		h.keys.mount(wrongKey(1, 32))
		h.vault.begin("p")
		h.start()
		h.goOn(time.Second)
		h.expectPhases(Starting, Unsealing, KeyRejected)
		h.expectSent(1)
		scene(h, right)
	})
}

func TestAWrongKeyIsSentOnce(t *testing.T) {
	t.Run("and nothing more for a day", func(t *testing.T) {
		locked(t, func(h *home, _ Share) {
			before := len(h.logged())
			h.goOn(24 * time.Hour)
			h.expectPhases(Starting, Unsealing, KeyRejected)
			h.expectSent(1)
			assert.Len(h, h.logged(), before)
			assert.NotEmpty(h, h.state().Reason)
			assert.NotEmpty(h, h.state().Advice)
			assert.Zero(h, h.keys.inMemory())
		})
	})
	t.Run("until the right one is mounted", func(t *testing.T) {
		locked(t, func(h *home, right Share) {
			h.keys.mount(right)
			began := time.Now()
			h.goOn(5 * time.Second)
			h.expect(Active)
			h.expectSent(2)
			assert.Less(h, h.vault.sentAt[1].Sub(began), time.Second, "without a hint")
		})
	})
	t.Run("until the right one is mounted beside it, which goes out alone", func(t *testing.T) {
		locked(t, func(h *home, right Share) {
			h.keys.mount(h.keys.shares[0], right)
			h.goOn(5 * time.Second)
			h.expect(Active)
			h.expectSent(2)
		})
	})
	t.Run("and another wrong one is sent once too", func(t *testing.T) {
		locked(t, func(h *home, _ Share) {
			h.keys.mount(wrongKey(2, 32))
			h.goOn(time.Hour)
			h.expect(KeyRejected)
			h.expectSent(2)
			h.keys.mount(wrongKey(2, 32)) // written again as it was
			h.goOn(time.Hour)
			h.expectSent(2)
		})
	})
	t.Run("once for each process", func(t *testing.T) {
		locked(t, func(h *home, _ Share) {
			for n := range 3 {
				h.vault.end()
				h.goOn(time.Second)
				h.vault.begin(string(rune('q' + n)))
				h.goOn(time.Hour)
				h.expect(KeyRejected)
				h.expectSent(n + 2)
			}
		})
	})
	t.Run("once for each seal configuration", func(t *testing.T) {
		locked(t, func(h *home, _ Share) {
			h.vault.with(func() { h.vault.status.Shares = 2 })
			h.goOn(time.Hour)
			h.expect(KeyRejected)
			h.expectSent(2)
		})
	})
	t.Run("and not again by another sidecar", func(t *testing.T) {
		locked(t, func(h *home, _ Share) {
			for range 3 {
				h.start()
				h.goOn(time.Minute)
				h.expect(KeyRejected)
			}
			h.expectSent(1)
		})
	})
	t.Run("and not again after silence and errors", func(t *testing.T) {
		locked(t, func(h *home, _ Share) {
			h.vault.mute()
			h.goOn(time.Minute)
			h.vault.speak()
			h.vault.set(&h.vault.statusErr, errStorage)
			h.goOn(time.Minute)
			h.vault.set(&h.vault.statusErr, nil)
			h.goOn(time.Minute)
			h.expect(KeyRejected)
			h.expectSent(1)
		})
	})
	t.Run("and somebody who unseals by hand is let be", func(t *testing.T) {
		locked(t, func(h *home, _ Share) {
			h.vault.unseal()
			h.goOn(5 * time.Second)
			h.expect(Active)
			h.expectSent(1)
		})
	})
}

func TestOldAndNewKeySideBySide(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.keys.mount(wrongKey(1, 32), h.keys.shares[0], wrongKey(2, 32))
		h.vault.begin("p")
		h.start()
		h.goOn(time.Second)
		h.expectPhases(Starting, Unsealing, Activating, Active)
		h.expectSent(2)
		assert.Equal(h, 1, h.loggedTimes(msgRefusedShares))
	})
}

func TestNoMoreSharesThanAreNeeded(t *testing.T) {
	inBubble(t, 3, 5, func(h *home) {
		h.vault.begin("p")
		h.start()
		h.goOn(time.Second)
		h.expect(Active)
		h.expectSent(3)
	})
}

func TestOneBadShareAmongGoodOnes(t *testing.T) {
	for bad := range 5 {
		inBubble(t, 3, 5, func(h *home) {
			shares := slices.Clone(h.keys.shares)
			shares[bad] = wrongKey(1, 33)
			h.keys.mount(shares...)
			h.vault.begin("p")
			h.start()
			h.goOn(time.Second)
			h.expect(Active)
			assert.LessOrEqual(h, len(h.vault.sends()), 3*5)
			assert.Zero(h, h.loggedTimes(msgDisturbed))
		})
	}
}

func TestAtMostTwentyCombinationsAreTried(t *testing.T) {
	inBubble(t, 3, 5, func(h *home) {
		var wrong []Share
		for b := range 12 {
			wrong = append(wrong, wrongKey(byte(b), 33))
		}
		h.keys.mount(wrong...)
		h.vault.begin("p")
		h.start()
		h.goOn(4 * time.Minute)
		h.expect(KeyRejected)
		h.expectSent(2 * 20 * 3)
		tried := map[[3]string]int{}
		for three := range slices.Chunk(h.vault.sends(), 3) {
			tried[[3]string(three)]++
		}
		assert.Len(h, tried, 20)
		for _, times := range tried {
			assert.Equal(h, 2, times, "each is seen refused in two rounds")
		}
		assert.Equal(h, 20, h.loggedTimes(msgRefusedShares))
		h.start()
		h.goOn(4 * time.Minute)
		h.expectSent(2 * 20 * 3)
	})
}

func TestKeysThatCannotBeRightAreNotSent(t *testing.T) {
	for sentence, mount := range map[string]func(k *fakeKeys){
		"missing":              func(k *fakeKeys) { k.fail("missing") },
		"too few":              func(k *fakeKeys) { k.mount(k.shares[:2]...) },
		"of unequal length":    func(k *fakeKeys) { k.mount(k.shares[0], k.shares[1], shareOf(1, 32)) },
		"too few of one split": func(k *fakeKeys) { k.mount(k.shares[0], k.shares[1], shareOf(1, 17), shareOf(2, 17)) },
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, 3, 5, func(h *home) {
				right := h.keys.shares
				mount(h.keys)
				h.vault.begin("p")
				h.start()
				h.goOn(time.Hour)
				h.expectPhases(Starting, NoKey)
				assert.NotEmpty(h, h.state().Reason)
				h.expectSent(0)
				assert.Equal(h, 1, h.loggedTimes(phases[NoKey].Message))

				h.keys.mount(right...)
				h.hint()
				began := time.Now()
				h.goOn(5 * time.Second)
				h.expect(Active)
				assert.Less(h, h.vault.sentAt[0].Sub(began), 5*time.Millisecond, "a hint is followed at once")
			})
		})
	}
}

func TestKeyTroubleIsToldAsItChanges(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		right := h.keys.shares
		h.keys.fail("first")
		h.start()
		h.goOn(time.Minute)
		assert.Equal(h, "first", h.state().KeyError)
		h.keys.fail("second")
		h.goOn(time.Minute)
		assert.Equal(h, "second", h.state().KeyError)
		assert.Zero(h, h.state().Shares)
		h.keys.mount(right...)
		h.goOn(time.Minute)
		assert.Empty(h, h.state().KeyError)
		assert.Equal(h, len(right), h.state().Shares)
		assert.Equal(h, 2, h.loggedTimes(msgKeysProblem))
		assert.Equal(h, 1, h.loggedTimes(msgKeysLoaded))
	})
}

// What is mounted beside the shares is told when it changes, and is no change of
// the key: it ends no hold.
func TestLoop_TellsWhatIsMountedBesideTheShares(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		right := h.keys.shares
		remark := func(remarks ...Remark) {
			h.keys.change(right, remarks, nil)
			h.goOn(time.Minute)
			assert.Equal(h, remarks, h.state().Remarks)
		}
		h.vault.begin("p")
		h.start()
		h.goOn(time.Minute)
		h.vault.seal()
		h.goOn(time.Minute)
		h.expect(Held)
		token, note := Remark{Entry: "root", What: "a token", Token: true}, Remark{Entry: "note", What: "empty"}
		remark(token, note)
		remark(token, note)
		assert.Equal(h, 1, h.loggedTimes(msgToken))
		assert.Equal(h, 1, h.loggedTimes(msgNoShare))
		assert.Contains(h, h.output.String(), "root: a token")
		remark(note)
		assert.Equal(h, 1, h.loggedTimes(msgToken))
		assert.Equal(h, 2, h.loggedTimes(msgNoShare))
		h.expect(Held)
		h.expectSent(1)

		h.keys.change(nil, []Remark{token, note}, errors.New("root: a token; note: empty"))
		h.goOn(time.Minute)
		assert.Equal(h, 2, h.loggedTimes(msgToken), "it is told beside an error too")
		assert.Equal(h, 2, h.loggedTimes(msgNoShare), "and the rest is in the error")
	})
}

// The threshold is told after the keys were read, and decides which of them are
// of one key: a sidecar that starts anew knows at once that all were refused.
func TestLoop_ReadsTheKeysForTheThreshold(t *testing.T) {
	inBubble(t, 3, 5, func(h *home) {
		h.keys.mount(interleave(split(5, 3), split(5, 3))...)
		h.vault.begin("p")
		h.start()
		h.goOn(time.Minute)
		h.expect(KeyRejected)
		h.expectSent(2 * 2 * 3)
		h.forget()
		h.start()
		h.goOn(time.Second)
		h.expectPhases(KeyRejected, Starting, KeyRejected)
		reads := h.keys.reads
		h.goOn(4 * time.Minute)
		assert.Equal(h, reads, h.keys.reads, "they are read for it once")
	})
}

// The keys are another number of others while shares are on their way.
func TestKeysThatChangeDuringAnAttempt(t *testing.T) {
	for sentence, row := range map[string]struct {
		change func(h *home, right []Share)
		end    Phase
	}{
		"to fewer":                     {func(h *home, right []Share) { h.keys.mount(right[:3]...) }, Active},
		"to too few":                   {func(h *home, right []Share) { h.keys.mount(right[:1]...) }, NoKey},
		"to others":                    {func(h *home, _ []Share) { h.keys.mount(wrongKey(1, 33), wrongKey(2, 33), wrongKey(3, 33)) }, KeyRejected},
		"to none":                      {func(h *home, _ []Share) { h.keys.fail("missing") }, NoKey},
		"to the same in another order": {func(h *home, right []Share) { h.keys.mount(right[4], right[3], right[2], right[1], right[0]) }, Active},
	} {
		for _, n := range []int{1, 2, 3, 4, 5} {
			t.Run(sentence, func(t *testing.T) {
				inBubble(t, 3, 5, func(h *home) {
					right := slices.Clone(h.keys.shares)
					h.keys.mount(right[0], right[1], right[2], wrongKey(7, 33), wrongKey(8, 33)) // too few to be told apart
					h.vault.between = func(at int) {
						if at == n {
							row.change(h, right)
							h.hint()
						}
					}
					h.vault.begin("p")
					h.start()
					h.goOn(time.Minute)
					h.expect(row.end)
					assert.Zero(h, h.keys.inMemory())
					assert.Zero(h, h.loggedTimes(phases[Failing].Message))
				})
			})
		}
	}
}

func TestKeysThatGoAndComeDuringAnAttempt(t *testing.T) {
	inBubble(t, 3, 3, func(h *home) {
		right := h.keys.shares
		h.vault.freeze()
		h.vault.begin("p")
		h.start()
		h.goOn(5 * time.Second)
		h.keys.fail("missing")
		h.goOn(5 * time.Second)
		assert.Zero(h, h.keys.inMemory(), "what is gone from the mount is gone from memory")
		h.keys.mount(right...)
		h.goOn(5 * time.Second)
		h.vault.thaw()
		h.goOn(5 * time.Second)
		h.expect(Active)
	})
}

func TestSharesAreInMemoryOnlyWhileTheyAreSent(t *testing.T) {
	inBubble(t, 3, 3, func(h *home) {
		h.start()
		h.goOn(time.Minute)
		assert.Zero(h, h.keys.inMemory(), "while Vault is away")
		h.vault.begin("p")
		h.vault.freeze()
		h.goOn(time.Minute)
		assert.Equal(h, 3, h.keys.inMemory(), "while the unseal hangs")
		h.vault.thaw()
		h.goOn(time.Second)
		h.expect(Active)
		assert.Zero(h, h.keys.inMemory(), "once it is unsealed")

		h.vault.begin("q")
		h.vault.set(&h.vault.unsealErr, errStorage)
		h.goOn(time.Minute)
		h.expect(Failing)
		assert.Zero(h, h.keys.inMemory(), "between two attempts")

		h.vault.set(&h.vault.unsealErr, nil)
		h.vault.begin("r")
		h.vault.freeze()
		h.goOn(time.Minute)
		h.vault.with(func() { h.vault.status.Migration = true })
		h.vault.thaw()
		h.goOn(time.Minute)
		assert.Zero(h, h.keys.inMemory(), "in the middle of an attempt that is not gone on with")
		h.expectNoMoreSent(time.Hour)
	})
}

func (h *home) expectNoMoreSent(d time.Duration) {
	h.Helper()
	before := len(h.vault.sends())
	h.goOn(d)
	h.expectSent(before)
}

func TestAKilledVaultInTheMiddleOfAnAttempt(t *testing.T) {
	for n := 1; n <= 3; n++ {
		inBubble(t, 3, 3, func(h *home) {
			h.vault.between = func(at int) {
				if at == n {
					h.vault.begin("q")
				}
			}
			h.vault.begin("p")
			h.start()
			h.goOn(5 * time.Second)
			h.expect(Active)
			h.expectSent(n + 3)
			assert.NotContains(h, h.phases(), Held.String())
			assert.NotContains(h, h.phases(), KeyRejected.String())
		})
	}
}

func TestAKilledVaultWhileAnUnsealHangs(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.vault.freeze()
		h.start()
		h.goOn(time.Minute)
		h.vault.end()
		h.vault.thaw()
		h.goOn(time.Second)
		h.expect(Unreachable)
		h.vault.begin("q")
		h.goOn(time.Second)
		h.expect(Active)
		h.expectSent(2)
	})
}

func TestAnUnsealWhoseConnectionBreaksIsTriedAgainSlower(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.vault.set(&h.vault.unsealErr, isBroken.err)
		h.start()
		h.goOn(time.Hour)
		assert.Less(h, len(h.vault.sends()), 3600/4+15)
		assert.LessOrEqual(h, len(h.logged()), 2*tellsAnHour, "a Vault that flaps does not fill the log")
		assert.Positive(h, h.loggedTimes(msgHushed))
		assert.LessOrEqual(h, h.loggedTimes(msgHushed), 3)
		h.vault.set(&h.vault.unsealErr, nil)
		h.goOn(2 * time.Minute)
		h.expect(Active)
		assert.Equal(h, []string{phases[Active].Message, msgRecovered}, h.logged()[len(h.logged())-2:], "what lasts is told after all")
		h.forget()
		h.goOn(time.Hour)
		assert.Empty(h, h.logged())
	})
}

func TestStrangers(t *testing.T) {
	garbage := func(n int) string { return inHex(wrongKey(byte(0xa0+n), 33)) }
	t.Run("whose garbage lay there spoil one attempt", func(t *testing.T) {
		for left := 1; left <= 2; left++ {
			inBubble(t, 3, 3, func(h *home) {
				h.vault.begin("p")
				for n := range left {
					h.vault.stranger(garbage(n))
				}
				h.start()
				h.goOn(time.Second)
				h.expectPhases(Starting, Unsealing, Activating, Active)
				assert.LessOrEqual(h, len(h.vault.sends()), 6)
				assert.Zero(h, h.loggedTimes(msgRefusedShares), "our key was not refused")
			})
		}
	})
	t.Run("whose good shares lay there help", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *home) {
			h.vault.begin("p")
			h.vault.stranger(h.vault.right[2])
			h.vault.stranger(h.vault.right[1])
			h.start()
			h.goOn(time.Second)
			h.expect(Active)
			h.expectSent(1)
		})
	})
	t.Run("who send all the while do not stop a recovery that gets through once", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *home) {
			h.vault.begin("p")
			h.vault.between = func(n int) {
				if n < 200 {
					h.vault.stranger(garbage(n))
				}
			}
			h.start()
			h.goOn(5 * time.Minute)
			h.expect(Active)
			assert.NotContains(h, h.phases(), KeyRejected.String())
			assert.Zero(h, h.loggedTimes(msgRefusedShares))
			assert.Equal(h, 1, h.loggedTimes(msgDisturbed))
		})
	})
	t.Run("who were just there make a refusal count only when it is seen again", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *home) {
			h.keys.mount(wrongKey(1, 33), wrongKey(2, 33), wrongKey(3, 33))
			h.vault.begin("p")
			h.vault.between = func(n int) {
				if n == 2 {
					h.vault.stranger(garbage(n))
				}
			}
			h.start()
			h.goOn(4 * time.Minute)
			h.expect(KeyRejected)
			assert.Equal(h, 1, h.loggedTimes(msgDisturbed))
			assert.Equal(h, 1, h.loggedTimes(msgRefusedShares))
			sent := len(h.vault.sends())
			assert.GreaterOrEqual(h, sent, 2+2*3, "it was seen again")
			assert.LessOrEqual(h, sent, 3+3*3, "and not for ever")
		})
	})
	t.Run("who fill the threshold between two of ours cannot lock us", func(t *testing.T) {
		// In turns, our first share meets two that they left, and our last
		// one does: the second looks just like a refusal of ours.
		inBubble(t, 3, 3, func(h *home) {
			h.vault.begin("p")
			turn := 0
			h.vault.between = func(n int) {
				sending := h.vault.sends()[n-1]
				if turn < 100 && sending == h.vault.right[turn%2*2] {
					turn++
					h.vault.with(func() { h.vault.parts = []string{garbage(0), garbage(1)} })
				}
			}
			h.start()
			h.goOn(5 * time.Minute)
			assert.NotContains(h, h.phases(), KeyRejected.String())
			h.expect(Active)
		})
	})
	t.Run("who fill the gap before our last share unseen cannot lock us", func(t *testing.T) {
		// Two of theirs: the first is refused with ours, and the second makes
		// the count what we expect.
		inBubble(t, 2, 3, func(h *home) {
			h.vault.begin("p")
			bursts := 0
			h.vault.between = func(n int) {
				if n%2 == 0 && bursts < 50 {
					bursts++
					h.vault.stranger(garbage(1))
					h.vault.stranger(garbage(2))
				}
			}
			// Between the rounds they go on, at a pace that some probe meets.
			h.start()
			for range 200 {
				h.goOn(100 * time.Millisecond)
				if bursts < 50 && !h.state().Phase.Serving() {
					h.vault.stranger(garbage(1))
				}
			}
			h.goOn(time.Minute)
			h.expect(Active)
			assert.NotContains(h, h.phases(), KeyRejected.String())
			assert.Zero(h, h.loggedTimes(msgRefusedShares))
		})
	})
	t.Run("who do so once, and are gone, cannot lock us", func(t *testing.T) {
		inBubble(t, 2, 2, func(h *home) {
			h.vault.begin("p")
			h.vault.between = func(n int) {
				if n == 2 {
					h.vault.stranger(garbage(1))
					h.vault.stranger(garbage(2))
				}
			}
			h.start()
			h.goOn(5 * time.Second)
			h.expect(Active)
			h.expectSent(4)
		})
	})
	t.Run("who reset our last share away do not make us wait", func(t *testing.T) {
		inBubble(t, 2, 2, func(h *home) {
			h.vault.begin("p")
			h.vault.resets = 3
			h.start()
			h.goOn(2 * time.Second)
			h.expect(Active)
			assert.Zero(h, h.loggedTimes(msgJoining))
		})
	})
	t.Run("who enter shares slowly while we are locked are let be", func(t *testing.T) {
		inBubble(t, 3, 5, func(h *home) {
			right := h.vault.right
			h.keys.mount(wrongKey(1, 33), wrongKey(2, 33), wrongKey(3, 33))
			h.vault.begin("p")
			h.start()
			h.goOn(time.Minute)
			h.expect(KeyRejected)
			h.goOn(10 * time.Minute)
			sent := len(h.vault.sends())
			for _, share := range right[:3] {
				h.vault.stranger(share)
				h.goOn(20 * time.Minute)
			}
			h.goOn(10 * time.Second)
			h.expect(Active)
			h.expectSent(sent)
		})
	})
	t.Run("who unseal beside us end our attempt", func(t *testing.T) {
		inBubble(t, 3, 3, func(h *home) {
			h.vault.begin("p")
			h.vault.between = func(n int) {
				if n == 2 {
					h.vault.unseal()
				}
			}
			h.start()
			h.goOn(5 * time.Second)
			h.expectPhases(Starting, Unsealing, Activating, Active)
			h.expectSent(2)
		})
	})
}

func TestAnUnsealThatIsAnsweredLongAfterVaultServesIsNoNews(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.vault.unsealLag = time.Minute
		h.start()
		h.goOn(30 * time.Second)
		h.expect(Active)
		h.forget()
		h.goOn(time.Hour)
		h.expectPhases(Active)
		assert.Empty(h, h.logged())
		assert.Zero(h, h.keys.inMemory())
	})
}

// The answer to a share and the news of other keys come in the same turn: the
// places of the attempt mean other shares now, or none.
func TestKeysThatChangeInTheTurnOfAnAnswer(t *testing.T) {
	for _, left := range []int{1, 3, 4} {
		inBubble(t, 3, 5, func(h *home) {
			h.start()
			h.stop() // it is turned by hand
			l, right := h.loop, h.keys.shares
			ctx, cancel := context.WithCancel(h.Context())
			defer cancel()
			l.ctx = ctx
			l.prober.answer, l.process.current, l.prober.status = AnswerSealed, "p", SealStatus{Sealed: true, Type: "shamir", Threshold: 3, Shares: 5}
			l.turn(time.Now())
			require.NotNil(h, l.sender.call)
			first := l.sender.call

			h.keys.mount(right[5-left:]...)
			l.keys.next = time.Time{}
			l.handleUnseal(first, counts(1, "a").status, nil)
			l.turn(time.Now())
			if left < 3 {
				assert.Equal(h, NoKey.String(), l.phase.String())
				assert.Nil(h, l.sender.call)
			} else {
				assert.Equal(h, 0, l.sender.attempt.sent, "the attempt begins again with the new ones")
			}
			l.keys.wipe()
		})
	}
}

func TestAVaultThatOnlySaysItWasOpenedIsSentTheKeyInPeace(t *testing.T) {
	for _, row := range []struct {
		sentence string
		meddle   func(h *home)
	}{
		{"and stays connected", func(*home) {}},
		{"and breaks connections", func(h *home) {
			h.vault.set(&h.vault.statusErr, fmt.Errorf("connection broken: %w", ErrBroken))
			h.goOn(30 * time.Millisecond)
			h.vault.set(&h.vault.statusErr, nil)
			h.hint()
		}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			inBubble(t, 1, 1, func(h *home) {
				h.vault.pretends = true
				h.vault.begin("p")
				h.start(func(c *Config) { c.HoldSeals = false })
				for range 100 {
					h.goOn(100 * time.Millisecond)
					row.meddle(h)
				}
				sent := len(h.vault.sends())
				assert.Greater(h, sent, 3, "it is tried again without end")
				assert.Less(h, sent, 12, "in growing intervals")
				assert.GreaterOrEqual(h, h.vault.sentAt[1].Sub(h.vault.sentAt[0]), 50*time.Millisecond)

				h.vault.with(func() { h.vault.pretends = false })
				h.goOn(6 * time.Second)
				h.expect(Active)
			})
		})
	}
}

func TestAVaultThatIsRestartedBeforeItWasSeenOpenIsOpenedAtOnce(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.pretends = true
		h.vault.begin("p")
		h.start()
		h.goOn(10 * time.Second)
		h.vault.with(func() { h.vault.pretends = false })
		began := time.Now()
		h.vault.begin("q")
		h.hint()
		h.goOn(5 * time.Second)
		h.expect(Active)
		assert.Less(h, h.vault.sentAt[len(h.vault.sentAt)-1].Sub(began), 50*time.Millisecond)
	})
}

func TestASealThatFollowsAnOpenVaultIsOpenedAtOnce(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.start(func(c *Config) { c.HoldSeals = false })
		for n := range 5 {
			h.goOn(2 * time.Second)
			h.expect(Active)
			h.vault.seal()
			began := time.Now()
			h.hint()
			h.goOn(25 * time.Millisecond)
			h.expectSent(n + 2)
			assert.Less(h, h.vault.sentAt[n+1].Sub(began), 25*time.Millisecond)
		}
	})
}

// Each time that the process wakes costs more than what it does then.
func TestLoop_TheKeysOfAVaultThatServesAreLookedAtWithItsProbes(t *testing.T) {
	inBubble(t, 1, 1, func(h *home) {
		h.vault.begin("p")
		h.start()
		h.goOn(10 * time.Second)
		h.expect(Active)
		h.keys.mu.Lock()
		before := len(h.keys.looks)
		h.keys.mu.Unlock()
		h.goOn(time.Minute)
		h.keys.mu.Lock()
		looks := h.keys.looks[before:]
		h.keys.mu.Unlock()
		h.vault.mu.Lock()
		asked := h.vault.askedAt
		h.vault.mu.Unlock()
		assert.GreaterOrEqual(h, len(looks), 60, "at least once a second")
		for _, look := range looks {
			assert.True(h, slices.ContainsFunc(asked, look.Equal), "it woke for the keys alone at %v", look)
		}
	})
}
