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

// vaultLogsIn opens Vault and makes it ask the API server who a pod is. The role
// of proofs has the policy that the README shows.
func vaultLogsIn(w *world) {
	require.NoError(w, w.cluster.Apply(w.ctx, `
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
	reviewer, err := w.cluster.Token(w.ctx, "security", "reviewer", "")
	require.NoError(w, err)
	ca, err := os.ReadFile(w.cluster.CAFile)
	require.NoError(w, err)
	policy, err := os.ReadFile(w.lab.Source("scripts/prove-key.hcl"))
	require.NoError(w, err)
	require.NoError(w, w.vault.UnsealAll(w.ctx))
	for _, row := range []struct {
		path string
		body map[string]any
	}{
		{"sys/auth/kubernetes", map[string]any{"type": "kubernetes"}},
		{"auth/kubernetes/config", map[string]any{"kubernetes_host": w.cluster.URL, "kubernetes_ca_cert": string(ca),
			"token_reviewer_jwt": reviewer, "disable_local_ca_jwt": true}},
		{"sys/policies/acl/" + proveRole, map[string]any{"policy": string(policy)}},
		{"sys/policies/acl/less", map[string]any{"policy": `path "sys/r*" { capabilities = ["read"] }`}},
		{"auth/kubernetes/role/" + proveRole, roleWith(proveRole, "vault")},
		{"auth/kubernetes/role/less", roleWith("less", "vault")},
		{"auth/kubernetes/role/another", roleWith(proveRole, "another")},
	} {
		_, err := w.vault.Call(w.ctx, "POST", row.path, row.body, nil)
		require.NoError(w, err)
	}
}

func roleWith(policy, account string) map[string]any {
	return map[string]any{"bound_service_account_names": account, "bound_service_account_namespaces": "security",
		"token_policies": policy, "token_ttl": "2m", "token_max_ttl": "2m"}
}

// tokens counts those that Vault knows.
func (w *world) tokens() int {
	var out struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	_, err := w.vault.Call(w.ctx, "LIST", "auth/token/accessors", nil, &out)
	require.NoError(w, err)
	return len(out.Data.Keys)
}

func (w *world) closed(rule proxy.Rule) *testenv.Closed {
	c, err := w.lab.Closed(w.vault, rule)
	require.NoError(w, err)
	awaitClosed(w.T, c)
	return c
}

func TestProof_OpenAndBehindBothClosedRules(t *testing.T) {
	t.Parallel()
	const proved = "proved: vault takes the mounted key"
	w := furnish(t, home{cluster: true, shares: 3, threshold: 2})
	vaultLogsIn(w)
	right, before := w.vault.Keys, w.tokens()
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
			w.T = t
			c := w.closed(row.rule)
			at, role := "VAULT_ADDR="+c.Addr, "PROVE_ROLE="+proveRole
			assert.Contains(t, w.checkInside([]string{at}, "--prove-key").output, row.without)
			for _, without := range c.Seen("") {
				assert.False(t, without.Token, without.Path)
			}

			got := w.checkInside([]string{at, role}, "--prove-key")
			assert.Contains(t, got.output, proved)
			assert.Len(t, c.Seen(row.asked+"update"), map[bool]int{true: 4, false: 2}[row.rule == proxy.Open], "two shares for each proof")
			assert.Contains(t, w.checkInside([]string{at, role}).output, "can log in and may prove the key")

			require.NoError(t, w.secret.WriteShares(garbage(33), garbage(33)))
			got = w.checkInside([]string{at, role}, "--prove-key")
			assert.Equal(t, 4, got.code, got.output)
			assert.Contains(t, got.output, "proved: vault would not open with the mounted key")
			require.NoError(t, w.secret.WriteShares(right...))

			for _, given := range []struct{ role, mount, says, proof string }{
				{"another", "kubernetes", `the role \"another\" cannot log in at auth/kubernetes`, "cannot log in"},
				{"none", "kubernetes", `the role \"none\" cannot log in at auth/kubernetes`, "cannot log in"},
				{proveRole, "elsewhere", "cannot log in at auth/elsewhere", "cannot log in"},
				{"less", "kubernetes", "they lack update on " + row.asked + "init", ""},
			} {
				env := []string{at, "PROVE_ROLE=" + given.role, "PROVE_MOUNT=" + given.mount}
				got := w.checkInside(env)
				assert.Equal(t, 3, got.code, got.output)
				assert.Contains(t, got.output, given.says)
				if given.proof != "" || row.rule != proxy.Open {
					assert.Contains(t, w.checkInside(env, "--prove-key").output, "could not be proved: ")
				}
			}
			assert.Equal(t, before, w.tokens(), "each token was revoked")
			require.NoError(t, testenv.Await(w.ctx, patience, "no rekey", func() string { return rekeyed(false).see(w) }))
		})
	}
}

// The sidecar itself: a proof with a login, what a killed one left, and what a
// Vault that refuses is asked.
func TestProof_SidecarBehindBothClosedRules(t *testing.T) {
	t.Parallel()
	for _, rule := range []proxy.Rule{proxy.Vault2, proxy.OpenBao} {
		t.Run(string(rule), func(t *testing.T) {
			t.Parallel()
			w := furnish(t, home{cluster: true})
			vaultLogsIn(w)
			before, c := w.tokens(), w.closed(rule)
			w.startInside(c.Addr, "--prove-interval", "1m", "--prove-role", proveRole)
			await(w, logs("proved that the mounted key opens vault"))
			await(w, measures(`vault_unseal_sidecar_key_proof{result="valid"} 1`))
			await(w, rekeyed(false))
			assert.Equal(t, before, w.tokens())
			jwt, err := os.ReadFile(w.token)
			require.NoError(t, err)
			assert.NotContains(t, w.log(), strings.TrimSpace(string(jwt)))
			assert.NotContains(t, w.log(), "hvs.")
			killSidecar(w)

			asked := len(c.Seen("sys/rekey/"))
			w.startInside(c.Addr, "--prove-interval", "1m")
			await(w, logs("the mounted key could not be proved"))
			assert.Contains(t, w.sidecar.Output(), "set --prove-role")
			assert.Len(t, c.Seen("sys/rekey/"), asked+1, "one no is enough")
		})
	}
}

// startInside starts the sidecar as in its container, with that Vault.
func (w *world) startInside(vault string, args ...string) {
	namespace := "-m"
	if os.Geteuid() != 0 {
		namespace = "-rm"
	}
	s, err := w.lab.Sidecar(testenv.SidecarConfig{Vault: vault, Keys: w.secret.Dir, State: w.state,
		Args: append(append([]string{"--log-level", "trace"}, w.home.args...), args...),
		Wrap: []string{"unshare", namespace, "sh", "-c", insideOf, "sh", w.secret.Dir, w.token, w.cluster.CAFile}})
	require.NoError(w, err)
	w.sidecar = s
	w.sidecars = append(w.sidecars, s)
}

// The policy that the README shows is the one that was proved to be enough, and
// allows nothing else.
func TestProof_PolicyAllowsNothingElse(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{cluster: true})
	vaultLogsIn(w)
	file, err := os.ReadFile(w.lab.Source("scripts/prove-key.hcl"))
	require.NoError(t, err)
	readme, err := os.ReadFile(w.lab.Source("README.md"))
	require.NoError(t, err)
	_, policy, _ := strings.Cut(string(file), "\n\n")
	assert.Contains(t, string(readme), "```hcl\n# scripts/prove-key.hcl\n"+policy+"```\n")

	jwt, err := os.ReadFile(w.token)
	require.NoError(t, err)
	code, text := ask(t, "POST", w.vault.Addr+"/v1/auth/kubernetes/login", "", fmt.Sprintf(`{"role":%q,"jwt":%q}`, proveRole, jwt))
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
	code, text = ask(t, "POST", w.vault.Addr+"/v1/sys/capabilities-self", login.Auth.Token, string(raw))
	require.Equal(t, http.StatusOK, code, text)
	var has struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &has))
	for _, path := range paths {
		var got []string
		require.NoError(t, json.Unmarshal(has.Data[path], &got), path)
		want := allowed[path]
		if want == nil {
			want = []string{"deny"}
		}
		assert.ElementsMatch(t, want, got, path)
	}
}

// What a killed proof left begun is canceled with proofs switched off, too.
func TestProof_LeftBehindIsCanceledWithProofsOff(t *testing.T) {
	t.Parallel()
	play(t, home{},
		phase{"a proof was killed in its middle", func(w *world) {
			require.NoError(w, w.vault.UnsealAll(w.ctx))
			leaveARekeyBehind(w)
		}, []expectation{rekeyed(true)}},
		phase{"the sidecar starts", startSidecar, []expectation{serving(), rekeyed(false)}},
	)
}

// What another process of the pod proved reaches the sidecar: a key that is new
// is no cause for worry once Vault took it.
func TestProof_OfAnotherProcessReachesTheSidecar(t *testing.T) {
	t.Parallel()
	w := furnish(t, home{})
	startSidecar(w)
	await(w, serving())
	var begun struct {
		Nonce string `json:"nonce"`
	}
	_, err := w.vault.Call(w.ctx, "PUT", "sys/rekey/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, &begun)
	require.NoError(t, err)
	var rekey struct {
		Keys []string `json:"keys_base64"`
	}
	_, err = w.vault.Call(w.ctx, "PUT", "sys/rekey/update", map[string]any{"key": w.vault.Keys[0], "nonce": begun.Nonce}, &rekey)
	require.NoError(t, err)
	w.vault.Keys = rekey.Keys
	mountVaultsShares(w)
	await(w, measures("vault_unseal_sidecar_key_changed_since_unseal 1"))
	check := func(args ...string) checked {
		return w.checked([]string{"VAULT_ADDR=" + w.vault.Addr, "UNSEAL_KEYS_PATH=" + w.secret.Dir, "STATE_DIR=" + w.state, "KUBERNETES=off"},
			append([]string{w.lab.Binary("vault-unseal-sidecar"), "check"}, args...)...)
	}
	status := func() string {
		_, bind, _ := strings.Cut(w.sidecar.HTTP, "://")
		p, err := w.lab.Run("status", []string{"HTTP_BIND=" + bind}, w.lab.Binary("vault-unseal-sidecar"), "status")
		require.NoError(t, err)
		_, err = p.ExitCode(patience)
		require.NoError(t, err)
		return strings.Join(strings.Fields(p.Output()), " ")
	}
	assert.True(t, check().has("warning", "recovery", "the mounted key changed since it last opened vault"))
	assert.Contains(t, status(), "another key is mounted since Vault was last opened")

	assert.Contains(t, check("--prove-key").output, "proved: vault takes the mounted key")
	await(w, measures(`vault_unseal_sidecar_key_proof{result="valid"} 1`))
	await(w, logs("proved that the mounted key opens vault"))
	assert.True(t, check().has("ok", "recovery", "vault took the mounted key in a proof at "))
	assert.NotContains(t, status(), "another key is mounted since Vault was last opened")
	assert.Contains(t, status(), "valid, it would open Vault")

	killSidecar(w)
	startSidecar(w)
	await(w, serving())
	await(w, measures(`vault_unseal_sidecar_key_proof{result="valid"} 1`))

	mountShares(garbage(32))(w)
	await(w, measures(`vault_unseal_sidecar_key_proof{result="none"} 1`))
	assert.Equal(t, 4, check("--prove-key").code)
	await(w, measures(`vault_unseal_sidecar_key_proof{result="invalid"} 1`))
}
