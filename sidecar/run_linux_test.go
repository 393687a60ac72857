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

func TestIdentity_KnowsTheProcessOfLocalAddressesOnly(t *testing.T) {
	for addr, known := range map[string]bool{
		"http://127.0.0.1:8200": true, "http://127.0.0.1": true, "https://localhost": true, "http://[::1]:8200": true,
		"unix:///nowhere/vault.sock": true, "https://vault:8200": false, "https://10.0.0.1": false,
	} {
		t.Run(addr, func(t *testing.T) {
			_, err := identity(addr).Process()
			assert.Equal(t, known, err == nil, "%v", err)
		})
	}
}
