package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pod that is deleted for a template of which the cluster makes none leaves
// no Vault.
func TestMigrate_TriesTheNewPodBeforeItDeletesTheOld(t *testing.T) {
	t.Parallel()
	s := newMigrationScenario(t)
	before := s.listObjects()
	backup := filepath.Join(s.env.Dir, "backup")
	quota := func(hard, used string) string {
		return `{apiVersion: v1, kind: ResourceQuota, metadata: {name: home, namespace: security}, spec: {hard: ` + hard + `}, status: {hard: ` + hard + `, used: ` + used + `}}`
	}
	policy := `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-latest}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}
  validations: [{expression: '!object.spec.containers.exists(c, c.image.endsWith(":latest"))', message: "images have a version"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-latest}
spec: {policyName: no-latest, validationActions: [Deny]}
`
	node := `{apiVersion: v1, kind: Node, metadata: {name: home}, status: {images: [{names: ["sidecar:1"], sizeBytes: 1}]}}`
	for _, row := range []struct {
		sentence, manifest, image string
		want                      string // "": it goes on
	}{
		{"a quota of limits that the template lacks", quota(`{limits.cpu: "4"}`, `{limits.cpu: "0"}`), "sidecar:2", "must specify limits.cpu"},
		{"a quota in which there is no room", quota(`{pods: "1"}`, `{pods: "2"}`), "sidecar:2", "exceeded quota: home"},
		{"a LimitRange", `{apiVersion: v1, kind: LimitRange, metadata: {name: home, namespace: security}, spec: {limits: [{type: Pod, max: {memory: 32Mi}}]}}`,
			"sidecar:2", "maximum memory usage per Pod is 32Mi"},
		{"a policy of admission", policy, "sidecar:latest", "images have a version"},
		{"a quota in which there is room once the old pod is gone", quota(`{pods: "1"}`, `{pods: "1"}`), "sidecar:2", ""},
		{"an image that no node has", node, "sidecar:2", ""},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			out, err := s.kubectl(row.manifest, "apply", "--server-side", "-f", "-")
			require.NoError(t, err, out)
			if row.manifest != policy && row.manifest != node {
				_, _ = s.kubectl(row.manifest, "apply", "--server-side", "--subresource", "status", "-f", "-") // nobody counts what is used
			}
			defer func() {
				out, err := s.kubectl(row.manifest, "delete", "-f", "-")
				require.NoError(t, err, out)
			}()
			out, err = s.runScript("", "migrate", "--backup", backup, "--image", row.image, "--dry-run")
			if row.want == "" {
				require.NoError(t, err, out)
				assert.Equal(t, row.manifest == node, strings.Contains(out, "no node has the image sidecar:2: without a registry that has it the new pod does not start"), out)
				return
			}
			require.Error(t, err)
			assert.Contains(t, out, "the cluster would not make the pod")
			assert.Contains(t, out, row.want)
			assert.Contains(t, out, "nothing was changed")
		})
	}
	assert.Empty(t, removedObjects(before, s.listObjects()))
}
