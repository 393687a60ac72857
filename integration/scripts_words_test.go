package integration

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// Vault's certificate lacks the address at which its own client asks.
func TestBootstrap_RepeatsWhatVaultsClientSays(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	kubectl := filepath.Join(s.env.Dir, "bin", "kubectl")
	text, err := os.ReadFile(kubectl)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(kubectl, []byte(strings.ReplaceAll(string(text), s.closedProxy.Addr, untrusted.URL)), 0o755))

	out, err := s.runScript(s.newPassword()+"\n", "bootstrap", "--admin", "maria")
	require.Error(t, err, out)
	assert.Contains(t, out, "bootstrap: Vault in vault-0 does not answer its own client: ")
	assert.Contains(t, out, "x509: certificate signed by unknown authority")
	assert.Contains(t, out, "Set VAULT_CACERT")
}
