package keyfile_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// TestNothingOfTheKeyStaysInMemory searches the memory of its own process, so
// it holds what it searches for only with every bit turned over.
func TestNothingOfTheKeyStaysInMemory(t *testing.T) {
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
		}, true},
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
	} {
		t.Run(row.sentence, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			file, err := os.Create(path)
			require.NoError(t, err)
			k := key(32)
			row.write(file, k)
			require.NoError(t, file.Close())
			forms := turnedOver(k)
			clear(k)
			require.Empty(t, found(t, forms), "the test has left the key in memory")

			shares, err := keyfile.New(path).Read()
			require.Equal(t, row.fails, err != nil)
			if !row.fails {
				require.Equal(t, []string{"raw"}, found(t, forms), "the share alone")
			}
			unseal.WipeAll(shares)
			assert.Empty(t, found(t, forms))
		})
	}
}

func writeWiped(to io.Writer, encode func(dst, src []byte) []byte, k []byte) {
	text := encode(make([]byte, 0, 128), k)
	defer clear(text)
	_, _ = to.Write(text)
}

// turnedOver returns the ways to write the key, every bit turned over.
func turnedOver(k []byte) map[string][]byte {
	text := base64.StdEncoding.AppendEncode(make([]byte, 0, 128), k)
	digits := hex.AppendEncode(make([]byte, 0, 128), k)
	// The first 24 bytes, since their base64 does not depend on what follows.
	forms := map[string][]byte{"raw": bytes.Clone(k[:24]), "base64": bytes.Clone(text[:32]), "hex": bytes.Clone(digits[:48])}
	clear(text)
	clear(digits)
	for _, form := range forms {
		for n := range form {
			form[n] = ^form[n]
		}
	}
	return forms
}

// found returns which of the forms lie in memory.
func found(t *testing.T, forms map[string][]byte) []string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	memory, err := os.Open("/proc/self/mem")
	require.NoError(t, err)
	defer memory.Close()

	hits := map[string]bool{}
	chunk := make([]byte, 1<<20)
	defer clear(chunk)
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
			for n := range chunk[:n] {
				chunk[n] = ^chunk[n] // so that the chunk is no hit itself
			}
			for name, form := range forms {
				if bytes.Contains(chunk[:n], form) {
					hits[name] = true
				}
			}
		}
	}
	out := []string{}
	for _, name := range []string{"raw", "base64", "hex"} {
		if hits[name] {
			out = append(out, name)
		}
	}
	return out
}
