package check

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

const pendingTemplate = `{metadata: {name: vault, namespace: security}, spec: {updateStrategy: {type: OnDelete},
	volumeClaimTemplates: [{metadata: {name: data}}],
	template: {metadata: {labels: {app: vault}}, spec: {volumes: [{name: config}], containers: [{name: vault}, {name: vault-unseal-sidecar, image: "sidecar:2", imagePullPolicy: `

// A pod is not to be deleted for a template whose pod does not start, or that has no
// sidecar any more.
func TestStatefulSet_AdvisesADeletionOnlyIfTheNewPodRuns(t *testing.T) {
	pods := kube.Pods.GroupResource()
	set := func(policy string) string {
		return pendingTemplate + policy + `}]}}}, status: {updateRevision: vault-2}}`
	}
	without := `{metadata: {name: vault, namespace: security}, spec: {updateStrategy: {type: OnDelete}, template: {spec: {containers: [{name: vault}]}}}, status: {updateRevision: vault-2}}`
	const has, hasOther = `{status: {images: [{names: ["sidecar:2"]}]}}`, `{status: {images: [{names: ["sidecar:1"]}]}}`
	const runs, bare = `[{name: vault}, {name: vault-unseal-sidecar}]`, `[{name: vault}]`
	const deletion = "kubectl -n security delete pod vault-0"
	for sentence, row := range map[string]struct {
		set, containers, node string
		refusal               error
		level                 Level
		text, advice          string
	}{
		"a pod of it starts": {set("IfNotPresent"), runs, has, nil, Warning, "is pending", deletion},
		"the old pod is in the way": {set("IfNotPresent"), runs, has, apierrors.NewAlreadyExists(pods, "vault-0"),
			Warning, "is pending", deletion},
		"a policy refuses the pod": {set("IfNotPresent"), runs, has, apierrors.NewForbidden(pods, "vault-0", errors.New("must specify limits.cpu")),
			Failure, "would not start: pods \"vault-0\" is forbidden: must specify limits.cpu", "keep the pod"},
		"there may be no room for it": {set("IfNotPresent"), runs, has, apierrors.NewForbidden(pods, "vault-0", errors.New("exceeded quota: home")),
			Warning, "exceeded quota: home", "only then: " + deletion},
		"whoever looks may make no pods": {set("IfNotPresent"), runs, has, apierrors.NewForbidden(pods, "vault-0", errors.New(`User "maria" cannot create`)),
			Warning, "not known", "only then: " + deletion},
		"no node has the image": {set("IfNotPresent"), runs, hasOther, nil,
			Warning, "no node has the image sidecar:2: without a registry that has it", "only then: " + deletion},
		"no node has the image or may pull it": {set("Never"), runs, hasOther, nil,
			Failure, "none may pull it", "keep the pod"},
		"nodes do not tell all of their images": {set("Never"), runs, `{status: {}}`, nil,
			Warning, "no node says that it has the image", "only then: " + deletion},
		"it has no sidecar, and the pod has": {without, runs, has, nil, Failure, "has no sidecar", "keep the pod"},
		"neither has a sidecar":              {without, bare, has, nil, OK, "", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{api: &kubetest.API{
				OnGet: func(kubetest.At, string) *unstructured.Unstructured { return read(t, row.set) },
				OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
					require.Equal(t, nodes, at.Resource)
					return []unstructured.Unstructured{*read(t, row.node)}, "", nil
				},
				OnCreate: func(_ kubetest.At, o *unstructured.Unstructured, options metav1.CreateOptions, _ []string) error {
					assert.Equal(t, []string{metav1.DryRunAll}, options.DryRun)
					assert.Equal(t, "vault-0", o.GetName())
					assert.Equal(t, map[string]string{"app": "vault"}, o.GetLabels())
					assert.Equal(t, []map[string]any{{"name": "config"},
						{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "data-vault-0"}}}, kube.Entries(o.Object, "spec", "volumes"))
					return row.refusal
				},
			}}
			c.pod = readPod(t, `{metadata: {name: vault-0, namespace: security, labels: {controller-revision-hash: vault-1},
				ownerReferences: [{kind: StatefulSet, name: vault}]}, spec: {containers: `+row.containers+`}}`)
			c.checkStatefulSet(t.Context())
			if row.level == OK {
				assert.Empty(t, c.findings, "checkContainer says so")
				return
			}
			require.Len(t, c.findings, 1)
			assert.Equal(t, row.level, c.findings[0].Level)
			assert.Contains(t, c.findings[0].Text, row.text)
			assert.Contains(t, c.findings[0].Advice, row.advice)
			if row.level == Failure {
				assert.NotContains(t, c.findings[0].Text+c.findings[0].Advice, "delete")
			}
		})
	}
}
