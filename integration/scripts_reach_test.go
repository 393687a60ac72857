package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever an API server says of a StatefulSet, the scripts of whoever asks it run nothing
// of that: bash evaluates what stands where it expects a number.
func TestScripts_EvaluateNothingThatTheAPIServerSays(t *testing.T) {
	dir := t.TempDir()
	owned := filepath.Join(dir, "owned")
	object := func(kind, version, name string, spec any) map[string]any {
		return map[string]any{"kind": kind, "apiVersion": version, "metadata": map[string]any{"name": name, "namespace": "security"}, "spec": spec}
	}
	list := func(group string, resources ...map[string]any) map[string]any {
		return map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		say := func(v any) { _ = json.NewEncoder(w).Encode(v) }
		switch path := strings.TrimSuffix(r.URL.Path, "/"); path {
		case "/api":
			say(map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
		case "/apis":
			say(map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{map[string]any{"name": "apps",
				"versions":         []any{map[string]any{"groupVersion": "apps/v1", "version": "v1"}},
				"preferredVersion": map[string]any{"groupVersion": "apps/v1", "version": "v1"}}}})
		case "/api/v1":
			say(list("v1", map[string]any{"name": "namespaces", "singularName": "namespace", "kind": "Namespace", "verbs": []string{"get", "list"}}))
		case "/apis/apps/v1":
			say(list("apps/v1", map[string]any{"name": "statefulsets", "singularName": "statefulset", "namespaced": true, "kind": "StatefulSet", "verbs": []string{"get", "list"}}))
		case "/api/v1/namespaces/security":
			say(object("Namespace", "v1", "security", nil))
		case "/apis/apps/v1/namespaces/security/statefulsets/vault":
			say(object("StatefulSet", "apps/v1", "vault", map[string]any{"replicas": "PATH[$(touch " + owned + ")]"}))
		default:
			w.WriteHeader(http.StatusNotFound)
			say(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
		}
	}))
	defer server.Close()
	config := filepath.Join(dir, "config")
	require.NoError(t, os.WriteFile(config, []byte(`{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}],
clusters: [{name: a, cluster: {server: "`+server.URL+`"}}], users: [{name: a, user: {}}]}`), 0o600))
	kubectl, err := filepath.Abs("../bin/servers")
	require.NoError(t, err)
	for _, script := range []string{"verify", "rotate", "migrate", "bootstrap"} {
		t.Run(script, func(t *testing.T) {
			cmd := exec.Command("timeout", "20", "bash", "../scripts/"+script, "--dry-run")
			cmd.Env = append(os.Environ(), "KUBECONFIG="+config, "HOME="+dir, "PATH="+kubectl+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			assert.Contains(t, string(out), "has no replicas, or more than 999")
			assert.NoFileExists(t, owned, "the server's command ran here")
		})
	}
}
