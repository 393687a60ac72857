package unseal

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rekeyVault is a Vault of which only the rekey matters.
type rekeyVault struct {
	sync.Mutex
	status  SealStatus
	opens   map[string]bool // by a share, in hex
	rekey   Rekey
	fails   map[string]error // by call
	hangs   string           // the call that does not answer
	cancels int
	sent    int
}

func (v *rekeyVault) call(ctx context.Context, name string) error {
	if v.hangs == name {
		<-ctx.Done()
		return ctx.Err()
	}
	return v.fails[name]
}

func (v *rekeyVault) SealStatus(ctx context.Context) (SealStatus, error) {
	return v.status, v.call(ctx, "status")
}

func (v *rekeyVault) Rekey(ctx context.Context) (Rekey, error) { return v.rekey, v.call(ctx, "rekey") }

func (v *rekeyVault) BeginRekey(ctx context.Context, shares, threshold int) (Rekey, error) {
	err := v.call(ctx, "begin")
	if err == nil || errors.Is(err, context.DeadlineExceeded) { // Vault has done it all the same
		v.rekey = Rekey{Started: true, Nonce: "ours", Shares: shares, Threshold: threshold, Verified: true}
	}
	return v.rekey, err
}

func (v *rekeyVault) AuthorizeRekey(ctx context.Context, s Share, nonce string) (bool, error) {
	if err := v.call(ctx, "authorize"); err != nil {
		return false, err
	}
	v.Lock()
	defer v.Unlock()
	v.sent++
	v.rekey.Progress++
	if v.rekey.Progress < v.status.Threshold {
		return false, nil
	}
	v.rekey.Progress = 0
	if !v.opens[string(s.AppendHex(nil))] {
		return false, ErrInvalidKey
	}
	return true, nil
}

func (v *rekeyVault) CancelRekey(ctx context.Context, nonce string) error {
	if err := v.call(ctx, "cancel"); err != nil {
		return err
	}
	if nonce != v.rekey.Nonce {
		return errors.New("invalid request")
	}
	v.cancels++
	v.rekey = Rekey{}
	return nil
}

// proofStore keeps what is begun, and can refuse to.
type proofStore struct {
	kept   begun
	saving error
	locked bool
}

func (s *proofStore) Load(into any) error { *into.(*begun) = s.kept; return nil }

func (s *proofStore) Save(v any) error {
	if s.saving != nil {
		return s.saving
	}
	s.kept = v.(begun)
	return nil
}

func (s *proofStore) TryLock() (func(), error) {
	if s.locked {
		return nil, errors.New("in use by another process")
	}
	return func() {}, nil
}

// mountedKeys are shares of 32 bytes, each of one value.
type mountedKeys struct {
	values []byte
	err    error
}

func keyOf(value byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = value
	}
	return b
}

func (m mountedKeys) Stamp() string { return string(m.values) }
func (m mountedKeys) Read() (all []Share, err error) {
	for _, v := range m.values {
		all = append(all, NewShare(keyOf(v)))
	}
	return all, m.err
}

func provable(threshold int) *rekeyVault {
	share := NewShare(keyOf(1))
	return &rekeyVault{
		status: SealStatus{Initialized: true, Type: "shamir", Threshold: threshold, Shares: threshold},
		opens:  map[string]bool{string(share.AppendHex(nil)): true},
	}
}

func TestProof(t *testing.T) {
	theirs := Rekey{Started: true, Nonce: "theirs", Shares: 1, Threshold: 1, Verified: true}
	for name, row := range map[string]struct {
		change func(v *rekeyVault, s *proofStore)
		keys   mountedKeys
		want   ProofResult
		reason string
		left   Rekey // in Vault
	}{
		"the right key":                   {keys: mountedKeys{values: []byte{1}}, want: ProofValid},
		"another key":                     {keys: mountedKeys{values: []byte{2}}, want: ProofInvalid, reason: "vault refuses the 1 shares"},
		"the old one and the right one":   {keys: mountedKeys{values: []byte{2, 1}}, want: ProofValid},
		"no key":                          {keys: mountedKeys{err: errors.New("no file")}, want: ProofInvalid, reason: "no file"},
		"vault is sealed":                 {func(v *rekeyVault, _ *proofStore) { v.status.Sealed = true }, mountedKeys{}, ProofFailed, "sealed", Rekey{}},
		"its seal is another":             {func(v *rekeyVault, _ *proofStore) { v.status.Type = "awskms" }, mountedKeys{}, ProofRefused, "awskms", Rekey{}},
		"a rekey of somebody's goes on":   {func(v *rekeyVault, _ *proofStore) { v.rekey = theirs }, mountedKeys{}, ProofBusy, "under way", theirs},
		"the endpoint is closed":          {func(v *rekeyVault, _ *proofStore) { v.fails["rekey"] = ErrRefused }, mountedKeys{}, ProofRefused, "does not allow", Rekey{}},
		"it may not be begun":             {func(v *rekeyVault, _ *proofStore) { v.fails["begin"] = ErrRefused }, mountedKeys{values: []byte{1}}, ProofRefused, "does not allow", Rekey{}},
		"it cannot be kept what is begun": {func(_ *rekeyVault, s *proofStore) { s.saving = errors.New("disk full") }, mountedKeys{values: []byte{1}}, ProofFailed, "disk full", Rekey{}},
		"another process is at it":        {func(_ *rekeyVault, s *proofStore) { s.locked = true }, mountedKeys{}, ProofBusy, "in use", Rekey{}},
		"vault hangs when it begins":      {func(v *rekeyVault, _ *proofStore) { v.hangs = "begin" }, mountedKeys{values: []byte{1}}, ProofFailed, "deadline", Rekey{}},
		"vault hangs with the share":      {func(v *rekeyVault, _ *proofStore) { v.hangs = "authorize" }, mountedKeys{values: []byte{1}}, ProofFailed, "deadline", Rekey{}},
		"vault fails with the share":      {func(v *rekeyVault, _ *proofStore) { v.fails["authorize"] = errors.New("answered 500") }, mountedKeys{values: []byte{1}}, ProofFailed, "answered 500", Rekey{}},
		"an earlier proof was cut off": {func(v *rekeyVault, s *proofStore) {
			v.rekey = Rekey{Started: true, Nonce: "old"}
			s.kept = begun{1, 1, "old"}
		}, mountedKeys{values: []byte{1}}, ProofValid, "", Rekey{}},
		"it was cut off before its nonce":   {func(v *rekeyVault, s *proofStore) { v.rekey = theirs; s.kept = begun{1, 1, ""} }, mountedKeys{values: []byte{1}}, ProofValid, "", Rekey{}},
		"it was, and the rekey is another":  {func(v *rekeyVault, s *proofStore) { v.rekey = theirs; s.kept = begun{5, 3, ""} }, mountedKeys{values: []byte{1}}, ProofBusy, "under way", theirs},
		"it was, and somebody has gone on":  {func(v *rekeyVault, s *proofStore) { v.rekey = theirs; s.kept = begun{1, 1, "old"} }, mountedKeys{values: []byte{1}}, ProofBusy, "under way", theirs},
		"somebody begins just before us":    {func(v *rekeyVault, _ *proofStore) { v.fails["begin"] = ErrNotBegun }, mountedKeys{values: []byte{1}}, ProofBusy, "does not begin", Rekey{}},
		"shares are missing at a threshold": {func(v *rekeyVault, _ *proofStore) { v.status.Threshold = 2 }, mountedKeys{values: []byte{1}}, ProofInvalid, "no 2 of them", Rekey{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, s := provable(1), &proofStore{}
				v.fails = map[string]error{}
				if row.change != nil {
					row.change(v, s)
				}
				p := Prover{Vault: v, Keys: row.keys, Store: s}
				got := p.Prove(t.Context())
				assert.Equal(t, row.want, got.Result, got.Reason)
				assert.Contains(t, got.Reason, row.reason)
				assert.Equal(t, row.left, v.rekey, "what Vault is left with")
				if !s.locked && s.saving == nil {
					assert.Zero(t, s.kept, "nothing is left to cancel")
				}
			})
		})
	}
}

func TestAProofOfASplitKeySendsAsManySharesAsItTakes(t *testing.T) {
	v := provable(3)
	p := Prover{Vault: v, Keys: mountedKeys{values: []byte{2, 3, 1, 4, 5}}, Store: &proofStore{}}
	require.Equal(t, ProofValid, p.Prove(t.Context()).Result)
	assert.Equal(t, 3, v.sent)
	assert.Equal(t, 1, v.cancels)
}

func TestWhatCouldNotBeCancelledIsKeptAndCancelledLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s := provable(1), &proofStore{}
		p := Prover{Vault: v, Keys: mountedKeys{values: []byte{1}}, Store: s}
		v.hangs = "cancel"
		got := p.Prove(t.Context())
		assert.Equal(t, ProofValid, got.Result, "what is known is told")
		assert.Contains(t, got.Reason, "cancelling the rekey of an earlier proof")
		assert.Equal(t, begun{1, 1, "ours"}, s.kept)
		v.hangs = ""
		require.NoError(t, p.Tidy(t.Context()))
		assert.False(t, v.rekey.Started)
		assert.Zero(t, s.kept)
	})
}

// proving runs Proofs in a bubble and returns what it publishes.
func proving(t *testing.T, v *rekeyVault, s *proofStore, every time.Duration) (p *Proofs, published *[]ProofResult) {
	published = &[]ProofResult{}
	p = NewProofs(Proofs{
		Prover: &Prover{Vault: v, Keys: mountedKeys{values: []byte{1}}, Store: s},
		Every:  every, Log: hclog.NewNullLogger(),
		Publish: func(r Proof) { v.Lock(); defer v.Unlock(); *published = append(*published, r.Result) },
	})
	go p.Run(t.Context())
	return p, published
}

func TestProofsComeNowAndThenAndAfterAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := provable(1)
		p, published := proving(t, v, &proofStore{}, 24*time.Hour)
		after := func(d time.Duration) []ProofResult {
			time.Sleep(d)
			synctest.Wait()
			v.Lock()
			defer v.Unlock()
			out := *published
			*published = nil
			return out
		}
		p.Take(State{Phase: Unreachable})
		assert.Empty(t, after(48*time.Hour), "a Vault that does not serve has other worries")
		p.Take(State{Phase: Active, Keys: "one"})
		assert.Empty(t, after(firstProof/2))
		assert.Equal(t, []ProofResult{ProofValid}, after(firstProof))
		assert.Equal(t, []ProofResult{ProofValid}, after(27*time.Hour))
		v.Lock()
		v.opens = nil
		v.Unlock()
		assert.Equal(t, []ProofResult{ProofInvalid}, after(24*time.Hour))
		p.Take(State{Phase: Active, Keys: "two"})
		assert.Equal(t, []ProofResult{""}, after(0), "the proof spoke of another key")
		assert.Equal(t, []ProofResult{ProofInvalid}, after(2*firstProof))
	})
}

func TestWithoutAnIntervalOnlyWhatWasLeftIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s := provable(1), &proofStore{kept: begun{1, 1, "old"}}
		v.rekey = Rekey{Started: true, Nonce: "old"}
		p, published := proving(t, v, s, 0)
		p.Take(State{Phase: Active, Keys: "one"})
		time.Sleep(2 * firstProof)
		synctest.Wait()
		assert.False(t, v.rekey.Started)
		assert.Equal(t, 1, v.cancels)
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		assert.Zero(t, v.sent)
		assert.Empty(t, *published)
	})
}
