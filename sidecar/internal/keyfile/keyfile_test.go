package keyfile_test

import (
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/keyfile"
)

func TestRead_AcceptsCommonEncodings(t *testing.T) {
	k, l, split := key(32), key(32), key(33)
	for _, row := range []struct {
		sentence string
		files    map[string]string
		want     [][]byte
	}{
		{"one key in base64", map[string]string{"key": b64(k)}, [][]byte{k}},
		{"a trailing newline is forgiven", map[string]string{"key": b64(k) + "\n"}, [][]byte{k}},
		{"Windows line ends and blanks are forgiven", map[string]string{"key": "\r\n \t" + b64(k) + " \r\n\r\n"}, [][]byte{k}},
		{"a NUL at its end is forgiven", map[string]string{"key": b64(k) + "\x00"}, [][]byte{k}},
		{"missing padding is forgiven", map[string]string{"key": strings.TrimRight(b64(k), "=")}, [][]byte{k}},
		{"half the padding is forgiven", map[string]string{"key": strings.TrimSuffix(b64(k[:16]), "=")}, [][]byte{k[:16]}},
		{"hex is read as hex", map[string]string{"key": hex.EncodeToString(k)}, [][]byte{k}},
		{"hex in capitals with a newline too", map[string]string{"key": strings.ToUpper(hex.EncodeToString(k)) + "\n"}, [][]byte{k}},
		{"hex that would be base64 of a good length is hex", map[string]string{"key": hex.EncodeToString(k[:16])}, [][]byte{k[:16]}},
		{"the share of a split key is a byte longer", map[string]string{"key": b64(split)}, [][]byte{split}},
		{"each AES key length and one more", map[string]string{"key": strings.Join([]string{
			b64(k[:16]), b64(k[:17]), b64(k[:24]), b64(k[:25])}, "\n")}, [][]byte{k[:16], k[:17], k[:24], k[:25]}},
		{"several on separate lines keep their order", map[string]string{"keys": b64(l) + "\r\n\r\n" + b64(k) + "\n" + b64(split)}, [][]byte{l, k, split}},
		{"several files go by name", map[string]string{"key-2": b64(k), "key-1": b64(l), "Key-3": b64(split)}, [][]byte{split, l, k}},
		{"the same share twice counts once, at its first place",
			map[string]string{"a": b64(l) + "\n" + b64(k), "b": hex.EncodeToString(l) + "\n" + b64(split)}, [][]byte{l, k, split}},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			shares, _, err := keyfile.New(newMount(t, row.files).dir).Read()
			require.NoError(t, err)
			assert.Equal(t, hexes(row.want...), asHex(shares))
		})
	}
}

func TestRead_ReadsASingleFile(t *testing.T) {
	k := key(32)
	m := newMount(t, map[string]string{"key": b64(k), "unrelated": "not a key"})
	shares, _, err := keyfile.New(filepath.Join(m.dir, "key")).Read()
	require.NoError(t, err)
	assert.Equal(t, hexes(k), asHex(shares))
}

func TestRead_AcceptsEveryReadableMode(t *testing.T) {
	k := key(32)
	path := write(t, filepath.Join(openDir(t), "key"), b64(k))
	for _, mode := range []os.FileMode{0o400, 0o440, 0o444, 0o600, 0o640, 0o644, 0o666, 0o777} {
		t.Run(mode.String(), func(t *testing.T) {
			require.NoError(t, os.Chmod(path, mode))
			shares, _, err := keyfile.New(path).Read()
			require.NoError(t, err)
			assert.Equal(t, hexes(k), asHex(shares))
		})
	}
}

func TestRead_FollowsAPathThatChangesItsType(t *testing.T) {
	k, l := key(32), key(32)
	path := filepath.Join(openDir(t), "key")
	source := keyfile.New(path)
	_, _, err := source.Read()
	require.ErrorIs(t, err, keyfile.ErrMissing)

	write(t, path, b64(k))
	shares, _, err := source.Read()
	require.NoError(t, err)
	assert.Equal(t, hexes(k), asHex(shares))

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o755))
	write(t, filepath.Join(path, "share"), b64(l))
	shares, _, err = source.Read()
	require.NoError(t, err)
	assert.Equal(t, hexes(l), asHex(shares))
}

func TestRead_DoesNotBlockOnAPipeOrSocket(t *testing.T) {
	dir := openDir(t)
	require.NoError(t, syscall.Mkfifo(dir+"/pipe", 0o644))
	socket, err := net.Listen("unix", dir+"/socket")
	require.NoError(t, err)
	defer socket.Close()
	for path, kind := range map[string]string{"/pipe": "a named pipe", "/socket": "a socket"} {
		t.Run(kind, func(t *testing.T) {
			done := make(chan error, 1)
			go func() { _, _, err := keyfile.New(dir + path).Read(); done <- err }()
			select {
			case err := <-done:
				assert.EqualError(t, err, dir+path+": not a regular file, it is "+kind)
			case <-time.After(5 * time.Second):
				require.Fail(t, "still waiting")
			}
		})
	}
}

func TestRead_DoesNotBlockOnAPipeThatReplacesAFile(t *testing.T) {
	path := filepath.Join(openDir(t), "key")
	source, done := keyfile.New(path), make(chan struct{})
	go func() {
		defer close(done)
		for range 10_000 {
			_, _, _ = source.Read()
		}
	}()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case <-done:
			return
		case <-deadline:
			require.Fail(t, "a read waits for a pipe")
		default:
		}
		write(t, path+".file", b64(key(32)))
		require.NoError(t, os.Rename(path+".file", path))
		require.NoError(t, syscall.Mkfifo(path+".pipe", 0o644))
		require.NoError(t, os.Rename(path+".pipe", path))
	}
}

// Two shares of each version; a mixture would be one of each.
func TestRead_NeverMixesTwoVersionsOfASecret(t *testing.T) {
	old, young := [][]byte{key(32), key(32)}, [][]byte{key(32), key(32)}
	files := func(k [][]byte) map[string]string { return map[string]string{"a": b64(k[0]), "b": b64(k[1])} }
	m := newMount(t, files(old))
	source := keyfile.New(m.dir)
	stop, reads := make(chan struct{}), make(chan int)
	go func() {
		good := 0
		for {
			select {
			case <-stop:
				reads <- good
				return
			default:
			}
			// Errors are no mixture: a file may be gone, or the version
			// change at each try.
			if shares, _, err := source.Read(); err == nil {
				got := asHex(shares)
				assert.Contains(t, [][]string{hexes(old...), hexes(young...)}, got)
				good++
			}
		}
	}()
	for range 200 {
		m.publish(files(young))
		m.publish(files(old))
	}
	close(stop)
	assert.Positive(t, <-reads)
}
