//go:build linux

package vault

import (
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
)

// before is what Vault and OpenBao put before a verdict, by where they come to
// it: unsealing (vault/core.go), and a rekey (vault/rekey.go, BarrierRekeyUpdate).
var before = []string{
	"unable to retrieve stored keys: ",
	"failed to read root key: ", "failed to read master key: ",
	"rootter key verification failed: ", "root key verification failed: ", "master key verification failed: ",
}

// verdict reports whether an error of Vault says that the key is wrong, in the
// words of vault/core.go's ErrInvalidKey or of vault/barrier.go's
// ErrBarrierInvalidKey. Others have "invalid key" in their texts too: a cipher
// ("crypto/aes: invalid key size 0"), a storage, a proxy.
func verdict(e *api.ResponseError) bool {
	return slices.ContainsFunc(e.Errors, func(text string) bool {
		text = strings.TrimSpace(text)
		for _, prefix := range before {
			if rest, ok := strings.CutPrefix(text, prefix); ok {
				text = rest
				break
			}
		}
		return text == "invalid key" || strings.HasPrefix(text, "invalid key: ") || strings.EqualFold(text, "Unseal failed, invalid key")
	})
}
