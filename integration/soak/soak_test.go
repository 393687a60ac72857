package soak

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Without SOAK they are a few storms that are always the same, in worlds that have nothing in
// common; with it, that long.
func TestSoak_CalmFollowsEveryStorm(t *testing.T) {
	run(t, Config{Seed: 57, Storms: 3})
}

func TestSoak_CalmFollowsEveryStormInKubernetes(t *testing.T) {
	run(t, Config{Seed: 290, Storms: 3, Kubernetes: true})
}

func run(t *testing.T, c Config) {
	t.Parallel()
	keep, err := filepath.Abs("../../bin/soak")
	require.NoError(t, err)
	c.Keep, c.Log = filepath.Join(keep, t.Name()), t.Logf
	if length := os.Getenv("SOAK"); length != "" {
		c.For, err = time.ParseDuration(length)
		require.NoError(t, err, "SOAK")
		c.Seed, c.Storms = rand.Uint64(), 0
	}
	if seed := os.Getenv("SEED"); seed != "" {
		c.Seed, err = strconv.ParseUint(seed, 10, 64)
		require.NoError(t, err, "SEED")
	}
	if first := os.Getenv("WORLD"); first != "" {
		c.First, err = strconv.Atoi(first)
		require.NoError(t, err, "WORLD")
	}
	t.Logf("SEED=%d", c.Seed)
	require.NoError(t, Run(t.Context(), c))
}
