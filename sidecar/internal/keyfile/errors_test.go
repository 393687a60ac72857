package keyfile_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
)

func TestRead_ErrorsNameTheFileAndHideTheKey(t *testing.T) {
	k, l := key(32), key(32)
	file := func(content string) func(*testing.T, string) string {
		return func(t *testing.T, dir string) string { return write(t, dir+"/key", content) }
	}
	asDir := func(make func(t *testing.T, dir string)) func(*testing.T, string) string {
		return func(t *testing.T, dir string) string { make(t, dir); return dir }
	}
	const limits = "bytes decoded, expected 16 to 33"
	const twice = "encoded twice, like base64 of base64: decode it once and store the result, " +
		"`kubectl create secret` and stringData encode by themselves"
	const neither = "neither base64 nor hex"

	for _, row := range []struct {
		sentence string
		make     func(t *testing.T, dir string) (path string)
		want     string // DIR stands for the directory
	}{
		{"an empty file", file(""), "DIR/key: empty"},
		{"only blanks", file(" \r\n\t\n"), "DIR/key: empty"},
		{"some other text", file("hunter2! hunter2! hunter2!"), "DIR/key: line 1: " + neither + " (and 2 more)"},
		{"binary", file(strings.Repeat("\x01\xfe", 16)), "DIR/key: " + neither},
		{"a character too many", file(b64(k[:24]) + "A"), "DIR/key: " + neither},
		{"too much padding", file(b64(k) + "="), "DIR/key: " + neither},
		{"only padding", file("=="), "DIR/key: " + neither},
		{"a hex digit lost", file(hex.EncodeToString(k)[1:]), "DIR/key: hex with an odd number of digits"},
		{"too short in base64", file(b64(k[:15])), "DIR/key: too short for a share: 15 " + limits},
		{"too long in base64", file(b64(append(key(2), k...))), "DIR/key: too long for a share: 34 " + limits},
		{"too short in hex", file(hex.EncodeToString(k[:10])), "DIR/key: too short for a share: 10 " + limits},
		{"too long in hex", file(hex.EncodeToString(append(key(2), k...))), "DIR/key: too long for a share: 34 " + limits},
		{"base64 of base64", file(b64([]byte(b64(k)))), "DIR/key: " + twice},
		{"base64 of base64 with a newline", file(b64([]byte(b64(k) + "\n"))), "DIR/key: " + twice},
		{"base64 of base64 of a short key", file(b64([]byte(b64(k[:16])))), "DIR/key: " + twice},
		{"base64 of hex", file(b64([]byte(hex.EncodeToString(k)))), "DIR/key: " + twice},
		{"base64 of several shares", file(b64([]byte(b64(k) + "\n" + b64(l) + "\n"))), "DIR/key: " + twice},
		{"hex of base64", file(hex.EncodeToString([]byte(b64(k)))), "DIR/key: " + twice},
		{"UTF-16", file("\xff\xfe" + strings.Join(strings.Split(b64(k), ""), "\x00") + "\x00"), "DIR/key: saved as UTF-16, save it as plain ASCII"},
		{"JSON of something else", file(`{"a": "` + b64(k) + `"}`), "DIR/key: JSON without unseal keys"},
		{"recovery keys", file(`{"recovery_keys_b64": ["` + b64(k) + `"]}`), "DIR/key: recovery keys, which do not unseal"},
		{"a token", file("hvs." + hex.EncodeToString(k)[:24]), "DIR/key: looks like a token of Vault's"},
		{"more words than shares can be", file(manyShares()), "DIR/key: more than 255 shares"},
		{"a file over the limit", file(strings.Repeat("\n", 64<<10) + b64(k)), "DIR/key: larger than 64 KiB, a share takes less than 100 bytes"},
		{"an endless file", func(*testing.T, string) string { return "/dev/zero" }, "/dev/zero: not a regular file, it is a device"},
		{"nothing at the path", func(_ *testing.T, dir string) string { return dir + "/key" }, "DIR/key: no unseal key there: no such file or directory"},
		{"a file where a directory belongs", func(t *testing.T, dir string) string { return file(b64(k))(t, dir) + "/key" }, "DIR/key/key: not a directory"},
		{"a link in a circle", func(t *testing.T, dir string) string {
			require.NoError(t, os.Symlink("key", dir+"/key"))
			return dir + "/key"
		}, "DIR/key: too many levels of symbolic links"},
		{"an empty directory", asDir(func(*testing.T, string) {}), "DIR: no unseal key there: empty directory"},
		{"only hidden files", asDir(func(t *testing.T, dir string) { write(t, dir+"/..2026", b64(k)) }), "DIR: no unseal key there: empty directory"},
		{"a name that points nowhere", asDir(func(t *testing.T, dir string) {
			write(t, dir+"/a", b64(k))
			require.NoError(t, os.Symlink("..data/b", dir+"/b"))
		}), "DIR/b: no unseal key there: no such file or directory"},
		{"several that are no share, each by its name", asDir(func(t *testing.T, dir string) {
			write(t, dir+"/a", "")
			write(t, dir+"/b", "!")
			write(t, dir+"/c", strings.Repeat("!", 64<<10+1))
			require.NoError(t, os.Mkdir(dir+"/x", 0o755))
			require.NoError(t, os.Mkdir(dir+"/.hidden", 0o755))
			require.NoError(t, os.Symlink(".hidden", dir+"/y"))
		}), "DIR/a: empty; DIR/b: " + neither + "; DIR/c: larger than 64 KiB, a share takes less than 100 bytes; " +
			"DIR/x: not a regular file, it is a directory; DIR/y: not a regular file, it is a directory"},
		{"a whole filesystem", asDir(func(t *testing.T, dir string) {
			for n := range 1025 {
				write(t, fmt.Sprintf("%s/%d", dir, n), "")
			}
		}), "DIR: more than 1024 names in the directory"},
		{"more shares than there can be, over many files", asDir(func(t *testing.T, dir string) {
			for n := range 256 {
				write(t, fmt.Sprintf("%s/%d", dir, n), b64(key(32)))
			}
		}), "DIR: more than 255 shares"},
		{"a share that became the name of its file", asDir(func(t *testing.T, dir string) {
			write(t, dir+"/"+hex.EncodeToString(k), "")
		}), "DIR/[name withheld, it looks like a share]: empty"},
		{"a share that became the name of a directory", asDir(func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(dir+"/"+hex.EncodeToString(k), 0o755))
		}), "DIR/[name withheld, it looks like a share]: not a regular file, it is a directory"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			dir := openDir(t)
			path := row.make(t, dir)
			shares, _, err := keyfile.New(path).Read()
			require.EqualError(t, err, strings.ReplaceAll(row.want, "DIR", dir))
			assert.Empty(t, shares)
			assert.Equal(t, strings.Contains(row.want, "no unseal key there"), errors.Is(err, keyfile.ErrMissing))
			assertHides(t, err.Error(), k)
			assertHides(t, err.Error(), l)
		})
	}
}

func manyShares() string {
	var text strings.Builder
	for range 256 {
		text.WriteString(b64(key(32)) + "\n")
	}
	return text.String()
}

// What is read and is no share is named beside the shares; that a file cannot
// be read may pass, and half a key would be another key.
func TestRead_RemarksOnContentThatIsNoShare(t *testing.T) {
	k := key(32)
	dir := openDir(t)
	write(t, dir+"/key", b64(k)+"\n"+b64(k)[:8]+"\n")
	write(t, dir+"/large", strings.Repeat("!", 64<<10+1))
	write(t, dir+"/root-token", "")
	require.NoError(t, os.Mkdir(dir+"/folder", 0o755))
	require.NoError(t, os.Mkdir(dir+"/root", 0o755))
	write(t, dir+"/"+hex.EncodeToString(key(32)), "")
	shares, remarks, err := keyfile.New(dir).Read()
	require.NoError(t, err)
	assert.Equal(t, hexes(k), asHex(shares))
	got := []string{}
	for _, r := range remarks {
		assert.False(t, r.Token)
		got = append(got, r.String())
		assertHides(t, r.String(), k)
	}
	assert.ElementsMatch(t, []string{
		"[name withheld, it looks like a share]: empty",
		"folder: not a regular file, it is a directory",
		"root: not a regular file, it is a directory",
		"root-token: empty",
		"key: line 2: too short for a share: 6 bytes decoded, expected 16 to 33",
		"large: larger than 64 KiB, a share takes less than 100 bytes",
	}, got)
	require.NoError(t, os.Symlink("nowhere", dir+"/link"))
	shares, _, err = keyfile.New(dir).Read()
	require.ErrorIs(t, err, keyfile.ErrMissing)
	assert.Empty(t, shares)
}

func TestRead_LimitsTheNumberOfRemarks(t *testing.T) {
	dir := openDir(t)
	for n := range 100 {
		write(t, fmt.Sprintf("%s/a%02d", dir, n), "!")
	}
	write(t, dir+"/b", "hvs."+hex.EncodeToString(key(12)))
	_, remarks, err := keyfile.New(dir).Read()
	require.ErrorContains(t, err, "a15: neither base64 nor hex; and 85 more")
	require.Len(t, remarks, 17)
	assert.True(t, remarks[0].Token, "a token is always among them")
	assert.Equal(t, "85 more: no share either", remarks[16].String())
	write(t, dir+"/key", b64(key(32)))
	shares, again, err := keyfile.New(dir).Read()
	require.NoError(t, err)
	assert.Len(t, shares, 1)
	assert.Equal(t, remarks, again)
}
