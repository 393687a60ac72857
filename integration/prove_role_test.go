package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const proveRole = "vault-unseal-sidecar"

// enableKubernetesAuth opens Vault and makes it ask the API server who a pod is. The role
// of proofs has the policy that the README shows.
func enableKubernetesAuth(sc *scenario) {
	require.NoError(sc, sc.cluster.Apply(sc.ctx, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reviewer, namespace: security}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reviewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: reviewer, namespace: security}]
`))
	reviewer, err := sc.cluster.Token(sc.ctx, "security", "reviewer", "")
	require.NoError(sc, err)
	ca, err := os.ReadFile(sc.cluster.CAFile)
	require.NoError(sc, err)
	policy, err := os.ReadFile(sc.env.Source("scripts/prove-key.hcl"))
	require.NoError(sc, err)
	require.NoError(sc, sc.vault.UnsealAll(sc.ctx))
	for _, row := range []struct {
		path string
		body map[string]any
	}{
		{"sys/auth/kubernetes", map[string]any{"type": "kubernetes"}},
		{"auth/kubernetes/config", map[string]any{"kubernetes_host": sc.cluster.URL, "kubernetes_ca_cert": string(ca),
			"token_reviewer_jwt": reviewer, "disable_local_ca_jwt": true}},
		{"sys/policies/acl/" + proveRole, map[string]any{"policy": string(policy)}},
		{"sys/policies/acl/less", map[string]any{"policy": `path "sys/r*" { capabilities = ["read"] }`}},
		{"auth/kubernetes/role/" + proveRole, authRole(proveRole, "vault")},
		{"auth/kubernetes/role/less", authRole("less", "vault")},
		{"auth/kubernetes/role/another", authRole(proveRole, "another")},
	} {
		_, err := sc.vault.Call(sc.ctx, "POST", row.path, row.body, nil)
		require.NoError(sc, err)
	}
}

func authRole(policy, account string) map[string]any {
	return map[string]any{"bound_service_account_names": account, "bound_service_account_namespaces": "security",
		"token_policies": policy, "token_ttl": "2m", "token_max_ttl": "2m"}
}

// countTokens counts those that Vault knows.
func (sc *scenario) countTokens() int {
	var out struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	_, err := sc.vault.Call(sc.ctx, "LIST", "auth/token/accessors", nil, &out)
	require.NoError(sc, err)
	return len(out.Data.Keys)
}

func (sc *scenario) startClosedProxy(rule proxy.Rule) *testenv.ClosedProxy {
	c, err := sc.env.StartClosedProxy(sc.vault, rule)
	require.NoError(sc, err)
	awaitClosedProxy(sc.T, c)
	return c
}

func TestProof_WorksUnderEachRule(t *testing.T) {
	t.Parallel()
	const proved = "proved: vault takes the mounted key"
	sc := newScenario(t, setup{cluster: true, shares: 3, threshold: 2})
	enableKubernetesAuth(sc)
	right, before := sc.vault.Keys, sc.countTokens()
	for _, row := range []struct {
		rule    proxy.Rule
		without string // what a proof without a login says
		asked   string // which path a login leads to
	}{
		{proxy.Open, proved, "sys/rekey/"},
		{proxy.Vault2, "vault wants a token for it: set --prove-role, or enable_unauthenticated_access", "sys/rekey/"},
		{proxy.OpenBao, "this server has closed it: set --prove-role, or disable_unauthed_rekey_endpoints", "sys/rotate/root/"},
	} {
		t.Run(string(row.rule), func(t *testing.T) {
			sc.T = t
			c := sc.startClosedProxy(row.rule)
			at, role := "VAULT_ADDR="+c.Addr, "PROVE_ROLE="+proveRole
			assert.Contains(t, sc.checkInContainer([]string{at}, "--prove-key").output, row.without)
			for _, without := range c.Requests("") {
				assert.False(t, without.Token, without.Path)
			}

			got := sc.checkInContainer([]string{at, role}, "--prove-key")
			assert.Contains(t, got.output, proved)
			assert.Len(t, c.Requests(row.asked+"update"), map[bool]int{true: 4, false: 2}[row.rule == proxy.Open], "two shares for each proof")
			assert.Contains(t, sc.checkInContainer([]string{at, role}).output, "can log in and may prove the key")

			require.NoError(t, sc.secret.WriteShares(randomShare(33), randomShare(33)))
			got = sc.checkInContainer([]string{at, role}, "--prove-key")
			assert.Equal(t, 4, got.code, got.output)
			assert.Contains(t, got.output, "proved: vault would not open with the mounted key")
			require.NoError(t, sc.secret.WriteShares(right...))

			for _, given := range []struct{ role, mount, says, proof string }{
				{"another", "kubernetes", `the role \"another\" cannot log in at auth/kubernetes`, "cannot log in"},
				{"none", "kubernetes", `the role \"none\" cannot log in at auth/kubernetes`, "cannot log in"},
				{proveRole, "elsewhere", "cannot log in at auth/elsewhere", "cannot log in"},
				{"less", "kubernetes", "they lack update on " + row.asked + "init", ""},
			} {
				env := []string{at, "PROVE_ROLE=" + given.role, "PROVE_MOUNT=" + given.mount}
				got := sc.checkInContainer(env)
				assert.Equal(t, 3, got.code, got.output)
				assert.Contains(t, got.output, given.says)
				if given.proof != "" || row.rule != proxy.Open {
					assert.Contains(t, sc.checkInContainer(env, "--prove-key").output, "could not be proved: ")
				}
			}
			assert.Equal(t, before, sc.countTokens(), "each token was revoked")
			require.NoError(t, testenv.Await(sc.ctx, waitTimeout, "no rekey", func() string { return rekeyStarted(false).check(sc) }))
		})
	}
}

// The sidecar itself: a proof with a login, what a killed one left, and what a
// Vault that refuses is asked.
func TestProof_SidecarWorksUnderClosedRules(t *testing.T) {
	t.Parallel()
	for _, rule := range []proxy.Rule{proxy.Vault2, proxy.OpenBao} {
		t.Run(string(rule), func(t *testing.T) {
			t.Parallel()
			sc := newScenario(t, setup{cluster: true})
			enableKubernetesAuth(sc)
			before, c := sc.countTokens(), sc.startClosedProxy(rule)
			sc.startSidecarInContainer(c.Addr, "--prove-interval", "1m", "--prove-role", proveRole)
			await(sc, logContains("proved that the mounted key opens vault"))
			await(sc, metricsContain(`vault_unseal_sidecar_key_proof{result="valid"} 1`))
			await(sc, rekeyStarted(false))
			assert.Equal(t, before, sc.countTokens())
			jwt, err := os.ReadFile(sc.tokenPath)
			require.NoError(t, err)
			assert.NotContains(t, sc.sidecarLog(), strings.TrimSpace(string(jwt)))
			assert.NotContains(t, sc.sidecarLog(), "hvs.")
			killSidecar(sc)

			asked := len(c.Requests("sys/rekey/"))
			sc.startSidecarInContainer(c.Addr, "--prove-interval", "1m")
			await(sc, logContains("the mounted key could not be proved"))
			assert.Contains(t, sc.sidecar.Output(), "set --prove-role")
			assert.Len(t, c.Requests("sys/rekey/"), asked+1, "one no is enough")
		})
	}
}

// startSidecarInContainer starts the sidecar as in its container, with that Vault.
func (sc *scenario) startSidecarInContainer(vault string, args ...string) {
	namespace := "-m"
	if os.Geteuid() != 0 {
		namespace = "-rm"
	}
	s, err := sc.env.StartSidecar(testenv.SidecarConfig{Vault: vault, Keys: sc.secret.Dir, State: sc.stateDir,
		Args: append(append([]string{"--log-level", "trace"}, sc.setup.args...), args...),
		Wrap: []string{"unshare", namespace, "sh", "-c", containerScript, "sh", sc.secret.Dir, sc.tokenPath, sc.cluster.CAFile}})
	require.NoError(sc, err)
	sc.sidecar = s
	sc.sidecars = append(sc.sidecars, s)
}

// The policy that scripts/README.md shows is the one that was proved to be enough, and
// allows nothing else.
func TestProof_PolicyAllowsNothingElse(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{cluster: true})
	enableKubernetesAuth(sc)
	file, err := os.ReadFile(sc.env.Source("scripts/prove-key.hcl"))
	require.NoError(t, err)
	readme, err := os.ReadFile(sc.env.Source("scripts/README.md"))
	require.NoError(t, err)
	_, policy, _ := strings.Cut(string(file), "\n\n")
	assert.Contains(t, string(readme), "```hcl\n# scripts/prove-key.hcl\n"+policy+"```\n")

	jwt, err := os.ReadFile(sc.tokenPath)
	require.NoError(t, err)
	code, text := request(t, "POST", sc.vault.Addr+"/v1/auth/kubernetes/login", "", fmt.Sprintf(`{"role":%q,"jwt":%q}`, proveRole, jwt))
	require.Equal(t, http.StatusOK, code, text)
	var login struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &login))
	allowed := map[string][]string{
		"sys/rekey/init": {"delete", "read", "update"}, "sys/rekey/update": {"update"},
		"sys/rotate/root/init": {"delete", "read", "update"}, "sys/rotate/root/update": {"update"},
		"auth/token/revoke-self": {"update"},
	}
	denied := []string{
		"sys/rekey/verify", "sys/rekey/backup", "sys/rekey-recovery-key/init", "sys/rotate", "sys/rotate/root", "sys/rotate/root/verify",
		"sys/rotate/root/backup", "sys/rotate/config", "sys/generate-root/attempt", "sys/generate-root/update", "sys/seal", "sys/step-down",
		"sys/policies/acl/x", "sys/auth/x", "sys/mounts/x", "sys/audit/x", "sys/raw/x", "sys/storage/raft/snapshot", "auth/token/create",
		"auth/kubernetes/role/x", "auth/kubernetes/config", "secret/data/x", "identity/entity", "sys/leases/lookup/x",
	}
	paths := denied
	for path := range allowed {
		paths = append(paths, path)
	}
	raw, err := json.Marshal(map[string]any{"paths": paths})
	require.NoError(t, err)
	code, text = request(t, "POST", sc.vault.Addr+"/v1/sys/capabilities-self", login.Auth.Token, string(raw))
	require.Equal(t, http.StatusOK, code, text)
	var has struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &has))
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			var got []string
			require.NoError(t, json.Unmarshal(has.Data[path], &got))
			want := allowed[path]
			if want == nil {
				want = []string{"deny"}
			}
			assert.ElementsMatch(t, want, got)
		})
	}
}

// What a killed proof left begun is canceled with proofs switched off, too.
func TestProof_StaleRekeyIsCanceledWithProofsOff(t *testing.T) {
	t.Parallel()
	run(t, setup{},
		phase{"a proof was killed in its middle", func(sc *scenario) {
			require.NoError(sc, sc.vault.UnsealAll(sc.ctx))
			abandonRekey(sc)
		}, []condition{rekeyStarted(true)}},
		phase{"the sidecar starts", startSidecar, []condition{serving(), rekeyStarted(false)}},
	)
}

// What another process of the pod proved reaches the sidecar: a key that is new
// is no cause for worry once Vault took it.
func TestProof_OfAnotherProcessReachesTheSidecar(t *testing.T) {
	t.Parallel()
	sc := newScenario(t, setup{})
	startSidecar(sc)
	await(sc, serving())
	var begun struct {
		Nonce string `json:"nonce"`
	}
	_, err := sc.vault.Call(sc.ctx, "PUT", "sys/rekey/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, &begun)
	require.NoError(t, err)
	var rekey struct {
		Keys []string `json:"keys_base64"`
	}
	_, err = sc.vault.Call(sc.ctx, "PUT", "sys/rekey/update", map[string]any{"key": sc.vault.Keys[0], "nonce": begun.Nonce}, &rekey)
	require.NoError(t, err)
	sc.vault.Keys = rekey.Keys
	mountVaultShares(sc)
	await(sc, metricsContain("vault_unseal_sidecar_key_changed_since_unseal 1"))
	check := func(args ...string) checkResult {
		return sc.runCheck([]string{"VAULT_ADDR=" + sc.vault.Addr, "UNSEAL_KEYS_PATH=" + sc.secret.Dir, "STATE_DIR=" + sc.stateDir, "KUBERNETES=off"},
			append([]string{sc.env.Binary("vault-unseal-sidecar"), "check"}, args...)...)
	}
	status := func() string {
		_, bind, _ := strings.Cut(sc.sidecar.HTTP, "://")
		p, err := sc.env.StartProgram("status", []string{"HTTP_BIND=" + bind}, sc.env.Binary("vault-unseal-sidecar"), "status")
		require.NoError(t, err)
		_, err = p.ExitCode(waitTimeout)
		require.NoError(t, err)
		return strings.Join(strings.Fields(p.Output()), " ")
	}
	assert.True(t, check().hasFinding("warning", "recovery", "the mounted key changed since it last opened vault"))
	assert.Contains(t, status(), "another key is mounted since Vault was last opened")

	assert.Contains(t, check("--prove-key").output, "proved: vault takes the mounted key")
	await(sc, metricsContain(`vault_unseal_sidecar_key_proof{result="valid"} 1`))
	await(sc, logContains("proved that the mounted key opens vault"))
	assert.True(t, check().hasFinding("ok", "recovery", "vault took the mounted key in a proof at "))
	assert.NotContains(t, status(), "another key is mounted since Vault was last opened")
	assert.Contains(t, status(), "valid, it would open Vault")

	killSidecar(sc)
	startSidecar(sc)
	await(sc, serving())
	await(sc, metricsContain(`vault_unseal_sidecar_key_proof{result="valid"} 1`))

	mountShares(randomShare(32))(sc)
	await(sc, metricsContain(`vault_unseal_sidecar_key_proof{result="none"} 1`))
	assert.Equal(t, 4, check("--prove-key").code)
	await(sc, metricsContain(`vault_unseal_sidecar_key_proof{result="invalid"} 1`))
}
