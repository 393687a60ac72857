package integration

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTLS_UsesTheCA(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	right, err := env.NewCA("right")
	require.NoError(t, err)
	wrong, err := env.NewCA("wrong")
	require.NoError(t, err)

	t.Run("with the private CA that signed it", func(t *testing.T) {
		run(t, setup{tls: right, args: []string{"--vault-cacert", right.CAFile}},
			phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(1)}})
	})
	t.Run("with the name in the certificate", func(t *testing.T) {
		run(t, setup{tls: right, args: []string{"--vault-cacert", right.CAFile, "--vault-server-name", "vault.test"}},
			phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(1)}})
	})
	t.Run("with another name", func(t *testing.T) {
		run(t, setup{tls: right, args: []string{"--vault-cacert", right.CAFile, "--vault-server-name", "other.test"}},
			phase{"the sidecar starts", startSidecar, []condition{phaseIs("failing"), logContains("not trusted"), sendsNothing(), sharesSent(0)}})
	})
	t.Run("with the system's CAs, despite VAULT_SKIP_VERIFY", func(t *testing.T) {
		run(t, setup{tls: right, env: []string{"VAULT_SKIP_VERIFY=true"}},
			phase{"the sidecar starts", startSidecar, []condition{phaseIs("failing"), logContains("not trusted"), sendsNothing(), sharesSent(0)}})
	})
	t.Run("with the wrong CA, then the right one", func(t *testing.T) {
		pem, err := os.ReadFile(right.CAFile)
		require.NoError(t, err)
		run(t, setup{tls: right, args: []string{"--vault-cacert", wrong.CAFile}},
			phase{"the CA is another's", startSidecar, []condition{phaseIs("failing"), logContains("not trusted"), sendsNothing(), sharesSent(0)}},
			phase{"the CA file is repaired", func(sc *scenario) { require.NoError(sc, os.WriteFile(wrong.CAFile, pem, 0o600)) },
				[]condition{serving(), sharesSent(1)}})
	})
}
