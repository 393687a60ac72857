package keyfile

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatMatters(t *testing.T) {
	for _, row := range []struct {
		sentence, path, event string
		want                  bool
	}{
		{"the path itself", "/vault/key", "/vault/key", true},
		{"a file in it", "/vault/key", "/vault/key/share", true},
		{"the directory above", "/vault/key", "/vault", true},
		{"the directory above, as told by a watch on the root", "/vault/key", "//vault", true},
		{"the root", "/vault/key", "/", true},
		{"a neighbour", "/vault/key", "/vault/data", false},
		{"a neighbour whose name begins alike", "/vault/key", "/vault/key-2", false},
		{"an ancestor's neighbour", "/vault/key", "//vaul", false},
		{"the kubelet's link in it", "/vault/key", "/vault/key/..data", true},
		{"the kubelet's link beside it", "/vault/key", "/vault/..data", true},
		{"the kubelet's link above it", "/mount/folder/key", "/mount/..data", true},
		{"the kubelet's link elsewhere", "/vault/key", "/other/..data", false},
		{"a version that is not published yet", "/vault/key", "/vault/key/..2026_01_02", false},
		{"the link before its rename", "/vault/key", "/vault/key/..data_tmp", false},
		{"deep below it", "/vault/key", "/vault/key/folder/file", false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			assert.Equal(t, row.want, New(row.path).matters(row.event))
		})
	}
}
