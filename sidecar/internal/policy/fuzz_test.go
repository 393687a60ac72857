package policy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/safetext/safetexttest"
)

// FuzzVerdict has a dry run refused in any words: tenants name the objects, and the webhooks
// of others say what they like.
func FuzzVerdict(f *testing.F) {
	for _, message := range []string{
		`pods "a" is forbidden: ValidatingAdmissionPolicy 'vault-unseal-sidecar-gate' with binding 'x' denied request: no`,
		`pods "a" is forbidden: User "x" cannot patch resource "pods"`,
		`admission webhook "b" denied the request: forbidden: User is forbidden: ValidatingAdmissionPolicy 'vault-unseal-sidecar-gate'`,
		"\x1b[2J", "",
	} {
		f.Add(int32(403), "Forbidden", message)
	}
	f.Fuzz(func(t *testing.T, code int32, reason, message string) {
		err := &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Reason: metav1.StatusReason(reason), Message: message}}
		for _, policy := range Components {
			v := verdictOf(policy, err)
			require.NotEqual(t, Missing, v.State, "a refusal is no sign that nothing refuses")
			require.NotEqual(t, Untried, v.State)
			if v.State == Enforced {
				require.Contains(t, message, "ValidatingAdmissionPolicy '")
				require.Contains(t, message, kube.Name+"-"+policy)
			}
			if v.State == NotGranted {
				require.NotContains(t, before(message, "forbidden: User "), " denied ")
			}
			require.Equal(t, v.State == Unknown, v.Err != nil)
			if v.Err != nil {
				safetexttest.RequireHarmless(t, v.Err.Error(), 1003)
			}
		}
	})
}

func before(text, mark string) string { head, _, _ := strings.Cut(text, mark); return head }
