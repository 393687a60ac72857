package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// catalog matches every remark on content that is no share. All that varies in it is a
// number, so none can hold a piece of the content.
var catalog = regexp.MustCompile(`^(line \d+: )?(` +
	`empty` +
	`|neither base64 nor hex` +
	`|hex with an odd number of digits` +
	`|too short for a share: \d+ bytes decoded, expected 16 to 33` +
	`|too long for a share: \d+ bytes decoded, expected 16 to 33` +
	"|encoded twice, like base64 of base64: decode it once and store the result, `kubectl create secret` and stringData encode by themselves" +
	`|saved as UTF-16, save it as plain ASCII` +
	`|JSON without unseal keys` +
	`|recovery keys, which do not unseal` +
	`|looks like a token of Vault's` +
	`)( \(and \d+ more\))?$`)

// FuzzParse reads any content: it is not changed, what is said of it shows nothing of it, and
// the shares are the same when they are written and read again.
func FuzzParse(f *testing.F) {
	k := []byte("\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51\x55\x97\x61\x96\x9b\x71\xd7\x9f\x82\x18\xa3\x92\x59\xa7\xa2\x9a")
	text := base64.StdEncoding.EncodeToString(k)
	for _, seed := range []string{
		"", "\n", text, text + "\r\n", text + "\n" + text, hex.EncodeToString(k), hex.EncodeToString(k)[1:],
		base64.StdEncoding.EncodeToString([]byte(text)), "\ufeff" + text, "\xff\xfe", "{}", "[", "====", "A===",
		"Unseal Key 1: " + text + "\n\nInitial Root Token: hvs.x\n\nVault initialized", "Recovery Key 1: " + text,
		`{"keys": ["` + text + `"], "recovery_keys_hex": ["\""], "root_token": "s.x`, text[:20], text + text, "line 1: empty", "0", "\x85\xa0",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		before := bytes.Clone(content)
		p := parse(content)
		require.Equal(t, before, content, "the content was changed")
		remarks := p.remarks("key")
		require.NotEqual(t, 0, len(p.shares)+len(remarks), "there is no remark")
		for _, r := range remarks {
			require.Regexp(t, catalog, r.What)
		}
		var again []byte
		for _, share := range p.shares {
			require.True(t, inRange(share.Len()))
			again = append(share.AppendHex(again), '\n')
		}
		// What was read can be written as hex and read again.
		reread := parse(again)
		if reread.flaws == 0 {
			require.Len(t, reread.shares, len(p.shares))
			for n := range p.shares {
				require.True(t, p.shares[n].Equal(reread.shares[n]))
			}
		}
		unseal.WipeAll(p.shares)
	})
}

func TestLooksLikeShare_RecognizesEncodedShares(t *testing.T) {
	k := []byte("\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51\x55\x97\x61\x96\x9b\x71\xd7\x9f\x82\x18\xa3\x92\x59\xa7\xa2\x9a")
	text := base64.StdEncoding.EncodeToString(k)
	for _, row := range []struct {
		sentence string
		text     string
		want     bool
	}{
		{"a key in base64", text, true},
		{"a key in base64 with blanks around", " " + text + "\n", true},
		{"a key in base64 without padding", text[:43], true},
		{"a key in hex", hex.EncodeToString(k), true},
		{"a share of a split key", base64.StdEncoding.EncodeToString(append([]byte{1}, k...)), true},
		{"a longer text is none", base64.StdEncoding.EncodeToString(append([]byte{1, 2}, k...)), false},
		{"a key encoded twice is a key still", base64.StdEncoding.EncodeToString([]byte(text)), true},
		{"a key between words", "key: " + text, true},
		{"nothing", "", false},
		{"a path with a dot or a dash", "/etc/vault-unseal/key.txt", false},
		{"a short path", "/vault/key", false},
		{"a URL", "http://127.0.0.1:8200", false},
		{"a long path of letters looks like base64", "/vault/userconfig/unsealkey", true},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, LooksLikeShare(row.text))
		})
	}
}

func TestAddNew_WipesADuplicate(t *testing.T) {
	share := func() unseal.Share { return unseal.NewShare(bytes.Repeat([]byte{7}, 16)) }
	found := []unseal.Share{share(), share()}
	all := addNew(nil, found)
	require.Len(t, all, 1)
	assert.Equal(t, 16, found[0].Len())
	assert.Zero(t, found[1].Len())
}
