package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// promtool runs Prometheus' own checker in a directory.
func promtool(t *testing.T, dir, stdin string, args ...string) (string, error) {
	t.Helper()
	_, err := exec.LookPath("promtool")
	require.NoError(t, err, "promtool is missing: make test installs it as root, or install Debian's package prometheus")
	cmd := exec.Command("promtool", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// rules is the spec of a PrometheusRule, which is a file of rules too.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// readManifest reads a YAML or JSON file of the repository.
func readManifest(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into), path)
}

// readAlerts reads the manifest and changes each of its rules.
func readAlerts(t *testing.T, change func(*rule)) rules {
	t.Helper()
	var out struct {
		Spec rules `json:"spec"`
	}
	readManifest(t, "manifests/monitoring/alerts.yaml", &out)
	require.Len(t, out.Spec.Groups, 1)
	require.NotEmpty(t, out.Spec.Groups[0].Rules)
	for i := range out.Spec.Groups[0].Rules {
		change(&out.Spec.Groups[0].Rules[i])
	}
	return out.Spec
}

func unchanged(*rule) {}

// runRuleTests puts the rules through all that testdata/monitoring expects of them.
func runRuleTests(t *testing.T, r rules) (string, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/monitoring")))
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.json"), text, 0o644))
	out, err := promtool(t, dir, "", "check", "rules", "rules.json")
	require.NoError(t, err, out)
	return promtool(t, dir, "", "test", "rules", "minutes.yaml", "days.yaml")
}

func TestAlerts_FireAsExpected(t *testing.T) {
	t.Parallel()
	out, err := runRuleTests(t, readAlerts(t, unchanged))
	assert.NoError(t, err, out)
}

// What is expected of an alert is worth as much as it finds in a broken one.
func TestAlerts_BrokenRuleFailsItsTest(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*rule)
		line   string // of the output, in which the alert is named
	}{
		"it never fires":       {func(r *rule) { r.Expr = "vector(0) == 1" }, "exp:"},
		"it waits for nothing": {func(r *rule) { r.For = "" }, "got:"},
		"it waits too long":    {func(r *rule) { r.For = "30d" }, "exp:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := runRuleTests(t, readAlerts(t, row.change))
			assert.Error(t, err)
			var lines strings.Builder
			for line := range strings.Lines(out) {
				if strings.HasPrefix(strings.TrimSpace(line), row.line) {
					lines.WriteString(line)
				}
			}
			for _, r := range readAlerts(t, unchanged).Groups[0].Rules {
				assert.Contains(t, lines.String(), fmt.Sprintf("alertname=%q", r.Alert))
			}
		})
	}
}

func TestAlerts_HaveSeverityAndRunbookText(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, r := range readAlerts(t, unchanged).Groups[0].Rules {
		assert.True(t, strings.HasPrefix(r.Alert, "Vault"), r.Alert)
		assert.False(t, names[r.Alert], "%s is there twice", r.Alert)
		names[r.Alert] = true
		assert.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		assert.NotEmpty(t, r.For, r.Alert)
		for _, annotation := range []string{"summary", "description", "runbook"} {
			assert.NotEmpty(t, r.Annotations[annotation], "%s of %s", annotation, r.Alert)
			assert.NotContains(t, r.Annotations[annotation], "://", "%s of %s is in words", annotation, r.Alert)
		}
	}
}
