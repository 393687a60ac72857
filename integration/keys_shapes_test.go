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
func mountFiles(files func(w *world) map[string]string) func(w *world) {
	return func(w *world) {
		w.secrets = append(w.secrets, w.vault.Token)
		require.NoError(w, w.secret.Write(files(w)))
	}
}

func TestKeys_SharesBesideARootTokenAreUsed(t *testing.T) {
	t.Parallel()
	bankVaults := func(w *world) map[string]string {
		files := map[string]string{"vault-root": w.vault.Token, "vault-test": "vault-test"}
		for i, key := range w.vault.Keys {
			files[fmt.Sprint("vault-unseal-", i)] = hexOf(key)
		}
		return files
	}
	play(t, home{shares: 5, threshold: 3},
		phase{"all that bank-vaults keeps is mounted", all(mountFiles(bankVaults), startSidecar), []expectation{
			serving(), sent(3), keyError(""),
			logs("[WARN]  a Vault token is mounted with the unseal key: entries=\"vault-root: looks like a token of Vault's\""),
			logs("[WARN]  mounted entries that are no key shares are not used: entries=\"vault-test: neither base64 nor hex\""),
			measures("vault_unseal_sidecar_key_token_mounted 1"), measures("vault_unseal_sidecar_key_usable 1"),
		}},
		phase{"the shares alone are", mountFiles(func(w *world) map[string]string {
			files := bankVaults(w)
			maps.DeleteFunc(files, func(name, _ string) bool { return !strings.HasPrefix(name, "vault-unseal-") })
			return files
		}), []expectation{measures("vault_unseal_sidecar_key_token_mounted 0"), keyError("")}},
		phase{"nothing but the token is", mountFiles(func(w *world) map[string]string {
			return map[string]string{"root-token": w.vault.Token}
		}), []expectation{
			measures("vault_unseal_sidecar_key_token_mounted 1"), measures("vault_unseal_sidecar_key_usable 0"),
			logs("root-token: looks like a token of Vault's"),
		}},
	)
}

func TestKeys_WhatInitPrintsIsTaken(t *testing.T) {
	t.Parallel()
	for sentence, text := range map[string]func(w *world) string{
		"as JSON": func(w *world) string {
			hexes := make([]string, len(w.vault.Keys))
			for i, key := range w.vault.Keys {
				hexes[i] = hexOf(key)
			}
			out, err := json.MarshalIndent(map[string]any{"unseal_keys_b64": w.vault.Keys, "unseal_keys_hex": hexes, "root_token": w.vault.Token}, "", "  ")
			require.NoError(w, err)
			return string(out)
		},
		"as text, from Windows": func(w *world) string {
			text := "\ufeff"
			for i, key := range w.vault.Keys {
				text += fmt.Sprintf("Unseal Key %d: %s\r\n", i+1, key)
			}
			return text + "\r\nInitial Root Token: " + w.vault.Token + "\r\n\r\nVault initialized with 5 key shares and a key threshold of 3. Please securely\r\n"
		},
		"as a list with commas, in quotes": func(w *world) string {
			return `"` + strings.Join(w.vault.Keys, `","`) + `"`
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			play(t, home{shares: 5, threshold: 3},
				phase{"it is mounted", all(mountFiles(func(w *world) map[string]string { return map[string]string{"key": text(w)} }), startSidecar),
					[]expectation{serving(), sent(3), keyError("")}},
			)
		})
	}
}

func TestKeys_OldAndNewSharesLieSideBySide(t *testing.T) {
	t.Parallel()
	var old []string
	both := func(of func(w *world) (unmarked, marked []string)) func(w *world) {
		return func(w *world) {
			unmarked, marked := of(w)
			w.secrets = slices.Concat(w.secrets, unmarked, marked)
			files := map[string]string{}
			for i := range unmarked {
				files[fmt.Sprint("unseal-key-", i+1)] = unmarked[i]
				files[fmt.Sprint("unseal-key-", i+1, "-new")] = marked[i]
			}
			require.NoError(w, w.secret.Write(files))
		}
	}
	play(t, home{shares: 5, threshold: 3},
		phase{"the sidecar serves", startSidecar, []expectation{serving()}},
		phase{"vault has a new key, which lies beside the old one", all(func(w *world) { old = w.vault.Keys }, rekey(5, 3),
			both(func(w *world) ([]string, []string) { return old, w.vault.Keys })), []expectation{logsTimes("unseal key is usable", 2)}},
		phase{"vault restarts", restartVaultAtOnce, []expectation{sent(3), serving()}},
		phase{"the names are the wrong way round, and vault restarts", all(
			both(func(w *world) ([]string, []string) { return w.vault.Keys, old }),
			func(w *world) { await(w, logsTimes("unseal key is usable", 3)) }, restartVaultAtOnce), []expectation{sent(6), serving()}},
	)
}
