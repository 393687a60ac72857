package keyfile

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInspect_ReportsWritableFilesAndWhitespace(t *testing.T) {
	raw := []byte(strings.Repeat("k\x01", 16))
	one, same := base64.StdEncoding.EncodeToString(raw), hex.EncodeToString(raw)
	for sentence, row := range map[string]struct {
		files map[string]string
		mode  os.FileMode
		want  Inspection
	}{
		"a file as it should be":         {map[string]string{"a": one}, 0o440, Inspection{}},
		"with a newline at its end":      {map[string]string{"a": one + "\n"}, 0o444, Inspection{}},
		"with a carriage return":         {map[string]string{"a": one + "\r\n"}, 0o440, Inspection{HaveWhitespace: 1}},
		"with blanks":                    {map[string]string{"a": " " + one, "b": one + "\n\n"}, 0o440, Inspection{HaveWhitespace: 2, Repeated: 1}},
		"the same in another form":       {map[string]string{"a": one + "\n" + same}, 0o440, Inspection{Repeated: 1}},
		"that its group may write":       {map[string]string{"a": one}, 0o460, Inspection{WritableByOthers: []string{"a"}}},
		"that all users may write":       {map[string]string{"a": one, "b": one}, 0o446, Inspection{WritableByOthers: []string{"a", "b"}, Repeated: 1}},
		"that only its owner may write":  {map[string]string{"a": one}, 0o600, Inspection{}},
		"that look like a share by name": {map[string]string{strings.Repeat("ab", 32): one}, 0o660, Inspection{WritableByOthers: []string{"[name withheld, it looks like a share]"}}},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range row.files {
				path := filepath.Join(dir, name)
				require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
				require.NoError(t, os.Chmod(path, row.mode))
			}
			got, err := New(dir).Inspect()
			require.NoError(t, err)
			row.want.DirectoryWritable = true // the test's own directory
			assert.Equal(t, row.want, got)
			if len(row.files) == 1 {
				for name := range row.files {
					got, err = New(filepath.Join(dir, name)).Inspect()
					require.NoError(t, err)
					assert.Equal(t, row.want, got, "the file alone")
				}
			}
		})
	}
}

func TestInspect_FailsOnlyWhenNoKeyIsMounted(t *testing.T) {
	dir := t.TempDir()
	_, err := New(dir).Inspect()
	assert.ErrorIs(t, err, ErrMissing)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("nonsense"), 0o600))
	_, err = New(dir).Inspect()
	assert.NoError(t, err, "what it is, Read reports")
}
