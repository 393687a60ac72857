package unseal

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	status            SealStatus
	validShares       map[string]bool // by a share, in hex
	rekey             Rekey
	fails             map[string]error // by call
	hangs             string           // the call that does not answer
	begun             *Rekey           // that a BeginRekey leaves, if it is not ours
	cancels           int
	sent              int
	foreignAuthorized bool // a share was sent to another client's rekey
	held              []string

	calls   []string // in order
	logins  int
	logouts int

	foreignShare   *Share // another client sends it just before our share foreignShareAt
	foreignShareAt int
	replacement    *Rekey // another client begins it instead of ours, after our share replacementAt
	replacementAt  int
}

func (v *rekeyVault) call(ctx context.Context, name string) error {
	v.Lock()
	hangs, err := v.hangs == name, v.fails[name]
	v.calls = append(v.calls, name)
	v.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (v *rekeyVault) SealStatus(ctx context.Context) (SealStatus, error) {
	return v.status, v.call(ctx, "status")
}

func (v *rekeyVault) Rekey(ctx context.Context) (Rekey, error) {
	err := v.call(ctx, "rekey")
	v.Lock()
	defer v.Unlock()
	return v.rekey, err
}

func (v *rekeyVault) BeginRekey(ctx context.Context) (Rekey, error) {
	err := v.call(ctx, "begin")
	v.Lock()
	defer v.Unlock()
	if err == nil || errors.Is(err, context.DeadlineExceeded) { // Vault has done it all the same
		v.rekey = Rekey{Started: true, Nonce: "ours", Ours: true, Cancel: "cancel ours"}
	}
	if v.begun != nil {
		v.rekey = *v.begun
	}
	answer := v.rekey
	v.swap()
	return answer, err
}

func (v *rekeyVault) swap() {
	if v.replacement != nil && v.sent == v.replacementAt {
		v.rekey = *v.replacement
	}
}

func (v *rekeyVault) AuthorizeRekey(ctx context.Context, s Share, nonce string) (Progress, error) {
	if err := v.call(ctx, "authorize"); err != nil {
		return Progress{}, err
	}
	v.Lock()
	defer v.Unlock()
	v.sent++
	v.foreignAuthorized = v.foreignAuthorized || !v.rekey.Ours
	defer v.swap()
	if v.foreignShare != nil && v.sent == v.foreignShareAt {
		if p, err := v.take(*v.foreignShare); p.Enough || err != nil {
			return Progress{}, errors.New("answered 400: rekey operation already finished")
		}
	}
	return v.take(s)
}

// take counts a share, as Vault does.
func (v *rekeyVault) take(s Share) (Progress, error) {
	v.held = append(v.held, string(s.AppendHex(nil)))
	if len(v.held) < v.status.Threshold {
		return Progress{Shares: len(v.held)}, nil
	}
	held := v.held
	v.held = nil
	for _, share := range held {
		if !v.validShares[share] {
			return Progress{}, ErrInvalidKey
		}
	}
	return Progress{Enough: true}, nil
}

func (v *rekeyVault) CancelRekey(ctx context.Context, nonce string) error {
	if err := v.call(ctx, "cancel"); err != nil {
		return err
	}
	v.Lock()
	defer v.Unlock()
	if nonce != v.rekey.Nonce {
		return errors.New("invalid request")
	}
	v.cancels++
	v.rekey = Rekey{}
	return nil
}

// proofLock is had by another process, or cannot be had at all.
type proofLock struct {
	taken bool
	err   error
}

func (l proofLock) TryLock() (func(), error) {
	if l.taken || l.err != nil {
		return nil, l.err
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

func (m mountedKeys) Revision() string { return string(m.values) }
func (m mountedKeys) Read() (all []Share, _ []Remark, err error) {
	for _, v := range m.values {
		all = append(all, NewShare(keyOf(v)))
	}
	return all, nil, m.err
}

// unsealedVault is an open Vault whose key is made of the shares 1 to threshold.
func unsealedVault(threshold int) *rekeyVault {
	v := &rekeyVault{
		status:      SealStatus{Initialized: true, Type: "shamir", Threshold: threshold, Shares: threshold},
		validShares: map[string]bool{}, fails: map[string]error{},
	}
	for i := range threshold {
		v.validShares[string(NewShare(keyOf(byte(i+1))).AppendHex(nil))] = true
	}
	return v
}

func newProver(v *rekeyVault, values ...byte) *Prover {
	return &Prover{Vault: v, Keys: mountedKeys{values: values}, Lock: proofLock{}, Notes: &fakeStore{}}
}

func TestProver_ResultFollowsTheAnswersOfVault(t *testing.T) {
	theirs := Rekey{Started: true, Nonce: "theirs", Cancel: "cancel theirs"}
	one, none := mountedKeys{values: []byte{1}}, mountedKeys{}
	for name, row := range map[string]struct {
		change func(v *rekeyVault)
		keys   mountedKeys
		want   ProofResult
		reason string
		left   Rekey // in Vault
	}{
		"the right key":                   {keys: one, want: ProofValid},
		"another key":                     {keys: mountedKeys{values: []byte{2}}, want: ProofInvalid, reason: "1 share is mounted, and vault refuses"},
		"the old one and the right one":   {keys: mountedKeys{values: []byte{2, 1}}, want: ProofValid},
		"no key":                          {keys: mountedKeys{err: errors.New("no file")}, want: ProofFailed, reason: "no file"},
		"vault is sealed":                 {func(v *rekeyVault) { v.status.Sealed = true }, none, ProofFailed, "sealed", Rekey{}},
		"its seal is another":             {func(v *rekeyVault) { v.status.Type = "awskms" }, none, ProofRefused, "awskms", Rekey{}},
		"it has recovery keys":            {func(v *rekeyVault) { v.status.Recovery = true }, none, ProofRefused, "recovery keys", Rekey{}},
		"another client's rekey is open":  {func(v *rekeyVault) { v.rekey = theirs }, none, ProofBusy, "under way: wait for it, or end it: cancel theirs", theirs},
		"the endpoint is closed":          {func(v *rekeyVault) { v.fails["rekey"] = ErrRefused }, none, ProofRefused, "does not allow", Rekey{}},
		"it may not be begun":             {func(v *rekeyVault) { v.fails["begin"] = ErrRefused }, one, ProofRefused, "does not allow", Rekey{}},
		"another client begins before us": {func(v *rekeyVault) { v.fails["begin"] = ErrNotBegun }, one, ProofBusy, "does not begin", Rekey{}},
		"another client's replaces it":    {func(v *rekeyVault) { v.begun = &theirs }, one, ProofBusy, "put another in its place", theirs},
		"vault hangs at first":            {func(v *rekeyVault) { v.hangs = "status" }, none, ProofFailed, "asking for the seal status: no answer within 30s", Rekey{}},
		"vault hangs before it begins":    {func(v *rekeyVault) { v.hangs = "rekey" }, none, ProofFailed, "asking for the rekey under way: no answer within 10s", Rekey{}},
		"vault hangs when it begins":      {func(v *rekeyVault) { v.hangs = "begin" }, one, ProofFailed, "beginning a rekey: no answer within 30s", Rekey{}},
		"vault hangs with the share":      {func(v *rekeyVault) { v.hangs = "authorize" }, one, ProofFailed, "sending a share to the rekey: no answer within 30s", Rekey{}},
		"vault fails with the share":      {func(v *rekeyVault) { v.fails["authorize"] = errors.New("answered 500") }, one, ProofFailed, "answered 500", Rekey{}},
		"an earlier proof was cut off":    {func(v *rekeyVault) { v.rekey = Rekey{Started: true, Nonce: "old", Ours: true} }, one, ProofValid, "", Rekey{}},
		"shares are missing":              {func(v *rekeyVault) { v.status.Threshold = 2 }, one, ProofInvalid, "1 share is mounted, and no 2 of them", Rekey{}},
		"vault fails before it is begun":  {func(v *rekeyVault) { v.fails["status"] = errors.New("answered 500") }, none, ProofFailed, "answered 500", Rekey{}},
		"an earlier one cannot be undone": {func(v *rekeyVault) {
			v.rekey = Rekey{Started: true, Ours: true}
			v.fails["cancel"] = errors.New("answered 500")
		}, none, ProofFailed, "canceling", Rekey{Started: true, Ours: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := unsealedVault(1)
				if row.change != nil {
					row.change(v)
				}
				p := newProver(v)
				p.Keys = row.keys
				got := p.Prove(t.Context())
				assert.Equal(t, row.want, got.Result, got.Reason)
				assert.Contains(t, got.Reason, row.reason)
				assert.NotContains(t, got.Reason, context.DeadlineExceeded.Error(), "which does not name what waited")
				assert.Equal(t, row.left, v.rekey, "what Vault is left with")
				assert.False(t, v.foreignAuthorized, "a share of ours was sent to another client's rekey")
			})
		})
	}
}

func TestProver_IsBusyWhileAnotherProcessHoldsTheLock(t *testing.T) {
	v := unsealedVault(1)
	v.rekey = Rekey{Started: true, Nonce: "ours", Ours: true, Cancel: "cancel ours"}
	p := newProver(v, 1)
	p.Lock = proofLock{taken: true}
	assert.Equal(t, ProofBusy, p.Prove(t.Context()).Result)
	require.NoError(t, p.updateNotes(func(n *ProofNotes) { n.Begun = true }))
	require.NoError(t, p.CancelStaleRekey(t.Context()))
	assert.Zero(t, v.cancels, "the other one's is not canceled under its feet")

	p.Lock = proofLock{err: errors.New("read-only file system")}
	got := p.Prove(t.Context())
	assert.Equal(t, ProofFailed, got.Result, "no other process holds the lock")
	assert.Contains(t, got.Reason, "read-only file system")
	require.NoError(t, p.CancelStaleRekey(t.Context()))
	assert.Zero(t, v.cancels)
}

func TestProver_SendsAsManySharesAsTheThreshold(t *testing.T) {
	v := unsealedVault(3)
	p := newProver(v, 2, 3, 1, 14, 15)
	require.Equal(t, ProofValid, p.Prove(t.Context()).Result)
	assert.Equal(t, 3, v.sent)
	assert.Equal(t, 1, v.cancels)
}

// Between two shares another client may cancel our rekey and begin its own.
func TestProver_SendsNoShareToAForeignRekey(t *testing.T) {
	for name, replacement := range map[string]Rekey{
		"none":                             {},
		"one of another kind":              {Started: true, Nonce: "theirs"},
		"one like ours, of another client": {Started: true, Nonce: "theirs", Ours: true},
		"one of another kind, our nonce":   {Started: true, Nonce: "ours"},
	} {
		for at := range 3 {
			t.Run(fmt.Sprintf("%s, after share %d", name, at), func(t *testing.T) {
				v := unsealedVault(3)
				v.replacement, v.replacementAt = &replacement, at
				p := newProver(v, 1, 2, 3)
				got := p.Prove(t.Context())
				assert.Equal(t, ProofBusy, got.Result, got.Reason)
				assert.Equal(t, at, v.sent, "shares sent")
				assert.False(t, v.foreignAuthorized)
				if !replacement.Ours {
					assert.Equal(t, replacement, v.rekey, "it is left alone")
				}
			})
		}
	}
}

// A foreign share makes neither a right key wrong nor a wrong one right.
func TestProver_ForeignShareGivesNoVerdict(t *testing.T) {
	garbage, right := NewShare(keyOf(99)), NewShare(keyOf(2))
	for name, row := range map[string]struct {
		foreign Share
		keys    []byte
	}{
		"garbage among the right ones":    {garbage, []byte{1, 2, 3}},
		"a right one among two and a bad": {right, []byte{1, 3, 99}},
	} {
		for at := 1; at <= 3; at++ {
			t.Run(fmt.Sprintf("%s, before share %d", name, at), func(t *testing.T) {
				v := unsealedVault(3)
				v.foreignShare, v.foreignShareAt = &row.foreign, at
				p := newProver(v, row.keys...)
				got := p.Prove(t.Context())
				assert.Equal(t, ProofFailed, got.Result, got.Reason)
				assert.False(t, v.rekey.Started)
			})
		}
	}
}

func TestProver_ReportsAFailedCancelAndTidyRepeatsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := unsealedVault(1)
		p := newProver(v, 1)
		v.hangs = "cancel"
		got := p.Prove(t.Context())
		assert.Equal(t, ProofValid, got.Result, "what is known is published")
		assert.Equal(t, "canceling the rekey of a proof: no answer within 10s; by hand: cancel ours", got.Reason)
		v.hangs = ""
		require.NoError(t, p.CancelStaleRekey(t.Context()))
		assert.False(t, v.rekey.Started)
	})
}

// startProofs runs Proofs in a bubble; after lets time pass and returns what was
// published meanwhile.
func startProofs(t *testing.T, v *rekeyVault, every time.Duration) (p *ProofSchedule, after func(time.Duration) []ProofResult) {
	var published []ProofResult
	p = NewProofSchedule(ProofSchedule{
		Prover: newProver(v, 1),
		Every:  every, Log: hclog.NewNullLogger(),
		Publish: func(r Proof) { v.Lock(); defer v.Unlock(); published = append(published, r.Result) },
	})
	go p.Run(t.Context())
	return p, func(d time.Duration) []ProofResult {
		time.Sleep(d)
		synctest.Wait()
		v.Lock()
		defer v.Unlock()
		out := published
		published = nil
		return out
	}
}

func TestProofs_RunPeriodicallyAndAfterAKeyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := unsealedVault(1)
		p, after := startProofs(t, v, 24*time.Hour)
		p.Update(Snapshot{Phase: Unreachable})
		assert.Empty(t, after(48*time.Hour), "a Vault that does not serve has other worries")
		p.Update(Snapshot{Phase: Active, Keys: "one"})
		assert.Empty(t, after(firstProofDelay/2))
		assert.Equal(t, []ProofResult{ProofValid}, after(firstProofDelay))
		assert.Equal(t, []ProofResult{ProofValid}, after(27*time.Hour))
		v.Lock()
		v.validShares = nil
		v.Unlock()
		assert.Equal(t, []ProofResult{ProofInvalid}, after(27*time.Hour), "24 h and a tenth of it, at most")
		p.Update(Snapshot{Phase: Active, Keys: "two"})
		assert.Equal(t, []ProofResult{""}, after(0), "the proof spoke of another key")
		assert.Equal(t, []ProofResult{ProofInvalid}, slices.Compact(after(2*firstProofDelay)))
		p.Update(Snapshot{Phase: Active, Keys: "two", KeyError: "malformed"})
		assert.Equal(t, []ProofResult{""}, after(0), "it cannot be used now")
	})
}

// Hangs, even one at each moment at which it would be due, do not put a proof off for ever.
func TestProofs_AreNotPutOffByHangs(t *testing.T) {
	for name, hang := range map[string]time.Duration{"short": firstProofDelay / 8, "while it is due": firstProofDelay / 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, after := startProofs(t, unsealedVault(1), 24*time.Hour)
				var results []ProofResult
				for range 10 {
					p.Update(Snapshot{Phase: Active, Keys: "one"})
					results = append(results, after(firstProofDelay*3/4)...)
					p.Update(Snapshot{Phase: Unresponsive, Keys: "one"})
					results = append(results, after(hang)...)
				}
				assert.Equal(t, []ProofResult{ProofValid}, slices.Compact(results))
			})
		})
	}
}

// A forgotten rekey or a passing error delays the verdict by minutes, not by a day.
func TestProofs_RetryAProofWithoutAVerdict(t *testing.T) {
	for result, prevent := range map[ProofResult]func(v *rekeyVault){
		ProofBusy:   func(v *rekeyVault) { v.rekey = Rekey{Started: true, Nonce: "theirs"} },
		ProofFailed: func(v *rekeyVault) { v.fails["begin"] = errors.New("answered 500") },
	} {
		t.Run(string(result), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := unsealedVault(1)
				prevent(v)
				p, after := startProofs(t, v, 24*time.Hour)
				p.Update(Snapshot{Phase: Active, Keys: "one"})
				assert.Equal(t, []ProofResult{result}, after(firstProofDelay+notesInterval))
				results := after(3 * time.Hour)
				assert.InDelta(t, 12, len(results), 2, "no more of them than one each 15 minutes or so")
				assert.Equal(t, []ProofResult{result}, slices.Compact(results))
				v.Lock()
				v.rekey, v.fails = Rekey{}, map[string]error{}
				v.Unlock()
				assert.Equal(t, []ProofResult{ProofValid}, after(17*time.Minute))
				assert.Empty(t, after(20*time.Hour))
			})
		})
	}
}

// What is known of a key for the worse is known until Vault says otherwise.
func TestProofs_FailureKeepsTheVerdictOfAWrongKey(t *testing.T) {
	for name, fail := range map[string]func(v *rekeyVault){
		"vault fails":              func(v *rekeyVault) { v.fails["status"] = errors.New("answered 500") },
		"vault hangs":              func(v *rekeyVault) { v.hangs = "begin" },
		"a rekey is under way":     func(v *rekeyVault) { v.rekey = Rekey{Started: true, Nonce: "theirs"} },
		"the endpoints are closed": func(v *rekeyVault) { v.fails["rekey"] = ErrRefused },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := unsealedVault(1)
				right := v.validShares
				v.validShares = nil
				p, after := startProofs(t, v, 24*time.Hour)
				change := func(f func(v *rekeyVault)) { v.Lock(); defer v.Unlock(); f(v) }
				p.Update(Snapshot{Phase: Active, Keys: "one"})
				assert.Equal(t, []ProofResult{ProofInvalid}, after(time.Minute))
				change(fail)
				assert.Empty(t, after(53*time.Hour), "the key is still wrong, as far as is known")
				change(func(v *rekeyVault) { v.fails, v.hangs, v.rekey, v.validShares = map[string]error{}, "", Rekey{}, right })
				p.Update(Snapshot{Phase: Active, Keys: "one", Process: "one that answers"}) // what is refused is not asked again
				assert.Equal(t, []ProofResult{ProofValid}, slices.Compact(after(27*time.Hour)))
				change(fail)
				published := slices.Compact(after(27 * time.Hour))
				require.Len(t, published, 1, "that a key was right is no comfort for ever")
				assert.NotContains(t, []ProofResult{ProofValid, ProofInvalid}, published[0])
				change(func(v *rekeyVault) { v.fails, v.hangs, v.rekey, v.validShares = map[string]error{}, "", Rekey{}, nil })
				p.Update(Snapshot{Phase: Active, Keys: "one", Process: "another that answers"})
				published = after(27 * time.Hour) // the first may be of a proof that hung until now
				require.NotEmpty(t, published)
				assert.Equal(t, ProofInvalid, published[len(published)-1])
				p.Update(Snapshot{Phase: Active, Keys: "two"})
				assert.Equal(t, []ProofResult{""}, after(0), "that was another key")
			})
		})
	}
}

func TestProofs_WithoutAnIntervalOnlyCancelALeftoverRekey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := unsealedVault(1)
		v.rekey = Rekey{Started: true, Nonce: "old", Ours: true}
		p, after := startProofs(t, v, 0)
		require.NoError(t, p.Prover.updateNotes(func(n *ProofNotes) { n.Begun = true }))
		p.Update(Snapshot{Phase: Active, Keys: "one"})
		assert.Empty(t, after(2*firstProofDelay))
		assert.False(t, v.rekey.Started)
		assert.Equal(t, 1, v.cancels)
		assert.Empty(t, after(100*time.Hour))
		assert.Zero(t, v.sent)
	})
}
