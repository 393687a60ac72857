package main

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
)

// The parts know one another, and none may be asked before it is there.
func TestWire_PublishesToTheServer(t *testing.T) {
	c, err := parse([]string{"--kubernetes=off", "--state-dir", t.TempDir(), "--keys", t.TempDir()}, environment(nil))
	require.NoError(t, err)
	p, err := wire(c, hclog.NewNullLogger())
	require.NoError(t, err)
	assert.Less(t, p.server.Latest.Turned(), status.StuckAfter)
	assert.Eventually(t, func() bool { return p.server.Latest.Turned() > 0 }, time.Second, time.Millisecond, "it asks the loop")
	assert.Equal(t, version, p.server.Latest.Known().Version)
}
