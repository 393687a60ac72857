package integration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// charts are what the official chart makes, in the shapes of several versions.
var charts = []string{"vault-chart.yaml", "vault-chart-claims.yaml"}

// withoutSidecar takes what is the sidecar's out of what was rendered, and returns it.
func withoutSidecar(t *testing.T, set *unstructured.Unstructured) map[string]any {
	t.Helper()
	ours := map[string]any{}
	for field, name := range map[string]string{"containers": "name", "initContainers": "name", "volumes": "name", "readinessGates": "conditionType"} {
		items, names := list(t, set, field, name)
		var theirs, kept []any
		for i, item := range items {
			if strings.Contains(names[i], "unseal-") {
				kept = append(kept, item)
			} else {
				theirs = append(theirs, item)
			}
		}
		ours[field] = kept
		unstructured.RemoveNestedField(set.Object, "spec", "template", "spec", field)
		if len(theirs) > 0 {
			require.NoError(t, unstructured.SetNestedSlice(set.Object, theirs, "spec", "template", "spec", field))
		}
	}
	return ours
}

// The components give each version of the chart the same, and leave the rest of its
// StatefulSet as it is.
func TestPatch_EachVersionOfTheChartGetsTheSame(t *testing.T) {
	t.Parallel()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	for name, r := range renderings {
		if r.resource != charts[0] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var want map[string]any
			for _, chart := range charts {
				bare := statefulSet(t, render(t, env, rendering{chart, nil}))
				set := statefulSet(t, render(t, env, rendering{chart, r.components}))
				ours := withoutSidecar(t, set)
				require.Len(t, append(ours["containers"].([]any), ours["initContainers"].([]any)...), 1, chart)
				require.Len(t, ours["volumes"], 3, chart)
				require.Len(t, ours["readinessGates"], 1, chart)
				if want == nil {
					want = ours
				}
				assert.Equal(t, want, ours, chart)
				unstructured.RemoveNestedField(set.Object, "spec", "template", "spec", "securityContext", "appArmorProfile") // patches/apparmor
				for _, each := range []*unstructured.Unstructured{bare, set} {                                               // null, which some patches drop
					unstructured.RemoveNestedField(each.Object, "spec", "template", "metadata", "annotations")
				}
				assert.Equal(t, bare.Object["spec"], set.Object["spec"], "%s: the rest", chart)
			}
		})
	}
}
