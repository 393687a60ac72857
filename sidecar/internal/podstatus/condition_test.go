package podstatus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const gate = "vault-unseal-sidecar/unsealed"

func TestGateCondition_FollowsTheState(t *testing.T) {
	began := time.Date(2026, 11, 24, 1, 0, 0, 0, time.UTC)
	last := &unseal.Recovery{Began: began, Took: 41300 * time.Millisecond, Done: true, Steps: []unseal.Step{
		{Phase: unseal.Unreachable, Took: 41 * time.Second}, {Phase: unseal.Unsealing, Took: 300 * time.Millisecond},
	}}
	restarted := &unseal.Recovery{Began: began, Took: time.Second, Done: true, Steps: []unseal.Step{{Phase: unseal.Activating}}}
	for _, row := range []struct {
		sentence string
		state    unseal.Snapshot
		want     kube.Condition
	}{
		{"nothing is said before anything is known", unseal.Snapshot{Phase: unseal.Starting}, kube.Condition{}},
		{"a Vault that serves opens the gate", unseal.Snapshot{Phase: unseal.Active, Message: "vault is unsealed, active"},
			kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Vault is unsealed, active."}},
		{"so does a standby", unseal.Snapshot{Phase: unseal.Standby, Message: "vault is unsealed, standby"},
			kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Vault is unsealed, standby."}},
		{"a recovery is told step by step", unseal.Snapshot{Phase: unseal.Active, Message: "vault is unsealed, active", Last: last},
			kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Vault is unsealed, active. Recovered in 41.3s at 2026-11-24T01:00:41Z: unreachable 41s, unsealing 300ms."}},
		{"a start of the sidecar alone is none", unseal.Snapshot{Phase: unseal.Active, Message: "vault is unsealed, active", Last: restarted},
			kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Vault is unsealed, active."}},
		{"what is wrong and what to do is told", unseal.Snapshot{Phase: unseal.NoKey, Message: "m", Reason: "r", Advice: "a; b"},
			kube.Condition{Type: gate, Status: kube.False, Reason: "NoKey", Message: "M. R. A; b."}},
		{"a hold shuts it", unseal.Snapshot{Phase: unseal.Held, Message: "m"}, kube.Condition{Type: gate, Status: kube.False, Reason: "HeldByOperator", Message: "M."}},
		{"a running recovery is not told in numbers", unseal.Snapshot{Phase: unseal.Unreachable, Message: "m", Last: last, Current: last},
			kube.Condition{Type: gate, Status: kube.False, Reason: "WaitingForVault", Message: "M."}},
	} {
		t.Run(row.sentence, func(t *testing.T) { assert.Equal(t, row.want, gateCondition(gate, row.state)) })
	}
	assert.Empty(t, gateCondition("", unseal.Snapshot{Phase: unseal.Active}), "without a gate nothing is said")
}

func TestCondition_EachPhaseHasAReason(t *testing.T) {
	for _, p := range unseal.Phases() {
		assert.Regexp(t, `^[A-Z][A-Za-z]+$`, p.Info().Reason, p)
	}
}

func TestCondition_EquivalentConditionIsNotWritten(t *testing.T) {
	c := kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Active."}
	assert.True(t, equivalent(c, c))
	assert.True(t, equivalent(kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Active. Recovered in 1s at noon: x."}, c))
	for _, other := range []kube.Condition{
		{}, {Type: gate, Status: kube.False, Reason: "Unsealed", Message: "Active."}, {Type: gate, Status: kube.True, Reason: "Other", Message: "Active."}, {Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Standby."},
		{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Active. And more."},
	} {
		assert.False(t, equivalent(other, c), other)
	}
	recovered := kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Active. Recovered in 2s at one: x."}
	assert.False(t, equivalent(c, recovered), "a recovery is news")
	assert.False(t, equivalent(kube.Condition{Type: gate, Status: kube.True, Reason: "Unsealed", Message: "Active. Recovered in 1s at noon: x."}, recovered))
}
