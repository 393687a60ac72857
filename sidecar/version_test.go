package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVersionCommand_PrintsCommitAndChecksum(t *testing.T) {
	path, err := os.Executable()
	require.NoError(t, err)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	code, stdout, stderr := runCommand(nil, "version")
	assert.Equal(t, exitStopped, code)
	assert.Regexp(t, fmt.Sprintf(`^vault-unseal-sidecar dev \(commit unknown, go1\.\S+, \S+\)\nsha256 %x\n$`, sha256.Sum256(file)), stdout)
	assert.Empty(t, stderr)
}

// A sum of nothing, or of half a file, would be taken for a wrong binary's.
func TestVersionCommand_ReportsWhyTheChecksumIsUnknown(t *testing.T) {
	for why, path := range map[string]string{
		"no such file or directory": filepath.Join(t.TempDir(), "gone"),
		"is a directory":            t.TempDir(), // opens, and cannot be read
	} {
		t.Run(why, func(t *testing.T) {
			var stdout strings.Builder
			code := tellVersion(&stdout, path)
			assert.Equal(t, exitStopped, code)
			assert.Regexp(t, `^vault-unseal-sidecar dev .*\nsha256 unknown: hashing the file that runs: .*`+why+`\n$`, stdout.String())
		})
	}
}
