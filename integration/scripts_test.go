package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

var scripts = []string{"bootstrap", "seed-key", "migrate", "rotate", "verify", "release"}

// runScriptOffline runs a script without a cluster and returns its exit code.
func runScriptOffline(t *testing.T, script string, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command(filepath.Join("../scripts", script), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=/nowhere")
	text, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil {
		require.ErrorAs(t, err, &exit)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func TestScripts_PrintUsage(t *testing.T) {
	t.Parallel()
	for _, script := range scripts {
		t.Run(script, func(t *testing.T) {
			for _, flag := range []string{"--help", "-h"} {
				code, out := runScriptOffline(t, script, flag)
				assert.Equal(t, 0, code, flag)
				assert.Regexp(t, `^usage: `, out)
				for _, option := range []string{"--help", "--dry-run"} {
					assert.Contains(t, out, "  "+option+" ")
				}
			}
			code, out := runScriptOffline(t, script, "--no-such")
			assert.Equal(t, 2, code, out)
			assert.Contains(t, out, "no such option: --no-such")
		})
	}
}

func TestScripts_RefuseInvalidArguments(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		script string
		args   []string
		says   string
	}{
		{"verify", []string{"--namespace"}, "--namespace needs a value"},
		{"migrate", []string{"--cronjobs"}, "--cronjobs needs a value"},
		{"migrate", []string{"--home", "here", "--image", "there"}, "--image: with --home"},
		{"release", []string{"--tag"}, "--tag needs a value"},
		{"bootstrap", []string{"--role"}, "--role needs a value"},
		{"bootstrap", []string{"--shares", "2", "--threshold", "3"}, "no more threshold than shares"},
		{"bootstrap", []string{"--shares", "2", "--threshold", "1"}, "Vault wants a threshold above 1"},
		{"bootstrap", []string{"--admin", "A Name"}, "--admin A Name: accepted are small letters"},
		{"rotate", []string{"--token-file"}, "--token-file needs a value"},
		{"bootstrap", []string{"--shares", "two"}, "accepted are numbers from 1"},
	} {
		t.Run(row.script+" "+strings.Join(row.args, " "), func(t *testing.T) {
			code, out := runScriptOffline(t, row.script, row.args...)
			assert.Equal(t, 2, code, out)
			assert.Contains(t, out, row.says)
			assert.Contains(t, out, "--help tells more")
		})
	}
}

// terminalBuffer keeps what was shown, for one that reads while it is still written.
type terminalBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *terminalBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *terminalBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// The key is typed at a terminal, which does not show it, or comes in by a
// pipe; and goes where the settings say.
func TestSeedKey_WritesTheSecret(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	ctx := t.Context()
	cluster, err := clusters.Take(ctx, env, false)
	require.NoError(t, err)
	require.NoError(t, cluster.Apply(ctx, `{apiVersion: v1, kind: Namespace, metadata: {name: security}}`,
		`{apiVersion: v1, kind: Namespace, metadata: {name: strongroom}}`,
		`{apiVersion: v1, kind: ServiceAccount, metadata: {name: person, namespace: security}}`,
		`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: person}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin},
			subjects: [{kind: ServiceAccount, name: person, namespace: security}]}`))
	kubeconfig, err := cluster.Kubeconfig(ctx, "security", "person", "")
	require.NoError(t, err)
	bin, err := env.Mkdir("bin")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(env.Binary("servers/kubectl"), filepath.Join(bin, "kubectl")))
	command := func(program string, args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+bin+":"+os.Getenv("PATH"))
		return cmd
	}
	script := env.Source("scripts/seed-key")
	seed := func(in string, args ...string) string {
		cmd := command(script, args...)
		cmd.Stdin = strings.NewReader(in)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	stored := func(namespace string) string {
		o, err := cluster.Get(ctx, "v1", "Secret", namespace, "vault-unseal-key")
		if err != nil {
			return err.Error()
		}
		data, _ := o.Object["data"].(map[string]any)["key"].(string)
		text, err := base64.StdEncoding.DecodeString(data)
		require.NoError(t, err)
		return string(text)
	}
	first, second := strings.Repeat("A", 43)+"=", strings.Repeat("B", 42)+"A="

	assert.Contains(t, seed("half a key\n"), "this is not a key: line 1: too short for a share: 3 bytes decoded, expected 16 to 33 (and 2 more)")
	assert.Contains(t, seed(""), "this is not a key: empty")
	assert.Contains(t, seed("hvs.madeUpTokenOfNobody0123456789"), "this is not a key: looks like a token of Vault's")
	assert.Contains(t, seed(first, "--namespace", "nowhere"), "there is no namespace nowhere")
	assert.Contains(t, seed(first, "--settings", "/nowhere"), "the settings /nowhere cannot be read")
	assert.Contains(t, stored("security"), "not found")

	// script is Debian's, and gives a program a terminal.
	cmd := command("script", "-qefc", script, "/dev/null")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	shown := new(terminalBuffer)
	cmd.Stdout, cmd.Stderr = shown, shown
	require.NoError(t, cmd.Start())
	require.NoError(t, testenv.Await(ctx, 30*time.Second, "the prompt", func() string {
		if text := shown.String(); !strings.Contains(text, "It is not shown.") {
			return "the screen says " + strconv.Quote(text)
		}
		return ""
	}))
	const root = "hvs.madeUpTokenOfNobody0123456789"
	_, err = io.WriteString(in, "Unseal Key 1: "+first+"\n\nInitial Root Token: "+root+"\n\nVault initialized with 1 key shares\n\n")
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), shown.String())
	assert.NotContains(t, shown.String(), "AAAA")
	assert.NotContains(t, shown.String(), root)
	assert.Contains(t, shown.String(), "a token of Vault's is left out")
	assert.Contains(t, shown.String(), "put 1 share(s) into the Secret vault-unseal-key in security")
	assert.Equal(t, first, stored("security"))

	assert.Contains(t, seed(first+"\r\n"), "holds this key already")
	assert.Contains(t, seed(second), "holds another key: --replace")
	assert.Contains(t, seed(second, "--replace", "--dry-run"), "would put 1 share(s)")
	assert.Equal(t, first, stored("security"))
	assert.Contains(t, seed(second, "--replace"), "put 1 share(s)")
	assert.Equal(t, second, stored("security"))

	assert.Contains(t, seed(`{"keys_base64": ["`+first+`", "`+strings.TrimRight(second, "=")+`"], "root_token": "`+root+`"}`, "--replace"), "put 2 share(s)")
	assert.Equal(t, first+"\n"+second, stored("security"))
	assert.Contains(t, seed(second, "--replace"), "put 1 share(s)")

	settings, err := os.ReadFile(env.Source("manifests/homelab/settings.yaml"))
	require.NoError(t, err)
	file := filepath.Join(env.Dir, "settings.yaml")
	require.NoError(t, os.WriteFile(file, bytes.Replace(settings, []byte("namespace: security"), []byte("namespace: strongroom"), 1), 0o644))
	assert.Contains(t, seed(first, "--settings", file), "in strongroom")
	assert.Equal(t, first, stored("strongroom"))
	assert.Contains(t, seed(second, "--settings", file, "--namespace", "security"), "in security holds this key already")
	require.NoError(t, os.WriteFile(file, []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: some}}"), 0o644))
	assert.Contains(t, seed(first, "--settings", file), "do not say namespace")
}
