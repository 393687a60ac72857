package unseal

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// loginVault is a rekeyVault that one has to log in to.
type loginVault struct{ *rekeyVault }

func (v loginVault) Logout(ctx context.Context) error {
	err := v.call(ctx, "logout")
	v.Lock()
	defer v.Unlock()
	v.logouts++
	return err
}

// withLogin makes a prover log in.
func withLogin(p *Prover, v *rekeyVault) *Prover {
	p.Login = func(ctx context.Context) (Session, error) {
		if err := v.call(ctx, "login"); err != nil {
			return nil, err
		}
		v.Lock()
		defer v.Unlock()
		v.logins++
		return loginVault{v}, nil
	}
	return p
}

// callsDuring returns the calls that Vault receives during do.
func callsDuring(v *rekeyVault, do func()) []string {
	v.Lock()
	v.calls = nil
	v.Unlock()
	do()
	v.Lock()
	defer v.Unlock()
	return v.calls
}

func TestProver_RevokesItsToken(t *testing.T) {
	for name, row := range map[string]struct {
		change  func(v *rekeyVault)
		want    ProofResult
		reason  string
		logouts int
	}{
		"a right key":               {func(*rekeyVault) {}, ProofValid, "", 1},
		"a wrong one":               {func(v *rekeyVault) { v.validShares = nil }, ProofInvalid, "refuses", 1},
		"vault hangs with a share":  {func(v *rekeyVault) { v.hangs = "authorize" }, ProofFailed, "no answer", 1},
		"the policy is too small":   {func(v *rekeyVault) { v.fails["begin"] = ErrRefused }, ProofRefused, "beginning a rekey", 1},
		"the role cannot log in":    {func(v *rekeyVault) { v.fails["login"] = ErrRefused }, ProofRefused, "logging in", 0},
		"vault hangs at the login":  {func(v *rekeyVault) { v.hangs = "login" }, ProofFailed, "logging in: no answer within 30s", 0},
		"it cannot be revoked":      {func(v *rekeyVault) { v.fails["logout"] = errors.New("answered 500") }, ProofValid, "revoking the token of the proof: answered 500", 1},
		"it hangs when it is given": {func(v *rekeyVault) { v.hangs = "logout" }, ProofValid, "revoking the token of the proof: no answer within 10s", 1},
		"vault is sealed":           {func(v *rekeyVault) { v.status.Sealed = true }, ProofFailed, "sealed", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := unsealedVault(1)
				row.change(v)
				got := withLogin(newProver(v, 1), v).Prove(t.Context())
				assert.Equal(t, row.want, got.Result, got.Reason)
				assert.Contains(t, got.Reason, row.reason)
				assert.Equal(t, row.logouts, v.logouts)
				assert.NotContains(t, got.Reason, "\n")
			})
		})
	}
}

func TestProver_BeginsNoRekeyItCannotRecord(t *testing.T) {
	v := unsealedVault(1)
	p := newProver(v, 1)
	p.Notes = &fakeStore{saveErr: errors.New("no space left on device")}
	got := p.Prove(t.Context())
	assert.Equal(t, ProofFailed, got.Result)
	assert.Contains(t, got.Reason, "no space left on device")
	assert.NotContains(t, v.calls, "begin", "a proof that is cut off would stay for ever")
}

func TestProver_RecordsTheVerdictForItsKeys(t *testing.T) {
	v := unsealedVault(1)
	p := newProver(v, 1)
	require.Equal(t, ProofValid, p.Prove(t.Context()).Result)
	var n ProofNotes
	require.NoError(t, p.Notes.Load(&n))
	assert.False(t, n.Begun)
	assert.Equal(t, ProofValid, n.Verdict([]Share{NewShare(keyOf(1))}).Result)
	assert.Zero(t, n.Verdict([]Share{NewShare(keyOf(2))}), "it has no verdict on another key")
	assert.Zero(t, n.Verdict(nil))
	assert.NotContains(t, string(p.Notes.(*fakeStore).text), string(NewShare(keyOf(1)).AppendHex(nil)))

	n.Result = "superb"
	assert.Zero(t, n.Verdict([]Share{NewShare(keyOf(1))}), "a file is not to be believed in everything")
	n.Result, n.Reason = ProofInvalid, "a\x1b[2Jb\n"+string(bytes.Repeat([]byte("x"), 1000))
	reason := n.Verdict([]Share{NewShare(keyOf(1))}).Reason
	assert.Less(t, len(reason), 600)
	assert.Contains(t, reason, "a[2Jbxx")
}

// No request goes to a Vault that has refused, and none without a purpose.
func TestProofs_SendNoNeedlessRequests(t *testing.T) {
	active := Snapshot{Phase: Active, Keys: "one", Process: "boot/1"}
	t.Run("proofs are off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := unsealedVault(1)
			p, after := startProofs(t, v, 0)
			p.Update(active)
			assert.Empty(t, callsDuring(v, func() { after(100 * time.Hour) }))
		})
	})
	t.Run("vault refuses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := unsealedVault(1)
			v.fails["rekey"] = ErrRefused
			var log bytes.Buffer
			p, after := startProofs(t, v, time.Hour)
			p.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Info})
			p.Update(active)
			assert.Equal(t, []string{"status", "rekey"}, callsDuring(v, func() { assert.Equal(t, []ProofResult{ProofRefused}, after(100*time.Hour)) }))
			p.Update(Snapshot{Phase: Active, Keys: "two", Process: "boot/1"})
			assert.Empty(t, callsDuring(v, func() { after(100 * time.Hour) }), "another key changes nothing about that")
			p.Update(Snapshot{Phase: Unreachable, Keys: "two"})
			p.Update(Snapshot{Phase: Active, Keys: "two", Process: "boot/2"})
			assert.Equal(t, []string{"status", "rekey"}, callsDuring(v, func() { after(100 * time.Hour) }), "another Vault may answer otherwise")
			assert.Equal(t, 2, bytes.Count(log.Bytes(), []byte(msgNotProved)), "logged once for each Vault:\n%s", log.String())
		})
	})
	t.Run("the role may not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := unsealedVault(1)
			v.fails["rekey"] = ErrRefused
			var log bytes.Buffer
			p, after := startProofs(t, v, 24*time.Hour)
			withLogin(p.Prover, v)
			p.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Info})
			p.Update(active)
			assert.Contains(t, []int{4, 5}, len(after(100*time.Hour)), "once a day it checks whether the role was corrected")
			assert.Equal(t, 1, bytes.Count(log.Bytes(), []byte(msgNotProved)), "logged once:\n%s", log.String())
			v.Lock()
			delete(v.fails, "rekey")
			v.Unlock()
			assert.Contains(t, after(27*time.Hour), ProofValid)
		})
	})
	t.Run("what was left cannot be canceled any more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := unsealedVault(1)
			v.fails["rekey"] = ErrRefused
			p, after := startProofs(t, v, 0)
			require.NoError(t, p.Prover.updateNotes(func(n *ProofNotes) { n.Begun = true }))
			p.Update(active)
			assert.Equal(t, []string{"rekey"}, callsDuring(v, func() { after(100 * time.Hour) }))
		})
	})
}

func TestProofs_PublishTheVerdictOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := unsealedVault(1)
		sidecar, after := startProofs(t, v, 0)
		check := newProver(v, 1)
		check.Notes = sidecar.Prover.Notes
		sidecar.Update(Snapshot{Phase: Active, Keys: "one", KeyChanged: true})
		assert.Empty(t, after(time.Hour))
		require.Equal(t, ProofValid, check.Prove(t.Context()).Result)
		assert.Equal(t, []ProofResult{ProofValid}, after(3*time.Second))
		assert.Empty(t, after(time.Hour), "once")

		v.Lock()
		v.validShares = nil
		v.Unlock()
		require.Equal(t, ProofInvalid, check.Prove(t.Context()).Result)
		assert.Equal(t, []ProofResult{ProofInvalid}, after(3*time.Second))

		sidecar.Update(Snapshot{Phase: Active, Keys: "one", UnsealedAt: time.Now()})
		assert.Equal(t, []ProofResult{""}, after(time.Hour), "the key has unsealed Vault since, which is newer")

		check.Keys = mountedKeys{values: []byte{2}}
		require.Equal(t, ProofInvalid, check.Prove(t.Context()).Result)
		assert.Empty(t, after(time.Hour), "that speaks of another key than is mounted")
	})
}

// A sidecar whose container is started again knows what was proved before.
func TestProofs_PublishTheRecordedVerdictAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := unsealedVault(1)
		earlier := newProver(v, 1)
		require.Equal(t, ProofValid, earlier.Prove(t.Context()).Result)
		p, after := startProofs(t, v, 0)
		p.Prover.Notes = earlier.Notes
		p.Update(Snapshot{Phase: Active, Keys: "other salt", KeyChanged: true})
		assert.Equal(t, []ProofResult{ProofValid}, after(3*time.Second))
		p.Update(Snapshot{Phase: Active, Keys: "the mount is seen a little later", KeyChanged: true})
		assert.Equal(t, []ProofResult{"", ProofValid}, after(3*time.Second))
	})
}

// A clock that was ahead when Vault was opened hides no proof that came after.
func TestProofs_CountAfterAnUnsealInTheFuture(t *testing.T) {
	for name, every := range map[string]time.Duration{"its own": 24 * time.Hour, "of another process": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := unsealedVault(1)
				v.validShares = nil
				p, after := startProofs(t, v, every)
				opened := Snapshot{Phase: Active, Keys: "one", UnsealedAt: time.Now().Add(200 * time.Hour)}
				p.Update(opened)
				assert.Empty(t, after(time.Second))
				if every == 0 {
					check := newProver(v, 1)
					check.Notes = p.Prover.Notes
					require.Equal(t, ProofInvalid, check.Prove(t.Context()).Result)
				}
				assert.Equal(t, []ProofResult{ProofInvalid}, after(time.Minute))
				p.Update(opened) // as with any other change
				assert.Empty(t, after(time.Hour), "the key is still wrong")
			})
		})
	}
}
