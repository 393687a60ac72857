package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kubeconfigOf is a file with one cluster of each name, and a context and a user of the
// same name.
func kubeconfigOf(current string, names ...string) string {
	text := "{apiVersion: v1, kind: Config, current-context: " + current + ", clusters: [CLUSTERS], users: [USERS], contexts: [CONTEXTS]}"
	var clusters, users, contexts []string
	for _, name := range names {
		clusters = append(clusters, "{name: "+name+", cluster: {server: 'https://"+name+":6443'}}")
		users = append(users, "{name: "+name+", user: {token: of-"+name+"}}")
		contexts = append(contexts, "{name: "+name+", context: {cluster: "+name+", user: "+name+"}}")
	}
	return strings.NewReplacer("CLUSTERS", strings.Join(clusters, ","), "USERS", strings.Join(users, ","), "CONTEXTS", strings.Join(contexts, ",")).Replace(text)
}

func TestFromKubeconfig_ReadsFilesAsKubectlDoes(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("home", []byte(kubeconfigOf("home", "home")), 0o600))
	require.NoError(t, os.WriteFile("work", []byte(kubeconfigOf("work", "work", "test")), 0o600))
	absolute, err := filepath.Abs("work")
	require.NoError(t, err)
	for _, row := range []struct {
		sentence, files, context string
		server, problem          string
	}{
		{"a relative file", "home", "", "https://home:6443", ""},
		{"an absolute file", absolute, "", "https://work:6443", ""},
		{"a context", "work", "test", "https://test:6443", ""},
		{"of two files the first that names a current context", "home:" + absolute, "", "https://home:6443", ""},
		{"a context of the second", "home:work", "test", "https://test:6443", ""},
		{"one of several is missing", "nowhere:work", "", "https://work:6443", ""},
		{"the only one is missing", "nowhere", "", "", "nowhere"},
		{"there is no such context", "home:work", "prod", "", "context was not found for specified context: prod"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			connection, err := fromKubeconfig(Config{Kubeconfig: row.files, Context: row.context})
			if row.problem != "" {
				assert.ErrorContains(t, err, row.problem)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, row.server, connection.Host)
			assert.Equal(t, "of-"+strings.TrimSuffix(strings.TrimPrefix(row.server, "https://"), ":6443"), connection.BearerToken)
		})
	}
}
