package integration

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	l, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	right, err := l.Authority("right")
	require.NoError(t, err)
	wrong, err := l.Authority("wrong")
	require.NoError(t, err)

	t.Run("with the private CA that signed it", func(t *testing.T) {
		play(t, home{tls: right, args: []string{"--vault-cacert", right.CAFile}},
			phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(1)}})
	})
	t.Run("with the name in the certificate", func(t *testing.T) {
		play(t, home{tls: right, args: []string{"--vault-cacert", right.CAFile, "--vault-server-name", "vault.test"}},
			phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(1)}})
	})
	t.Run("with another name", func(t *testing.T) {
		play(t, home{tls: right, args: []string{"--vault-cacert", right.CAFile, "--vault-server-name", "other.test"}},
			phase{"the sidecar starts", startSidecar, []expectation{phaseIs("failing"), logs("not trusted"), leavesVaultAlone(), sent(0)}})
	})
	t.Run("with the system's CAs, whatever VAULT_SKIP_VERIFY says", func(t *testing.T) {
		play(t, home{tls: right, env: []string{"VAULT_SKIP_VERIFY=true"}},
			phase{"the sidecar starts", startSidecar, []expectation{phaseIs("failing"), logs("not trusted"), leavesVaultAlone(), sent(0)}})
	})
	t.Run("with the wrong CA, then the right one", func(t *testing.T) {
		pem, err := os.ReadFile(right.CAFile)
		require.NoError(t, err)
		play(t, home{tls: right, args: []string{"--vault-cacert", wrong.CAFile}},
			phase{"the CA is another's", startSidecar, []expectation{phaseIs("failing"), logs("not trusted"), leavesVaultAlone(), sent(0)}},
			phase{"the CA file is mended", func(w *world) { require.NoError(w, os.WriteFile(wrong.CAFile, pem, 0o600)) },
				[]expectation{serving(), sent(1)}})
	})
}
