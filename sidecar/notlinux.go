//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

// What is for the container, and so for Linux, is refused here and does nothing:
// to send a key takes what only Linux says of the other end of a connection.

func run(_ config, _ error, stderr io.Writer) int {
	fmt.Fprintln(stderr, "vault-unseal-sidecar: run: the sidecar runs in Vault's pod, on Linux; here there are check with a kubeconfig, status and version")
	return exitUsage
}

func checkInContainer(context.Context, config) ([]check.Finding, error) {
	return nil, errors.New("the key and Vault are in Vault's pod, on Linux; " +
		"set --pod-name and --pod-namespace, and --kubeconfig where ~/.kube/config is not meant")
}

// isSidecar is for the container too: here the status is read over a port-forward.
func isSidecar(net.Conn) error { return nil }

// ownFile is the file that runs, unless another was put in its place since. Where it
// is not known it is empty, and the hash is told as unknown.
var ownFile, _ = os.Executable()
