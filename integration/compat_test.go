package integration

import (
	"cmp"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// What make compat runs the scenarios against is the Vault that it names.
func TestVault_IsOfTheRequestedVersion(t *testing.T) {
	env := newEnv(t)
	requirements, err := os.ReadFile("servers/vault/go.mod")
	require.NoError(t, err)
	ours := regexp.MustCompile(`\sgithub.com/hashicorp/vault v(\S+)`).FindSubmatch(requirements)
	require.NotNil(t, ours)

	v, err := env.NewVault(testenv.VaultConfig{})
	require.NoError(t, err)
	require.NoError(t, v.StartAndWait(t.Context()))
	s, err := v.SealStatus(t.Context())
	require.NoError(t, err)
	assert.Equal(t, cmp.Or(os.Getenv("VAULT_VERSION"), string(ours[1])), s.Version)
}
