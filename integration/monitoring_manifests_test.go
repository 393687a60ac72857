package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// jobName is what the PodMonitor calls the sidecars.
const jobName = "vault-unseal-sidecar"

// podMonitor is what of a PodMonitor decides which pods are asked.
type podMonitor struct {
	Spec struct {
		Selector struct {
			Expressions []struct {
				Key      string   `json:"key"`
				Operator string   `json:"operator"`
				Values   []string `json:"values"`
			} `json:"matchExpressions"`
		} `json:"selector"`
		Endpoints []struct {
			Port        string `json:"port"`
			Path        string `json:"path"`
			Relabelings []struct {
				TargetLabel string `json:"targetLabel"`
				Replacement string `json:"replacement"`
			} `json:"relabelings"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

func TestPodMonitor_SelectsVaultPods(t *testing.T) {
	t.Parallel()
	var monitor podMonitor
	readManifest(t, "manifests/monitoring/podmonitor.yaml", &monitor)
	require.Len(t, monitor.Spec.Endpoints, 1)
	endpoint := monitor.Spec.Endpoints[0]
	assert.Equal(t, "/metrics", endpoint.Path)
	require.Len(t, endpoint.Relabelings, 1)
	assert.Equal(t, "job", endpoint.Relabelings[0].TargetLabel)
	assert.Equal(t, jobName, endpoint.Relabelings[0].Replacement)

	var patch struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Ports []struct {
						Name string `json:"name"`
					} `json:"ports"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	}
	readManifest(t, "patches/pod/pod.yaml", &patch)
	assert.Equal(t, patch.Template.Spec.Containers[0].Ports[0].Name, endpoint.Port)

	require.Len(t, monitor.Spec.Selector.Expressions, 1)
	selects := monitor.Spec.Selector.Expressions[0]
	assert.Equal(t, []string{"statefulset.kubernetes.io/pod-name", "In"}, []string{selects.Key, selects.Operator}) // (StatefulSetPodNameLabel)
	for _, home := range []string{"testdata/vault-chart.yaml", "../manifests/homelab/vault.yaml"} {
		text, err := os.ReadFile(home)
		require.NoError(t, err)
		set := statefulSet(t, string(text))
		for i := range 10 {
			assert.Contains(t, selects.Values, fmt.Sprintf("%s-%d", set.GetName(), i), home)
		}
	}
}

// Every name and namespace comes from the settings.
func TestMonitoring_NamesComeFromSettings(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	dir, err := env.Mkdir("monitoring")
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(filepath.Join(dir, "manifests"), os.DirFS(env.Source("manifests"))))
	for name, text := range map[string]string{
		"settings.yaml": `{apiVersion: v1, kind: ConfigMap,
			metadata: {name: vault-unseal-sidecar-settings, annotations: {config.kubernetes.io/local-config: "true"}},
			data: {namespace: safe, statefulSet: bao, monitoringNamespace: watch, monitoringRelease: prom}}`,
		"kustomization.yaml": "{resources: [settings.yaml], components: [manifests/network, manifests/monitoring]}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	out, err := env.Kustomize(dir)
	require.NoError(t, err)

	found := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(out), 4096)
	for range 4 {
		o := &unstructured.Unstructured{}
		require.NoError(t, decoder.Decode(&o.Object), out)
		found[o.GetKind()] = o
	}
	for kind, want := range map[string]string{
		"PodMonitor": "safe", "PrometheusRule": "safe", "NetworkPolicy": "safe", "ConfigMap": "watch",
	} {
		require.Contains(t, found, kind)
		assert.Equal(t, want, found[kind].GetNamespace(), kind)
	}
	for _, kind := range []string{"PodMonitor", "PrometheusRule"} {
		assert.Equal(t, "prom", found[kind].GetLabels()["release"], kind)
	}
	assert.Equal(t, "1", found["ConfigMap"].GetLabels()["grafana_dashboard"])
	ingress, _, err := unstructured.NestedSlice(found["NetworkPolicy"].Object, "spec", "ingress")
	require.NoError(t, err)
	require.Len(t, ingress, 2)
	assert.Equal(t, map[string]any{
		"from": []any{map[string]any{"namespaceSelector": map[string]any{"matchExpressions": []any{
			map[string]any{"key": "kubernetes.io/metadata.name", "operator": "In", "values": []any{"watch"}}}}}},
		"ports": []any{map[string]any{"port": float64(9810)}},
	}, ingress[1], "Prometheus is let in")
}

// dashboard is what of a dashboard asks Prometheus.
type dashboard struct {
	ID            *int   `json:"id"`
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Inputs        []any  `json:"__inputs"`
	Templating    struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID         int               `json:"id"`
		Type       string            `json:"type"`
		Title      string            `json:"title"`
		Datasource map[string]string `json:"datasource"`
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct {
			RefID      string            `json:"refId"`
			Datasource map[string]string `json:"datasource"`
			Expr       string            `json:"expr"`
			Legend     string            `json:"legendFormat"`
		} `json:"targets"`
	} `json:"panels"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	readManifest(t, "manifests/monitoring/dashboard.json", &d)
	require.NotEmpty(t, d.Panels)
	return d
}

// Grafana is not here to load it; this is what keeps one from loading, or from
// loading beside others.
func TestDashboard_LoadsWithoutEdits(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	assert.Nil(t, d.ID)
	assert.Equal(t, jobName, d.UID)
	assert.Empty(t, d.Inputs)
	assert.GreaterOrEqual(t, d.SchemaVersion, 36)
	require.NotEmpty(t, d.Templating.List)
	assert.Equal(t, "datasource", d.Templating.List[0].Name)
	assert.Equal(t, "datasource", d.Templating.List[0].Type)
	source := map[string]string{"type": "prometheus", "uid": "$datasource"}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		assert.False(t, ids[p.ID], "id %d is there twice", p.ID)
		ids[p.ID] = true
		assert.Equal(t, source, p.Datasource, p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			assert.Equal(t, source, target.Datasource, p.Title)
		}
		g := p.GridPos
		assert.LessOrEqual(t, g.X+g.W, 24, p.Title)
		for _, other := range d.Panels[:i] {
			o := other.GridPos
			apart := g.X >= o.X+o.W || o.X >= g.X+g.W || g.Y >= o.Y+o.H || o.Y >= g.Y+g.H
			assert.True(t, apart, "%s lies over %s", p.Title, other.Title)
		}
	}
}
