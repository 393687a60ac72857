package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
)

// Set by the linker: see the Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// tellVersion prints what was built, and the SHA-256 of the file that runs,
// which a release's SHA256SUMS names. Where that cannot be read, that is told in
// its place: the version is wanted all the same.
func tellVersion(stdout io.Writer, running string) int {
	fmt.Fprintf(stdout, "vault-unseal-sidecar %s (commit %s, %s, %s/%s)\n",
		version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	sum, err := sumOf(running)
	if err != nil {
		sum = fmt.Sprintf("unknown: hashing the file that runs: %v", err)
	}
	fmt.Fprintf(stdout, "sha256 %s\n", sum)
	return exitStopped
}

// sumOf returns the SHA-256 of a file in hex.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}
