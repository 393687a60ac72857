package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// forEachRule runs a test behind the rule of each server.
func forEachRule(t *testing.T, test func(s *scriptScenario, rule proxy.Rule)) {
	for _, rule := range proxy.Rules() {
		t.Run(string(rule), func(t *testing.T) {
			t.Parallel()
			test(newScriptScenario(t, rule), rule)
		})
	}
}

// tokenHints is what a script says where the server wants a token that it was not
// given.
var tokenHints = map[proxy.Rule]map[string]string{
	proxy.Vault2: {
		"bootstrap": "Vault makes no root token of the shares without a token that may (403 at sys/generate-root): give one with --token-file",
		"rotate":    `Vault takes a rekey only with a token that may (403 at sys/rekey): give one with --token-file FILE (- is standard input), or let it do without: enable_unauthenticated_access = ["rekey"]`,
	},
	proxy.OpenBao: {
		"bootstrap": "this server has closed sys/generate-root for good (405): give one with --token-file",
		"rotate":    "Vault has closed sys/rekey for good (405), and takes a rekey at sys/rotate/root, with a token that may: give one with --token-file",
	},
}

// Every install ends with a user who can log in, and the second run finds out who
// can.
func TestBootstrap_LeavesAWorkingLogin(t *testing.T) {
	t.Parallel()
	forEachRule(t, func(s *scriptScenario, rule proxy.Rule) {
		nothing := func() {
			s.Helper()
			status, err := s.vault.SealStatus(s.ctx)
			require.NoError(s, err)
			require.False(s, status.Initialized)
		}
		s.mustFail("nobody could log in to Vault afterwards: say --admin NAME", "", "bootstrap")
		nothing()
		s.mustFail("there is no password for maria: nothing was done", "", "bootstrap", "--admin", "maria")
		nothing()
		s.mustRun("", "bootstrap", "--admin", "maria", "--dry-run")
		nothing()

		password := s.newPassword()
		out := s.mustRun(password+"\n", "bootstrap", "--admin", "maria", "--prove-role", "prover")
		said, done := strings.Index(out, "the administrator maria will be made"), strings.Index(out, "initialized Vault")
		assert.Greater(s, said, -1)
		assert.Greater(s, done, said, "it is said before")
		assert.Contains(s, out, "revoked the root token")
		assert.NotContains(s, out, "root token, shown")
		token := s.login("maria", password)
		assert.Contains(s, s.tokenPolicies(token), "administrator")
		assert.Equal(s, []string{token}, s.listTokens(token), "no root token is left")
		var role struct {
			Data struct {
				Accounts []string `json:"bound_service_account_names"`
				Policies []string `json:"token_policies"`
			} `json:"data"`
		}
		_, err := s.vault.Call(s.ctx, "GET", "auth/kubernetes/role/prover", nil, &role)
		require.NoError(s, err)
		assert.Equal(s, []string{"vault"}, role.Data.Accounts)
		assert.Equal(s, []string{"prover"}, role.Data.Policies)

		// Again.
		if rule == proxy.Open {
			assert.Contains(s, s.mustRun("", "bootstrap"), "can log in: maria")
		} else {
			s.mustFail(tokenHints[rule]["bootstrap"], "", "bootstrap")
			s.mustFail("Whether somebody can log in is not known", "", "bootstrap")
		}
		assert.Contains(s, s.mustRun(token+"\n", "bootstrap", "--token-file", "-"), "can log in: maria")
		assert.NotNil(s, s.tokenPolicies(token), "a token that was given is not revoked")
		s.mustFail("could not log in, see above: is there a user of that name with another password?", token+"\nother\n", "bootstrap", "--token-file", "-", "--admin", "maria")
		second := s.newPassword()
		assert.Contains(s, s.mustRun(token+"\n"+second+"\n", "bootstrap", "--token-file", "-", "--admin", "paul"), "the administrator paul logged in")
		if rule != proxy.Open {
			s.mustFail("this token", "hvs.made-up\n", "bootstrap", "--token-file", "-", "--show-root-token")
		}

		// A root token for a person.
		file := filepath.Join(s.env.Dir, "token")
		require.NoError(s, os.WriteFile(file, []byte(token+"\n"), 0o600))
		if rule == proxy.OpenBao { // the real Vault lets none but root make one
			s.mustFail("or set disable_unauthed_generate_root_endpoints = false", "", "bootstrap", "--show-root-token", "--token-file", file)
			return
		}
		shown := rootToken.FindStringSubmatch(s.mustRun("", "bootstrap", "--show-root-token", "--token-file", file))
		require.Len(s, shown, 2)
		assert.Equal(s, []string{"root"}, s.tokenPolicies(shown[1]))
	})
}

// A root token that is the only way in is not revoked.
func TestBootstrap_KeepsTheOnlyRootToken(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Vault2)
	password := s.newPassword()
	out, err := s.runScriptWithEnv(password+"\n", []string{"FAIL=auth/userpass/login"}, "bootstrap", "--admin", "maria")
	require.Error(t, err)
	assert.Contains(t, out, "nobody was seen to log in, so the root token is not revoked")
	shown := rootToken.FindStringSubmatch(out)
	require.Len(t, shown, 2)
	assert.Contains(t, s.mustRun(shown[1]+"\n"+password+"\n", "bootstrap", "--token-file", "-", "--admin", "maria"), "the administrator maria logged in")
	assert.Equal(t, []string{"root"}, s.tokenPolicies(shown[1]), "it was given, and is not revoked")
}

// listTokens returns the tokens that Vault has, but for those that are not given by
// their accessor.
func (s *scriptScenario) listTokens(own string) (out []string) {
	s.Helper()
	s.vault.Token = own
	var list struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	_, err := s.vault.Call(s.ctx, "LIST", "auth/token/accessors", nil, &list)
	require.NoError(s, err)
	for _, accessor := range list.Data.Keys {
		var found struct {
			Data struct {
				ID       string   `json:"id"`
				Policies []string `json:"policies"`
				Path     string   `json:"path"`
			} `json:"data"`
		}
		_, err := s.vault.Call(s.ctx, "POST", "auth/token/lookup-accessor", map[string]string{"accessor": accessor}, &found)
		require.NoError(s, err)
		if found.Data.Path == "auth/userpass/login/maria" {
			out = append(out, own)
		} else {
			out = append(out, fmt.Sprint(found.Data.Policies))
		}
	}
	return out
}

// The token is shown and works, and makes another where the shares alone do not.
func TestBootstrap_RootTokenIsShownAndWorks(t *testing.T) {
	t.Parallel()
	forEachRule(t, func(s *scriptScenario, rule proxy.Rule) {
		out := s.mustRun("", "bootstrap", "--show-root-token")
		assert.Less(s, strings.Index(out, "the root token will be shown"), strings.Index(out, "initialized Vault"))
		first := rootToken.FindStringSubmatch(out)
		require.Len(s, first, 2)
		assert.Equal(s, []string{"root"}, s.tokenPolicies(first[1]))
		if rule != proxy.Open {
			s.mustFail(tokenHints[rule]["bootstrap"], "", "bootstrap", "--show-root-token")
		}
		second := rootToken.FindStringSubmatch(s.mustRun(first[1]+"\n", "bootstrap", "--show-root-token", "--token-file", "-"))
		require.Len(s, second, 2)
		assert.Equal(s, []string{"root"}, s.tokenPolicies(second[1]))
		assert.Equal(s, []string{"root"}, s.tokenPolicies(first[1]))
		assert.Contains(s, s.mustRun(first[1]+"\n", "bootstrap", "--token-file", "-"), "nobody can log in to Vault without a token")
	})
}

// rotationSteps are the calls of a rotation that change something, in order; whether
// Vault restarts after the kill, which makes it forget a rekey; and whether each
// rule is tried: Vault's own calls alone differ.
var rotationSteps = []struct {
	name            string
	restart, closed bool
}{
	{"noting that a rekey will be", false, false},
	{"beginning it", false, true},
	{"noting which it is", true, false},
	{"making the new key", false, true},
	{"putting it beside the old one", true, false},
	{"changing over", false, true},
	{"putting it in the place of the old one", true, false},
	{"taking it away beside it", false, false},
	{"taking the note away", true, false},
}

func TestRotate_SucceedsUnderEachRule(t *testing.T) {
	t.Parallel()
	forEachRule(t, func(s *scriptScenario, rule proxy.Rule) {
		token := s.setUpVault()
		with := []string{}
		if rule != proxy.Open {
			before := s.secretData()
			s.mustFail(tokenHints[rule]["rotate"], "", "rotate")
			s.mustFail("Vault does not take a rekey at ", "hvs.made-up\n", "rotate", "--token-file", "-")
			assert.Equal(s, before, s.secretData())
			file := filepath.Join(s.env.Dir, "token")
			require.NoError(s, os.WriteFile(file, []byte(token+"\n"), 0o600))
			with = append(with, "--token-file", file)
		}
		before := s.secretData()
		s.mustRun("", "rotate", with...)
		after := s.secretData()
		assert.NotEqual(s, before, after)
		assert.Equal(s, []string{"key"}, slices.Sorted(maps.Keys(after)))
		s.restartVaultAndAwaitUnseal()

		kill := func(at int) error {
			require.NoError(s, os.WriteFile(s.callsPath, nil, 0o600))
			_, err := s.runScriptWithEnv("", []string{fmt.Sprintf("KILL_AT=%d", at)}, "rotate", with...)
			return err
		}
		require.NoError(s, kill(100)) // which never comes
		text, err := os.ReadFile(s.callsPath)
		require.NoError(s, err)
		require.Equal(s, len(rotationSteps), strings.Count(string(text), "x"), "the calls that change something")
		for i, call := range rotationSteps {
			if rule != proxy.Open && !call.closed {
				continue
			}
			s.subtest("killed after "+call.name, func(*testing.T) {
				before := s.secretData()["key"]
				require.Error(s, kill(i+1))
				if call.restart {
					s.restartVaultAndAwaitUnseal()
				}
				s.mustRun("", "rotate", with...)
				assert.NotEqual(s, before, s.secretData()["key"])
				assert.Equal(s, []string{"key"}, slices.Sorted(maps.Keys(s.secretData())))
			})
		}
		s.restartVaultAndAwaitUnseal()
		s.mustRun("", "rotate", append(with, "--shares", "3", "--threshold", "2")...)
		assert.Len(s, strings.Fields(s.secretData()["key"]), 3)
		s.restartVaultAndAwaitUnseal()
	})
}
