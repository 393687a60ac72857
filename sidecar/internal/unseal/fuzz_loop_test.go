package unseal

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scriptedVault gives the answers of a script, and then those of a Vault.
type scriptedVault struct {
	*fakeVault
	mu     sync.Mutex
	script []byte
}

func (v *scriptedVault) take() (b byte, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.script) == 0 {
		return 0, false
	}
	b, v.script = v.script[0], v.script[1:]
	return b, true
}

// next reports whether the script has an answer, and which error it is.
func (v *scriptedVault) next(ctx context.Context) (scripted bool, err error) {
	b, ok := v.take()
	if !ok {
		return false, nil
	}
	alive, err := v.connect(ctx)
	if err != nil {
		return true, err
	}
	errs := []error{ErrUnreachable, ErrBroken, ErrNotVault, ErrWithheld, ErrInvalidKey, ErrRefused, errors.New("answered 500")}
	switch {
	case int(b) < len(errs):
		return true, errs[b]
	case b == 7:
		return true, v.await(ctx, alive, make(chan struct{})) // for good
	case b == 8:
		time.Sleep(3 * time.Second)
	}
	return true, nil
}

func (v *scriptedVault) status() SealStatus {
	flags, _ := v.take()
	threshold, _ := v.take()
	progress, _ := v.take()
	is := func(bit int) bool { return flags>>bit&1 == 1 }
	return SealStatus{
		Initialized: !is(0), Sealed: !is(1), Type: map[bool]string{false: "shamir", true: "transit"}[is(2)], Migration: is(3),
		Recovery: is(4), Raft: is(5), Removed: is(6), Nonce: map[bool]string{true: "n"}[is(7)],
		Threshold: int(threshold) % 5, Shares: int(threshold), Progress: int(progress) % 5,
	}
}

func (v *scriptedVault) SealStatus(ctx context.Context) (SealStatus, error) {
	if scripted, err := v.next(ctx); scripted {
		return v.status(), err
	}
	return v.fakeVault.SealStatus(ctx)
}

func (v *scriptedVault) Unseal(ctx context.Context, s Share) (SealStatus, error) {
	if scripted, err := v.next(ctx); scripted {
		return v.status(), err
	}
	return v.fakeVault.Unseal(ctx, s)
}

func (v *scriptedVault) Health(ctx context.Context) (Answer, error) {
	if scripted, err := v.next(ctx); scripted {
		b, _ := v.take()
		return []Answer{AnswerSealed, AnswerStandby, AnswerActive}[b%3], err
	}
	return v.fakeVault.Health(ctx)
}

func (v *scriptedVault) ReadStorage(ctx context.Context) error {
	if scripted, err := v.next(ctx); scripted {
		return err
	}
	return v.fakeVault.ReadStorage(ctx)
}

// FuzzLoop has a Vault, or whoever has its port, answer anything for a while. Whatever that
// was, the loop turns, and the Vault that starts then is opened.
func FuzzLoop(f *testing.F) {
	for _, script := range []string{
		"", "\x09\x00\x01\x00\x04\x00\x01\x00", "\x09\x20\x00\x00\x09\x20\x00\x00", "\x07\x07\x07\x08", "\x09\x02\x09\x02\x06\x03",
		"\x09\x00\x02\x01\x09\x80\x02\x01\x09\x80\x02\x02\x04\x80\x02\x00", "\x02\x00\x00\x00\x09\x01",
	} {
		f.Add([]byte(script), false)
		f.Add([]byte(script), true)
	}
	f.Fuzz(func(t *testing.T, script []byte, split bool) {
		threshold, n := 1, 1
		if split {
			threshold, n = 2, 3
		}
		inBubble(t, threshold, n, func(h *harness) {
			v := &scriptedVault{fakeVault: h.vault, script: script[:min(len(script), 200)]}
			h.vault.begin("first")
			h.start(func(c *Config) { c.Vault = v })
			h.advance(2 * time.Minute)
			require.Less(h, h.loop.Turned(), 2*time.Second)
			v.mu.Lock()
			v.script = nil
			v.mu.Unlock()
			h.vault.begin("last")
			h.advance(time.Minute)
			require.Less(h, h.loop.Turned(), 2*time.Second)
			require.Equal(h, Active.String(), h.state().Phase.String(), h.state().Reason)
			require.LessOrEqual(h, h.vault.count(&h.vault.maxInFlight), maxProbes+1, "probes, and a question for the threshold")
		})
	})
}
