package integration

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// newEnv returns an environment for what is made before the scenario.
func newEnv(t *testing.T) *testenv.Env {
	t.Helper()
	env, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, env.Close()) })
	return env
}

// tlsListener returns a listener with an authority's certificate, in HCL, and
// its address.
func tlsListener(t *testing.T, a *testenv.CA, more string) (hcl, addr string) {
	t.Helper()
	port, err := testenv.Port()
	require.NoError(t, err)
	return fmt.Sprintf("listener \"tcp\" {\n  address = \"127.0.0.1:%s\"\n  tls_cert_file = %q\n  tls_key_file = %q\n  %s\n}",
		port, a.CertFile, a.KeyFile, more), "https://127.0.0.1:" + port
}

// checkWithoutKubernetes runs the subcommand check beside Vault, without Kubernetes.
func (sc *scenario) checkWithoutKubernetes(args ...string) checkResult {
	sc.Helper()
	return sc.runCheck(nil, append([]string{sc.env.Binary("vault-unseal-sidecar"), "check", "--kubernetes", "off",
		"--keys", sc.secret.Dir, "--state-dir", sc.stateDir}, args...)...)
}

func TestUnixSocket_RecoveryAndHold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(newEnv(t).Dir, "vault.sock")
	run(t, setup{
		listeners: fmt.Sprintf("listener \"unix\" {\n  address = %q\n  socket_mode = \"0666\"\n}", path),
		args:      []string{"--vault-addr", "unix://" + path},
	},
		phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(1)}},
		phase{"an operator seals", sealVault, []condition{phaseIs("held"), sendsNothing()}},
		phase{"the sidecar restarts: still held", sequence(killSidecar, startSidecar), []condition{phaseIs("held"), sendsNothing()}},
		phase{"vault ends in peace and starts", sequence(stopVault, startVaultAndWait), []condition{serving(), sharesSent(1)}},
		phase{"vault is killed and starts", restartVaultAtOnce, []condition{serving(), sharesSent(1)}},
	)
}

func TestClientCertificate_IsSentWhenVaultRequiresIt(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	a, err := env.NewCA("mutual")
	require.NoError(t, err)
	certFile, keyFile, err := a.IssueClientCert("sidecar")
	require.NoError(t, err)
	hcl, addr := tlsListener(t, a, fmt.Sprintf("tls_require_and_verify_client_cert = true\n  tls_client_ca_file = %q", a.CAFile))
	args := []string{"--vault-addr", addr, "--vault-cacert", a.CAFile}

	t.Run("and gets none", func(t *testing.T) {
		run(t, setup{listeners: hcl, args: args},
			phase{"the sidecar starts", startSidecar, []condition{phaseIs("failing"), logContains("--vault-client-cert"), logContains("second listener"), sharesSent(0)}})
	})
	t.Run("and gets it", func(t *testing.T) {
		args := append(args, "--vault-client-cert", certFile, "--vault-client-key", keyFile)
		sc := run(t, setup{listeners: hcl, args: args},
			phase{"the sidecar starts", startSidecar, []condition{serving(), sharesSent(1)}},
			phase{"the certificate is renewed and vault restarts", func(sc *scenario) {
				_, _, err := a.IssueClientCert("sidecar") // into the same files
				require.NoError(sc, err)
				restartVaultAtOnce(sc)
			}, []condition{serving(), sharesSent(1)}},
		)
		assert.True(t, sc.checkWithoutKubernetes(args...).hasFinding("ok", "vault", "vault is unsealed"))
	})
}

func TestServerCertificate_ExpiryIsReported(t *testing.T) {
	t.Parallel()
	a, err := newEnv(t).NewCA("old")
	require.NoError(t, err)
	ended := time.Now().Add(-time.Minute)
	require.NoError(t, a.RenewServerCert(ended))
	hcl, addr := tlsListener(t, a, "")
	args := []string{"--vault-addr", addr, "--vault-cacert", a.CAFile}
	sc := run(t, setup{listeners: hcl, args: args},
		phase{"the sidecar starts: TLS stays verified, and it says what to do", startSidecar, []condition{
			phaseIs("failing"), logContains("its certificate ran out on"), logContains("second listener on loopback"), sharesSent(0),
			metricsContain(fmt.Sprintf(`vault_unseal_sidecar_certificate_expiry_timestamp_seconds{whose="vault"} %v`, float64(ended.Unix()))),
		}},
	)
	found := sc.checkWithoutKubernetes(args...)
	assert.Equal(t, 4, found.code)
	assert.True(t, found.hasFinding("failure", "vault", "vault's certificate, or one that vouches for it, ran out on "+ended.UTC().Format(time.DateOnly)), found.output)

	require.NoError(t, a.RenewServerCert(time.Now().Add(48*time.Hour)))
	sc.vault.Process.Signal(syscall.SIGHUP) // Vault reads its certificates again
	await(sc, serving())
	found = sc.checkWithoutKubernetes(args...)
	assert.Equal(t, 3, found.code, found.output)
	assert.True(t, found.hasFinding("warning", "vault", "runs out on "), found.output)
}
