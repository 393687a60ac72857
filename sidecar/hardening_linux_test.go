package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The mounted key can be read through any process in the container.
func TestCommand_EachForbidsTracing(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"status", "--http-bind=127.0.0.1:1"}, {"check", "--manifests=/nowhere"}, {"--help"}, {"no-such"}} {
		require.NoError(t, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
		command(args, environment(nil), io.Discard, io.Discard)
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		require.NoError(t, err)
		assert.Zero(t, dumpable, "%v", args)
	}
}
