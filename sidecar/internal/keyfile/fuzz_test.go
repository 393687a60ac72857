package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// entryName is a name that a Secret's entry can have.
var entryName = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,200}$`)

// FuzzDirectory reads two entries of any names and contents: Read, Inspect and Revision agree,
// and neither an error nor a remark shows what is in them.
func FuzzDirectory(f *testing.F) {
	key := bytes.Repeat([]byte("k\x81\xf2"), 11)
	text := base64.StdEncoding.EncodeToString(key)
	f.Add("key-1", []byte(text), "key-2", []byte(hex.EncodeToString(key)))
	f.Add("root_token", []byte("hvs."+text[:30]), "a", []byte(""))
	f.Add(strings.TrimRight(text, "="), []byte("x"), "init.json", []byte(`{"keys":["`+text+`"],"root_token":"s.`+text+`"}`))
	f.Add(".hidden", []byte(text), "..data", []byte("Unseal Key 1: "+text))
	f.Fuzz(func(t *testing.T, name string, content []byte, other string, more []byte) {
		if !entryName.MatchString(name) || !entryName.MatchString(other) || name == other || len(content)+len(more) > maxFile {
			return
		}
		dir := t.TempDir()
		entries := map[string][]byte{name: content, other: more}
		for entry, content := range entries {
			if os.WriteFile(filepath.Join(dir, entry), content, 0o600) != nil {
				return // . and ..
			}
		}
		source := New(dir)
		shares, remarks, err := source.Read()
		inspection, inspectErr := source.Inspect()
		defer unseal.WipeAll(shares)
		require.Equal(t, len(shares) == 0, err != nil)
		require.LessOrEqual(t, len(remarks), maxRemarks+1)
		repeated := 0
		for entry, content := range entries {
			if hidden(entry) {
				continue
			}
			p := parse(content)
			repeated += len(p.shares)
			for _, share := range p.shares {
				require.True(t, slices.ContainsFunc(shares, share.Equal), "a share is lost")
			}
			unseal.WipeAll(p.shares)
		}
		require.Equal(t, repeated, len(shares)+inspection.Repeated)
		if err != nil {
			requireNamesOnly(t, err.Error(), dir, name, other)
		}
		if inspectErr != nil {
			require.ErrorIs(t, inspectErr, ErrMissing)
		}
		for _, r := range remarks {
			require.Regexp(t, catalog, strings.Replace(r.What, "by its name a root token", "empty", 1))
			require.False(t, LooksLikeShare(r.Entry), r.Entry)
		}
	})
}

// requireNamesOnly accepts an error of names and of what the catalog says.
func requireNamesOnly(t *testing.T, text, dir, name, other string) {
	t.Helper()
	if text == dir+": "+ErrMissing.Error()+": empty directory" {
		return
	}
	for part := range strings.SplitSeq(text, "; ") {
		path, what, found := strings.Cut(part, ": ")
		require.True(t, found, text)
		require.Contains(t, []string{shown(filepath.Join(dir, name)), shown(filepath.Join(dir, other))}, path)
		require.Regexp(t, catalog, strings.Replace(what, "by its name a root token", "empty", 1))
	}
}

// FuzzByAge orders any three names: what decides which share is sent first is an order.
func FuzzByAge(f *testing.F) {
	f.Add("key-2", "key-10", "key-1x")
	f.Add("new1", "old-01", "1new")
	f.Add("a01", "a1", "a1b")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		names := []string{a, b, c}
		for _, x := range names {
			require.Zero(t, byAge(x, x))
			for _, y := range names {
				require.Equal(t, byAge(x, y), -byAge(y, x), "%q and %q", x, y)
				require.Equal(t, x == y, byAge(x, y) == 0, "%q and %q", x, y)
				for _, z := range names {
					if byAge(x, y) < 0 && byAge(y, z) < 0 {
						require.Negative(t, byAge(x, z), "%q, %q and %q", x, y, z)
					}
				}
			}
		}
	})
}

// FuzzLooksLikeShare finds a share in any notation, and between blanks.
func FuzzLooksLikeShare(f *testing.F) {
	f.Add(bytes.Repeat([]byte("k"), 16), "x", " ")
	f.Add(bytes.Repeat([]byte{0}, 33), "", "\n")
	f.Fuzz(func(t *testing.T, raw []byte, before, blank string) {
		if !inRange(len(raw)) || strings.TrimSpace(blank) != "" {
			return
		}
		for _, text := range []string{
			hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
			base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
		} {
			require.True(t, LooksLikeShare(text), text)
			if blank != "" {
				require.True(t, LooksLikeShare(before+blank+text+blank+before), "%q", before+blank+text)
			}
			p := parse([]byte(text))
			// What is the text of a share once more is refused: no random key is.
			require.Equal(t, encodedTwice(raw), len(p.shares) == 0)
			unseal.WipeAll(p.shares)
		}
	})
}
