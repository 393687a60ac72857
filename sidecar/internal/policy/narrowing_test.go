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
		through bool
		err     error
		state   string
	}{
		"was let through":                {true, nil, Missing},
		"was refused by ours":            {false, denied("vault-unseal-sidecar-gate"), Enforced},
		"was refused by ours, renamed":   {false, denied("b-vault-unseal-sidecar-gate"), Enforced},
		"was refused by another's":       {false, denied("x"), Unknown},
		"was refused by a role":          {false, apierrors.NewForbidden(resource, "x", errors.New(`User "x" cannot patch`)), NotGranted},
		"was refused by a webhook":       {false, apierrors.NewForbidden(resource, "x", errors.New("admission webhook denied the request")), Unknown},
		"was not answered":               {false, context.DeadlineExceeded, Unknown},
		"is of what is not there":        {false, apierrors.NewNotFound(resource, "x"), Unknown},
		"has nothing that it can try on": {false, ErrNothing, Unknown},
	} {
		t.Run(sentence, func(t *testing.T) {
			n := Verdicts{Missing: map[string]bool{}, Unknown: map[string]error{}}
			n.record("gate", "gate", row.through, row.err)
			assert.Equal(t, row.state, n.State("gate"))
		})
	}
	n := Verdicts{Missing: map[string]bool{}, Unknown: map[string]error{}}
	n.record("stores", "stores", true, nil)
	n.record("stores", "stores", false, denied("vault-unseal-sidecar-stores"))
	assert.Equal(t, Missing, n.State("stores"), "one of two kinds is enough")
	n = Verdicts{Missing: map[string]bool{}, Unknown: map[string]error{"stores": ErrNothing, "more": ErrNothing}}
	n.record("stores", "stores", false, denied("vault-unseal-sidecar-stores"))
	n.dropReason(ErrNothing)
	assert.Equal(t, Enforced, n.State("stores"), "one of two kinds has no object")
	assert.Equal(t, Unknown, n.State("more"))
}
