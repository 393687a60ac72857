package keyfile_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// TestRead_LeavesNoCopyOfTheKeyInMemory searches the memory of its own process, so
// it holds most of what it searches for with every bit inverted only.
func TestRead_LeavesNoCopyOfTheKeyInMemory(t *testing.T) {
	for _, row := range []struct {
		sentence string
		write    func(to io.Writer, k []byte)
		fails    bool
	}{
		{"a key in base64", func(to io.Writer, k []byte) { writeWiped(to, base64.StdEncoding.AppendEncode, k) }, false},
		{"a key in hex", func(to io.Writer, k []byte) { writeWiped(to, hex.AppendEncode, k) }, false},
		{"the same key twice", func(to io.Writer, k []byte) {
			writeWiped(to, hex.AppendEncode, k)
			_, _ = io.WriteString(to, "\n")
			writeWiped(to, base64.StdEncoding.AppendEncode, k)
		}, false},
		{"a key and then a bad line", func(to io.Writer, k []byte) {
			writeWiped(to, base64.StdEncoding.AppendEncode, k)
			_, _ = io.WriteString(to, "\n!\n")
		}, false},
		{"what init prints as JSON", func(to io.Writer, k []byte) {
			_, _ = io.WriteString(to, `{"unseal_keys_b64": ["`)
			writeWiped(to, base64.StdEncoding.AppendEncode, k)
			_, _ = io.WriteString(to, `"], "unseal_keys_hex": ["`)
			writeWiped(to, hex.AppendEncode, k)
			_, _ = io.WriteString(to, `"], "root_token": "hvs.none"}`)
		}, false},
		{"what init prints as text", func(to io.Writer, k []byte) {
			_, _ = io.WriteString(to, "Unseal Key 1: ")
			writeWiped(to, base64.StdEncoding.AppendEncode, k)
			_, _ = io.WriteString(to, "\n\nInitial Root Token: hvs.none\n")
		}, false},
		{"a key encoded twice", func(to io.Writer, k []byte) {
			inner := base64.StdEncoding.AppendEncode(nil, k)
			defer clear(inner)
			writeWiped(to, base64.StdEncoding.AppendEncode, inner)
		}, true},
		{"a key that is too long", func(to io.Writer, k []byte) {
			longer := append(make([]byte, 8), k...)
			defer clear(longer)
			writeWiped(to, base64.StdEncoding.AppendEncode, longer)
		}, true},
		{"a key in one file and a mistake in the next", func(to io.Writer, k []byte) {
			writeWiped(to, base64.StdEncoding.AppendEncode, k)
			_, _ = os.Create(to.(*os.File).Name() + "-2")
		}, false},
		{"a key in one file, and the next cannot be read", func(to io.Writer, k []byte) {
			writeWiped(to, base64.StdEncoding.AppendEncode, k)
			_ = os.Symlink("nowhere", to.(*os.File).Name()+"-2")
		}, true},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			dir := t.TempDir()
			file, err := os.Create(filepath.Join(dir, "key"))
			require.NoError(t, err)
			k := key(32)
			row.write(file, k)
			require.NoError(t, file.Close())
			forms := inverted(k)
			clear(k)
			require.Empty(t, formsInMemory(t, forms), "the test has left the key in memory")

			shares, _, err := keyfile.New(dir).Read()
			require.Equal(t, row.fails, err != nil)
			if !row.fails {
				require.Equal(t, []string{"raw"}, formsInMemory(t, forms), "the share alone")
			}
			unseal.WipeAll(shares)
			assert.Empty(t, formsInMemory(t, forms))
		})
	}
}

func writeWiped(to io.Writer, encode func(dst, src []byte) []byte, k []byte) {
	text := encode(make([]byte, 0, 128), k)
	defer clear(text)
	_, _ = to.Write(text)
}

// form is one way to write a key: the first bytes as they are, to search for,
// and the rest inverted.
type form struct {
	name       string
	head, rest []byte
}

func inverted(k []byte) []form {
	text := base64.StdEncoding.AppendEncode(make([]byte, 0, 128), k)
	digits := hex.AppendEncode(make([]byte, 0, 128), k)
	// Of the first 24 bytes, since their base64 does not depend on the others.
	forms := []form{}
	for name, whole := range map[string][]byte{"raw": k[:24], "base64": text[:32], "hex": digits[:48]} {
		f := form{name: name, head: bytes.Clone(whole[:6]), rest: bytes.Clone(whole[6:])}
		for n := range f.rest {
			f.rest[n] = ^f.rest[n]
		}
		forms = append(forms, f)
	}
	clear(text)
	clear(digits)
	return forms
}

func (f form) isIn(memory []byte) bool {
	for {
		at := bytes.Index(memory, f.head)
		if at < 0 {
			return false
		}
		memory = memory[at+len(f.head):]
		same := 0
		for same < min(len(f.rest), len(memory)) && memory[same] == ^f.rest[same] {
			same++
		}
		if same == len(f.rest) {
			return true
		}
	}
}

// formsInMemory returns the names of the forms that are in memory.
func formsInMemory(t *testing.T, forms []form) []string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	memory, err := os.Open("/proc/self/mem")
	require.NoError(t, err)
	defer memory.Close()

	names := []string{}
	chunk := make([]byte, 1<<20)
	defer clear(chunk) // or the next search finds what this one copied
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		_, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode)
		// The race detector's shadow takes terabytes of addresses.
		if err != nil || !strings.HasPrefix(mode, "rw") || to-from > 256<<20 {
			continue
		}
		for at := from; at < to; at += int64(len(chunk)) - 64 {
			n, _ := memory.ReadAt(chunk[:min(int64(len(chunk)), to-at)], at)
			for _, f := range forms {
				if f.isIn(chunk[:n]) && !slices.Contains(names, f.name) {
					names = append(names, f.name)
				}
			}
		}
	}
	return names
}
