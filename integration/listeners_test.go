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

// beside returns a lab for what is made before the world is furnished.
func beside(t *testing.T) *testenv.Lab {
	t.Helper()
	l, err := testenv.New()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// secureListener returns a listener with an authority's certificate, in HCL, and
// its address.
func secureListener(t *testing.T, a *testenv.Authority, more string) (hcl, addr string) {
	t.Helper()
	port, err := testenv.Port()
	require.NoError(t, err)
	return fmt.Sprintf("listener \"tcp\" {\n  address = \"127.0.0.1:%s\"\n  tls_cert_file = %q\n  tls_key_file = %q\n  %s\n}",
		port, a.CertFile, a.KeyFile, more), "https://127.0.0.1:" + port
}

// checkedBeside runs the subcommand check beside Vault, without Kubernetes.
func (w *world) checkedBeside(args ...string) checked {
	w.Helper()
	return w.checked(nil, append([]string{w.lab.Binary("vault-unseal-sidecar"), "check", "--kubernetes", "off",
		"--keys", w.secret.Dir, "--state-dir", w.state}, args...)...)
}

func TestUnixSocket_RecoveryAndHold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(beside(t).Dir, "vault.sock")
	play(t, home{
		listeners: fmt.Sprintf("listener \"unix\" {\n  address = %q\n  socket_mode = \"0666\"\n}", path),
		args:      []string{"--vault-addr", "unix://" + path},
	},
		phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(1)}},
		phase{"an operator seals", sealVault, []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"the sidecar restarts: still held", all(killSidecar, startSidecar), []expectation{phaseIs("held"), leavesVaultAlone()}},
		phase{"vault ends in peace and starts", all(stopVault, startVaultAndWait), []expectation{serving(), sent(1)}},
		phase{"vault is killed and starts", restartVaultAtOnce, []expectation{serving(), sent(1)}},
	)
}

func TestClientCertificate_VaultWantsOne(t *testing.T) {
	t.Parallel()
	l := beside(t)
	a, err := l.Authority("mutual")
	require.NoError(t, err)
	certFile, keyFile, err := a.Client("sidecar")
	require.NoError(t, err)
	hcl, addr := secureListener(t, a, fmt.Sprintf("tls_require_and_verify_client_cert = true\n  tls_client_ca_file = %q", a.CAFile))
	args := []string{"--vault-addr", addr, "--vault-cacert", a.CAFile}

	t.Run("and gets none", func(t *testing.T) {
		play(t, home{listeners: hcl, args: args},
			phase{"the sidecar starts", startSidecar, []expectation{phaseIs("failing"), logs("--vault-client-cert"), logs("second listener"), sent(0)}})
	})
	t.Run("and gets it", func(t *testing.T) {
		args := append(args, "--vault-client-cert", certFile, "--vault-client-key", keyFile)
		w := play(t, home{listeners: hcl, args: args},
			phase{"the sidecar starts", startSidecar, []expectation{serving(), sent(1)}},
			phase{"the certificate is renewed and vault restarts", func(w *world) {
				_, _, err := a.Client("sidecar") // into the same files
				require.NoError(w, err)
				restartVaultAtOnce(w)
			}, []expectation{serving(), sent(1)}},
		)
		assert.True(t, w.checkedBeside(args...).has("ok", "vault", "vault is unsealed"))
	})
}

func TestServerCertificate_RanOut(t *testing.T) {
	t.Parallel()
	a, err := beside(t).Authority("old")
	require.NoError(t, err)
	ended := time.Now().Add(-time.Minute)
	require.NoError(t, a.Renew(ended))
	hcl, addr := secureListener(t, a, "")
	args := []string{"--vault-addr", addr, "--vault-cacert", a.CAFile}
	w := play(t, home{listeners: hcl, args: args},
		phase{"the sidecar starts: TLS stays verified, and it says what to do", startSidecar, []expectation{
			phaseIs("failing"), logs("its certificate ran out on"), logs("second listener on loopback"), sent(0),
			measures(fmt.Sprintf(`vault_unseal_sidecar_certificate_expiry_timestamp_seconds{whose="vault"} %v`, float64(ended.Unix()))),
		}},
	)
	found := w.checkedBeside(args...)
	assert.Equal(t, 4, found.code)
	assert.True(t, found.has("failure", "vault", "vault's certificate, or one that vouches for it, ran out on "+ended.UTC().Format(time.DateOnly)), found.output)

	require.NoError(t, a.Renew(time.Now().Add(48*time.Hour)))
	w.vault.Process.Signal(syscall.SIGHUP) // Vault reads its certificates again
	await(w, serving())
	found = w.checkedBeside(args...)
	assert.Equal(t, 3, found.code, found.output)
	assert.True(t, found.has("warning", "vault", "runs out on "), found.output)
}
