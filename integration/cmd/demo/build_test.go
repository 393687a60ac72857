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

// What a build printed before it was waited for is shown at once.
func TestBuild_OfEachServerTheLatestLineIsShown(t *testing.T) {
	for name, test := range map[string]struct{ printed, shown string }{
		"nothing": {"", ""},
		"progress": {
			"servers: kubernetes: building ...\nservers: kubernetes: 1 of 2\nservers: kubernetes: 2 of 2\n",
			"servers: kubernetes: 2 of 2\n",
		},
		"two servers": {
			"servers: kubernetes: 1 of 2\nservers: kubernetes: built\nservers: external-secrets: 1 of 2\n",
			"servers: kubernetes: built\nservers: external-secrets: 1 of 2\n",
		},
		"an error": {
			"servers: kubernetes: 1 of 2\nno room\nno room\nservers: kubernetes: the build failed\n",
			"servers: kubernetes: 1 of 2\nno room\nno room\nservers: kubernetes: the build failed\n",
		},
		"a line that is not complete": {"servers: kubernetes: 1 of 2\nservers: kub", "servers: kubernetes: 1 of 2\nservers: kub"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.shown, latestLines(test.printed)) })
	}
}
