package eso

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// failedPush is a PushSecret that failed and selects stores of a kind by their labels.
func failedPush(namespace, name, kind string) unstructured.Unstructured {
	o := failedSecret(namespace, name, "")
	o.Object["kind"] = "PushSecret"
	o.Object["spec"] = map[string]any{"secretStoreRefs": []any{map[string]any{"kind": kind, "labelSelector": map[string]any{}}}}
	_ = unstructured.SetNestedSlice(o.Object, []any{map[string]any{"type": "Ready", "status": kube.False, "reason": "Errored"}}, "status", "conditions")
	return o
}

// A tenant has a store that turns Ready every five minutes, while PushSecrets that select
// their stores fail elsewhere: each annotation has them write to all their stores anew.
func TestResync_FlappingStoreHasNothingAnnotatedThatSelectsOthers(t *testing.T) {
	for sentence, row := range map[string]struct {
		push  unstructured.Unstructured
		again bool
	}{
		"those of the cluster":       {failedPush("victim", "push", kindClusterStore), false},
		"those of its own namespace": {failedPush("victim", "push", kindStore), false},
		"the tenant's":               {failedPush("tenant", "push", kindStore), true},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a annotationLog
				api := a.serve(nil)
				api.OnList = func(_ context.Context, at kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
					if at.Resource == PushSecrets {
						return []unstructured.Unstructured{row.push}, "", nil
					}
					return nil, "", nil
				}
				n := besideVault(t, Config{Recovery: RecoveryNudge}, api, vaultStore("", "home", kube.True),
					vaultStore("victim", "s", kube.True), vaultStore("tenant", "s", kube.True))
				during(time.Hour) // the outage is long over
				key := "pushsecrets/" + row.push.GetNamespace() + "/push"
				assert.Equal(t, 2, a.times(key))
				for range 12 {
					n.setStatus("tenant", "s", kube.False)
					during(time.Second)
					n.setStatus("tenant", "s", kube.True)
					during(5 * time.Minute)
				}
				assert.Equal(t, row.again, a.times(key) > 2, "annotated %d times", a.times(key))
			})
		})
	}
}
