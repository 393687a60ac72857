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

// PolicyOf names the policy that refused, with whatever reason; "" when none did. What
// others have called their objects stands before that in the error.
func PolicyOf(err error) string {
	if err == nil {
		return ""
	}
	_, after, _ := strings.Cut(err.Error(), " is forbidden: ValidatingAdmissionPolicy '") // (apiserver, pkg/admission/plugin/policy/validating)
	name, _, _ := strings.Cut(after, "'")
	return name
}

// LacksRight reports a refusal by the authorizer. Admission forbids too, and may repeat
// after "denied" what a tenant has written; no name holds a space.
func LacksRight(err error) bool {
	if !apierrors.IsForbidden(err) {
		return false
	}
	before, _, found := strings.Cut(err.Error(), "forbidden: User ")
	return found && !strings.Contains(before, " denied ")
}

// DeniedByWebhook reports that an admission webhook was reached and refused, with any
// code (apiserver, pkg/admission/plugin/webhook/errors, ToStatusErr).
func DeniedByWebhook(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), `admission webhook "`)
}

// NotReadyOnly is in the words of the policies that refuse to have synced what
// is Ready.
const NotReadyOnly = "not Ready may be annotated"

// ReadyMeanwhile reports that a policy refused because ESO was sooner.
func ReadyMeanwhile(err error) bool {
	return ByPolicy(err) && strings.Contains(err.Error(), NotReadyOnly)
}
