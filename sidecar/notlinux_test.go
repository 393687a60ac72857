package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// buildNotLinux builds the program of the files that other systems have, for the
// system of the test: what is in it can be run.
func buildNotLinux(t *testing.T) string {
	t.Helper()
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	replace := map[string]string{}
	linux, err := filepath.Glob(filepath.Join(here, "*_linux.go"))
	require.NoError(t, err)
	require.NotEmpty(t, linux)
	for _, file := range linux {
		replace[file] = "" // is not there
	}
	dir := t.TempDir()
	other := filepath.Join(here, "notlinux.go")
	text, err := os.ReadFile(other)
	require.NoError(t, err)
	without, found := bytes.CutPrefix(text, []byte("//go:build !linux\n"))
	require.True(t, found)
	replace[other] = filepath.Join(dir, "notlinux.go")
	require.NoError(t, os.WriteFile(replace[other], without, 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	binary := filepath.Join(dir, "vault-unseal-sidecar")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

func TestNotLinux_RefusesWhatIsForThePod(t *testing.T) {
	binary := buildNotLinux(t)
	home := t.TempDir()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	kubeconfig := filepath.Join(home, "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `{apiVersion: v1, kind: Config, current-context: a,
		clusters: [{name: a, cluster: {server: "http://%s"}}], contexts: [{name: a, context: {cluster: a}}]}`, closed.Addr()), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(home, ".kube"), 0o700))
	require.NoError(t, os.Link(kubeconfig, filepath.Join(home, ".kube/config")))
	for name, row := range map[string]struct {
		args []string
		code int
		says string // all of it where it ends a line
	}{
		"the sidecar":               {nil, exitUsage, "run: the sidecar runs in Vault's pod, on Linux; here there are check with a kubeconfig, status and version\n"},
		"the sidecar, by its name":  {[]string{"run"}, exitUsage, "run: the sidecar runs in Vault's pod, on Linux; here"},
		"a check of the container":  {[]string{"check"}, exitFailed, "the check could not run: the key and Vault are in Vault's pod, on Linux; set --pod-name and --pod-namespace, and --kubeconfig where ~/.kube/config is not meant\n"},
		"a proof":                   {[]string{"check", "--prove-key"}, exitFailed, "the check could not run: the key and Vault are in Vault's pod, on Linux; "},
		"a check of a cluster":      {[]string{"check", "--kubeconfig", kubeconfig, "--pod-name=vault-0", "--pod-namespace=security"}, exitFailed, "asking the Kubernetes API: "},
		"a check of an unnamed pod": {[]string{"check", "--kubeconfig", kubeconfig}, exitUsage, "which pod to look at is not said"},
		"a context, and no pod":     {[]string{"check", "--context", "a"}, exitUsage, "which pod to look at is not said; set --pod-name and --pod-namespace"},
		"a status of nobody":        {[]string{"status", "--http-bind", closed.Addr().String()}, exitFailed, "asking the sidecar for its status: "},
		"an option that is not one": {[]string{"run", "--nothing"}, exitUsage, "flag provided but not defined"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(binary, row.args...)
			cmd.Env = []string{"HOME=" + home}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.Output()
			require.Error(t, err)
			assert.Equal(t, row.code, cmd.ProcessState.ExitCode())
			assert.Contains(t, stderr.String(), row.says)
			assert.Equal(t, 1, bytes.Count(stderr.Bytes(), []byte("\n")), stderr.String())
			assert.Empty(t, stdout)
		})
	}
	plugin := filepath.Join(home, "plugin")
	require.NoError(t, os.WriteFile(plugin, fmt.Appendf(nil, `{apiVersion: v1, kind: Config, current-context: a,
		clusters: [{name: a, cluster: {server: "https://%s"}}], contexts: [{name: a, context: {cluster: a, user: a}}],
		users: [{name: a, user: {exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh,
			args: ["-c", "echo asks $VAULT_TOKEN >&2; exit 1"]}}}]}`, closed.Addr()), 0o600))
	t.Run("a kubeconfig's plugin keeps its environment", func(t *testing.T) {
		cmd := exec.Command(binary, "check", "--kubeconfig", plugin, "--pod-name=vault-0", "--pod-namespace=security")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "VAULT_TOKEN=its-vault"}
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(out), "asks its-vault\n")
		assert.Contains(t, string(out), "getting credentials: exec: ")
	})
	text, err := os.ReadFile(binary)
	require.NoError(t, err)
	out, err := exec.Command(binary, "version").Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), fmt.Sprintf("\nsha256 %x\n", sha256.Sum256(text)))
}
