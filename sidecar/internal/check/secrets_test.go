package check

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// The policy goes by the name of the Deployment, which that of its pod shows.
func TestController_RefusedEvictionIsAdvisedTheNameOfItsDeployment(t *testing.T) {
	for pod, advice := range map[string]string{
		"eso-home-6d5f7c8b9c-x2x4z":         "run kubectl apply -k manifests with the component eviction, and in settings.yaml esoDeployment: eso-home; or set ESO_RECOVERY=nudge",
		"external-secrets-6d5f7c8b9c-x2x4z": "run kubectl apply -k manifests with the component eviction; or set ESO_RECOVERY=nudge",
	} {
		t.Run(pod, func(t *testing.T) {
			api := &kubetest.API{
				OnList: func(context.Context, kubetest.At, metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
					return []unstructured.Unstructured{*read(t, `{metadata: {name: `+pod+`, namespace: external-secrets}}`)}, "", nil
				},
				OnCreate: func(kubetest.At, *unstructured.Unstructured, metav1.CreateOptions, []string) error {
					return kubetest.DeniedBy("eviction.security", "pods", "only the pods of External Secrets' controller may be evicted")
				},
			}
			out := findings(t, &Checker{api: api, Config: Config{Namespace: "security",
				ESO: eso.Config{Recovery: eso.RecoveryBoth, ControllerNamespace: "external-secrets"}}}, (*Checker).checkController)
			require.Len(t, out, 1)
			assert.Equal(t, Warning, out[0].Level)
			assert.Equal(t, advice, out[0].Advice)
		})
	}
}
