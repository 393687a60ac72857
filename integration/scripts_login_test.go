package integration

import (
	"os"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"
)

// newPassword makes one, which must never show.
func (s *scriptScenario) newPassword() string {
	p := "correct horse " + strconv.FormatInt(time.Now().UnixNano(), 36) + ` "'\`
	s.passwords = append(s.passwords, p, strconv.Quote(p))
	return p
}

// setUpVault leaves Vault as bootstrap does, initialized and unsealed with the key in the
// Secret, and returns an administrator's token, which s.vault has too. Who tests another script
// has no need to wait for that one.
func (s *scriptScenario) setUpVault() (token string) {
	s.Helper()
	require.NoError(s, s.vault.Init(s.ctx, 1, 1))
	s.setSecretData(map[string]string{"key": s.vault.Keys[0]})
	await(s.scenario, vaultIsOpen)
	policy, err := os.ReadFile(s.env.Source("scripts/administrator.hcl"))
	require.NoError(s, err)
	_, err = s.vault.Call(s.ctx, "PUT", "sys/policies/acl/administrator", map[string]any{"policy": string(policy)}, nil)
	require.NoError(s, err)
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	body := map[string]any{"policies": []string{"administrator"}, "no_default_policy": true}
	_, err = s.vault.Call(s.ctx, "POST", "auth/token/create-orphan", body, &answer)
	require.NoError(s, err)
	s.vault.Token = answer.Auth.Token
	return s.vault.Token
}

// login returns the token of a login by name and password, "" where there is
// none.
func (s *scriptScenario) login(name, password string) string {
	s.Helper()
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	root := s.vault.Token
	s.vault.Token = ""
	defer func() { s.vault.Token = root }()
	_, err := s.vault.Call(s.ctx, "POST", "auth/userpass/login/"+name, map[string]string{"password": password}, &answer)
	if err != nil {
		s.Log(err)
	}
	return answer.Auth.Token
}

// as returns a look at Vault with a token: the policies that it has, or nil.
func (s *scriptScenario) tokenPolicies(token string) []string {
	var answer struct {
		Data struct {
			Policies []string `json:"policies"`
		} `json:"data"`
	}
	s.vault.Token = token
	if _, err := s.vault.Call(s.ctx, "GET", "auth/token/lookup-self", nil, &answer); err != nil {
		return nil
	}
	return answer.Data.Policies
}

// secretData is what the Secret holds.
func (s *scriptScenario) secretData() map[string]string {
	s.Helper()
	o, err := s.cluster.Get(s.ctx, "v1", "Secret", "security", "vault-unseal-key")
	require.NoError(s, err)
	return decodeSecret(o)
}

// restartVaultAndAwaitUnseal restarts Vault, which the sidecar has to unseal with what the Secret
// holds.
func (s *scriptScenario) restartVaultAndAwaitUnseal() {
	s.Helper()
	killVault(s.scenario)
	startVaultAndWait(s.scenario)
	awaitClosedProxy(s.T, s.closedProxy)
	await(s.scenario, vaultIsOpen)
}
