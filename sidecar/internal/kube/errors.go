package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext"
)

// What is repeated of what others say, and what is said in a condition or an
// Event, in characters. Ours is shorter: a condition is read again, to see
// whether it says the same. The policies in manifests/gate let it through.
const (
	maxSafeText = 1000
	MaxOwnText  = 900
	MaxReason   = 60
)

// SafeText is what somebody else wrote, fit to be repeated.
func SafeText(text string) string { return safetext.Line(text, maxSafeText) }

// SafeError is an error, fit to be repeated: an API server puts into it what a webhook
// or a policy says.
func SafeError(err error) error { return safetext.Error(err, maxSafeText) }

// DescribeError describes a deadline in words, and every other error so that it can be
// repeated.
func DescribeError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", ShortTimeout)
	}
	return SafeError(err)
}

// IsForbiddenOrNotFound reports whether only a person can mend it.
func IsForbiddenOrNotFound(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsNotFound(err)
}

// ByPolicy reports a refusal that is no role's.
func ByPolicy(err error) bool {
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
}

// LacksRight reports a refusal by the authorizer; admission webhooks forbid too.
func LacksRight(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "forbidden: User ")
}

// NotReadyOnly is in the words of the policies that refuse to have synced what
// is Ready.
const NotReadyOnly = "not Ready may be annotated"

// ReadyMeanwhile reports that a policy refused because ESO was sooner.
func ReadyMeanwhile(err error) bool {
	return ByPolicy(err) && strings.Contains(err.Error(), NotReadyOnly)
}
