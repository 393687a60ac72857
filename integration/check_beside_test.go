package integration

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// A sidecar has its options as flags. What a person runs in its container looks where it
// looks, and sends no key to whom it sends none.
func TestCheck_HasTheOptionsOfTheSidecarInItsContainer(t *testing.T) {
	t.Parallel()
	sc := run(t, setup{}, phase{"vault is open", startSidecar, []condition{serving()}})
	port, err := testenv.Port()
	require.NoError(t, err)
	state, err := sc.env.Mkdir("state of the sidecar in a container")
	require.NoError(t, err)
	root := []string{"--map-root-user"}
	if os.Geteuid() == 0 {
		root = nil
	}
	container := exec.CommandContext(sc.ctx, "unshare", append(root, "--pid", "--fork", "--mount-proc", "--kill-child",
		sc.env.Binary("vault-unseal-sidecar"), "run", "--vault-addr", sc.vault.Addr, "--vault-uid", "100", "--keys", sc.secret.Dir,
		"--state-dir", state, "--http-bind", "127.0.0.1:"+port, "--kubernetes", "off")...)
	require.NoError(t, container.Start())
	t.Cleanup(func() { _ = container.Process.Kill(); _ = container.Wait() })
	first := ""
	require.NoError(t, testenv.Await(sc.ctx, waitTimeout, "the container's first process", func() string {
		of := strconv.Itoa(container.Process.Pid)
		children, err := os.ReadFile("/proc/" + of + "/task/" + of + "/children")
		if first = strings.TrimSpace(string(children)); err != nil || first == "" {
			return "none yet"
		}
		if line, err := os.ReadFile("/proc/" + first + "/cmdline"); err != nil || !strings.HasPrefix(string(line), sc.env.Binary("vault-unseal-sidecar")) {
			return "it runs no sidecar yet"
		}
		return ""
	}))
	enter := []string{"--target", first, "--pid", "--mount"}
	if os.Geteuid() != 0 {
		enter = append(enter, "--user", "--preserve-credentials")
	}
	found := sc.runCheck([]string{"VAULT_UID=", "KUBERNETES=off"}, append(append([]string{"nsenter"}, enter...), "--", sc.env.Binary("vault-unseal-sidecar"), "check")...)
	assert.True(t, found.hasFinding("failure", "vault", "the sidecar would not send the key: the process at vault's address runs as uid"), found.output)
	assert.True(t, found.hasFinding("ok", "vault", "vault is unsealed"), found.output)
}
