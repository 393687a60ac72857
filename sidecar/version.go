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
// which a release's SHA256SUMS names. Where own cannot open it, that is told in
// its place: the version is wanted all the same.
func tellVersion(stdout io.Writer, own func() (*os.File, error)) int {
	fmt.Fprintf(stdout, "vault-unseal-sidecar %s (commit %s, %s, %s/%s)\n",
		version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	sum, err := sumOf(own())
	if err != nil {
		sum = fmt.Sprintf("unknown: hashing the file that runs: %v", err)
	}
	fmt.Fprintf(stdout, "sha256 %s\n", sum)
	return exitStopped
}

// ownFile opens the file that runs. On Linux the kernel itself knows it, also
// after another was put in its place; elsewhere there is only its path.
func ownFile() (*os.File, error) {
	if runtime.GOOS == "linux" {
		return os.Open("/proc/self/exe")
	}
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// sumOf returns the SHA-256 of an opened file in hex, and closes it.
func sumOf(f *os.File, err error) (string, error) {
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
