package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// inRepository makes a directory with a build script of this text, and works there.
func inRepository(t *testing.T, script string) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "integration/servers"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "integration/servers/build.sh"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Chdir(dir)
}

// A demo that is interrupted leaves no compiler behind.
func TestBuild_StopEndsEachProcess(t *testing.T) {
	inRepository(t, "sleep 600 & echo $! > child; wait\n")
	b, err := startBuild(t.Context(), "kubernetes")
	require.NoError(t, err)
	var child int
	require.NoError(t, testenv.Await(t.Context(), 10*time.Second, "the child", func() string {
		text, err := os.ReadFile("child")
		if err != nil {
			return err.Error()
		}
		if child, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return err.Error()
		}
		return ""
	}))
	b.stop()
	require.NoError(t, testenv.Await(t.Context(), 10*time.Second, "the child to end", func() string {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return ""
		}
		return "it runs"
	}))
	assert.Error(t, b.wait(t.Context()))
}

func TestBuild_WaitReportsAFailure(t *testing.T) {
	inRepository(t, "echo no room; exit 1\n")
	b, err := startBuild(t.Context(), "kubernetes", "external-secrets")
	require.NoError(t, err)
	defer b.stop()
	assert.EqualError(t, b.wait(t.Context()), "building kubernetes and external-secrets: exit status 1")
}

func TestBuild_WaitEndsWithItsContext(t *testing.T) {
	inRepository(t, "sleep 600\n")
	b, err := startBuild(t.Context(), "kubernetes")
	require.NoError(t, err)
	defer b.stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, b.wait(ctx), context.Canceled)
}
