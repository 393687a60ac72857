package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mountFiles mounts what the function makes of the Vault, whose root token is
// then searched for too.
func mountFiles(files func(sc *scenario) map[string]string) func(sc *scenario) {
	return func(sc *scenario) {
		sc.secrets = append(sc.secrets, sc.vault.Token)
		require.NoError(sc, sc.secret.Write(files(sc)))
	}
}

func TestKeys_SharesBesideRootTokenAreUsed(t *testing.T) {
	t.Parallel()
	bankVaults := func(sc *scenario) map[string]string {
		files := map[string]string{"vault-root": sc.vault.Token, "vault-test": "vault-test"}
		for i, key := range sc.vault.Keys {
			files[fmt.Sprint("vault-unseal-", i)] = shareHex(key)
		}
		return files
	}
	run(t, setup{shares: 5, threshold: 3},
		phase{"all that bank-vaults keeps is mounted", sequence(mountFiles(bankVaults), startSidecar), []condition{
			serving(), sharesSent(3), keyErrorContains(""),
			logContains("[WARN]  a Vault token is mounted with the unseal key: entries=\"vault-root: looks like a token of Vault's\""),
			logContains("[WARN]  mounted entries that are no key shares are not used: entries=\"vault-test: neither base64 nor hex\""),
			metricsContain("vault_unseal_sidecar_key_token_mounted 1"), metricsContain("vault_unseal_sidecar_key_usable 1"),
		}},
		phase{"the shares alone are", mountFiles(func(sc *scenario) map[string]string {
			files := bankVaults(sc)
			maps.DeleteFunc(files, func(name, _ string) bool { return !strings.HasPrefix(name, "vault-unseal-") })
			return files
		}), []condition{metricsContain("vault_unseal_sidecar_key_token_mounted 0"), keyErrorContains("")}},
		phase{"nothing but the token is", mountFiles(func(sc *scenario) map[string]string {
			return map[string]string{"root-token": sc.vault.Token}
		}), []condition{
			metricsContain("vault_unseal_sidecar_key_token_mounted 1"), metricsContain("vault_unseal_sidecar_key_usable 0"),
			logContains("root-token: looks like a token of Vault's"),
		}},
	)
}

func TestKeys_InitOutputIsAccepted(t *testing.T) {
	t.Parallel()
	for sentence, text := range map[string]func(sc *scenario) string{
		"as JSON": func(sc *scenario) string {
			hexes := make([]string, len(sc.vault.Keys))
			for i, key := range sc.vault.Keys {
				hexes[i] = shareHex(key)
			}
			out, err := json.MarshalIndent(map[string]any{"unseal_keys_b64": sc.vault.Keys, "unseal_keys_hex": hexes, "root_token": sc.vault.Token}, "", "  ")
			require.NoError(sc, err)
			return string(out)
		},
		"as text, from Windows": func(sc *scenario) string {
			text := "\ufeff"
			for i, key := range sc.vault.Keys {
				text += fmt.Sprintf("Unseal Key %d: %s\r\n", i+1, key)
			}
			return text + "\r\nInitial Root Token: " + sc.vault.Token + "\r\n\r\nVault initialized with 5 key shares and a key threshold of 3. Please securely\r\n"
		},
		"as a list with commas, in quotes": func(sc *scenario) string {
			return `"` + strings.Join(sc.vault.Keys, `","`) + `"`
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			run(t, setup{shares: 5, threshold: 3},
				phase{"it is mounted", sequence(mountFiles(func(sc *scenario) map[string]string { return map[string]string{"key": text(sc)} }), startSidecar),
					[]condition{serving(), sharesSent(3), keyErrorContains("")}},
			)
		})
	}
}

func TestKeys_OldAndNewSharesSideBySideUnseal(t *testing.T) {
	t.Parallel()
	var old []string
	both := func(of func(sc *scenario) (unmarked, marked []string)) func(sc *scenario) {
		return func(sc *scenario) {
			unmarked, marked := of(sc)
			sc.secrets = slices.Concat(sc.secrets, unmarked, marked)
			files := map[string]string{}
			for i := range unmarked {
				files[fmt.Sprint("unseal-key-", i+1)] = unmarked[i]
				files[fmt.Sprint("unseal-key-", i+1, "-new")] = marked[i]
			}
			require.NoError(sc, sc.secret.Write(files))
		}
	}
	run(t, setup{shares: 5, threshold: 3},
		phase{"the sidecar serves", startSidecar, []condition{serving()}},
		phase{"vault has a new key, which lies beside the old one", sequence(func(sc *scenario) { old = sc.vault.Keys }, rekey(5, 3),
			both(func(sc *scenario) ([]string, []string) { return old, sc.vault.Keys })), []condition{logContainsTimes("unseal key is usable", 2)}},
		phase{"vault restarts", restartVaultAtOnce, []condition{sharesSent(3), serving()}},
		phase{"the names are the wrong way round, and vault restarts", sequence(
			both(func(sc *scenario) ([]string, []string) { return sc.vault.Keys, old }),
			func(sc *scenario) { await(sc, logContainsTimes("unseal key is usable", 3)) }, restartVaultAtOnce), []condition{sharesSent(6), serving()}},
	)
}
