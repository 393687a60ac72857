package policy

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

func TestVerdicts_FollowTheAnswerToTheDryRun(t *testing.T) {
	resource := kube.Pods.GroupResource()
	denied := func(policy string) error {
		return apierrors.NewForbidden(resource, "x", errors.New("ValidatingAdmissionPolicy '"+policy+"' with binding 'x' denied request: no"))
	}
	for sentence, row := range map[string]struct {
		err   error
		state State
	}{
		"was let through":              {nil, Missing},
		"was refused by ours":          {denied("vault-unseal-sidecar-gate"), Enforced},
		"was refused by ours, renamed": {denied("b-vault-unseal-sidecar-gate"), Enforced},
		"was refused by another's":     {denied("x"), Unknown},
		"was refused by a role":        {apierrors.NewForbidden(resource, "x", errors.New(`User "x" cannot patch`)), NotGranted},
		"was refused by a webhook":     {apierrors.NewForbidden(resource, "x", errors.New("admission webhook denied the request")), Unknown},
		"was not answered":             {context.DeadlineExceeded, Unknown},
		"is of what is not there":      {apierrors.NewNotFound(resource, "x"), Unknown},
	} {
		t.Run(sentence, func(t *testing.T) {
			v := verdictOf("gate", row.err)
			assert.Equal(t, row.state, v.State)
			assert.Equal(t, row.state == Unknown, v.Err != nil)
		})
	}
}

func TestVerdicts_HighestStateOfAComponentCounts(t *testing.T) {
	for sentence, row := range map[string]struct {
		states []State
		want   State
	}{
		"one of two kinds is not restricted": {[]State{Missing, Enforced}, Missing},
		"one has no object":                  {[]State{Enforced, Untried}, Enforced},
		"neither has":                        {[]State{Untried, Untried}, Untried},
		"one came to no verdict":             {[]State{Unknown, Enforced}, Unknown},
		"one is granted":                     {[]State{NotGranted, Enforced}, Enforced},
	} {
		t.Run(sentence, func(t *testing.T) {
			for _, order := range [][]State{row.states, {row.states[1], row.states[0]}} {
				n := Verdicts{}
				for _, s := range order {
					n.add("more", Verdict{State: s})
				}
				assert.Equal(t, row.want, n["more"].State)
				assert.Equal(t, []string{"more"}, n.In(row.want))
			}
		})
	}
}

func TestState_IsNamedAsTheMetricHasIt(t *testing.T) {
	var names []string
	for s := NotGranted; s <= Missing; s++ {
		names = append(names, s.String())
	}
	assert.Equal(t, []string{"not-granted", "unknown", "enforced", "unknown", "missing"}, names)
}
