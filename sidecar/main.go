// Command vault-unseal-sidecar unseals the HashiCorp Vault beside it.
//
// It runs in Vault's pod, reads the unseal key from a mounted Secret, waits
// until Vault's storage serves, and unseals Vault at that moment: after every
// restart, for as long as the pod lives. It needs no rights.
//
// A Vault that is sealed on purpose stays sealed. A key that Vault refuses is
// sent again rarely or not at all. What it does and why is in its log, in status, on the page
// that it serves to kubectl port-forward, and in the README.
//
// Usage:
//
//	vault-unseal-sidecar [run] [options]
//	vault-unseal-sidecar check [--output table|json] [--prove-key | --manifests -] [options]
//	vault-unseal-sidecar status [--watch] [--output text|json] [options]
//	vault-unseal-sidecar version
//
// Each option is a flag and an environment variable; the flag wins. Run it
// with --help for the list. It ends with 0 when it was asked to stop, with 1
// when it failed, and with 2 when it was called wrongly; check ends with 3 when
// it has a warning to tell, and with 4 when it found a failure.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/hardening"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
)

// The exit codes.
const (
	exitStopped = 0
	exitFailed  = 1
	exitUsage   = 2
)

// gcPercent keeps the heap near what is in use, about a megabyte: by default
// Go lets it grow to four before it looks what is garbage.
const gcPercent = 50

// limitHeap has Go collect garbage earlier, unless somebody has set it.
func limitHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

func main() {
	limitHeap()
	log.SetOutput(io.Discard) // net/http prints there what whoever has Vault's address sends unasked
	os.Exit(command(os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// command runs a subcommand and returns the exit code.
func command(args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	// Before anything else, and for each: through any process of this container whoever may
	// trace it reads the mounted key.
	unprotected := hardening.Process()
	name := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	switch name {
	case "run", "status", "check":
		c, err := parse(args, variables(name, args, env), ownOptions[name]...)
		if err == nil {
			err = c.incompletePair()
		}
		if err == nil && name != "run" {
			err = c.mistyped()
		}
		if errors.Is(err, errHelp) {
			usage(stdout)
			return exitStopped
		}
		if err != nil {
			fmt.Fprintf(stderr, "vault-unseal-sidecar: %v\n", err)
			return exitUsage
		}
		switch name {
		case "status":
			return showStatus(c, stdout, stderr)
		case "check":
			return checkCommand(c, args, unprotected, stdout, stderr)
		}
		return run(c, unprotected, stderr)
	case "version":
		return tellVersion(stdout, ownFile)
	default:
		fmt.Fprintf(stderr, "vault-unseal-sidecar: no such command: %s; there are run (the default), check, status and version\n", redact(name))
		return exitUsage
	}
}

// variables returns where the options of a subcommand are read from beside its flags. To look
// from outside, as to ask for the status, takes no Vault: VAULT_ADDR and the like are a
// person's own, for another program.
func variables(name string, args []string, env func(string) (string, bool)) func(string) (string, bool) {
	personal := func(variable string) (string, bool) {
		if strings.HasPrefix(variable, "VAULT_") {
			return "", false
		}
		return env(variable)
	}
	switch name {
	case "status":
		return personal
	case "check":
		c, err := parse(args, personal, ownOptions[name]...)
		switch {
		case err == nil && c.manifests != "": // the same on every machine
			return noVariables
		case err == nil && c.findKubeconfig() != "":
			return personal
		}
		return asStarted(env, containerProcess)
	}
	return env
}

// containerProcess has the arguments of the container's first process, proc(5), which is the
// sidecar unless the pod's containers share their processes.
const containerProcess = "/proc/1/cmdline"

// asStarted returns variables that say what the flags of the sidecar say that was started with
// this command line: what is run in its container has its variables alone, and would look
// elsewhere, or send a key to whom the sidecar sends none. Another process says nothing.
func asStarted(env func(string) (string, bool), path string) func(string) (string, bool) {
	text, err := os.ReadFile(path)
	words := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if err != nil || filepath.Base(words[0]) != kube.Name {
		return env
	}
	words = words[1:]
	if len(words) > 0 && words[0] == "run" {
		words = words[1:]
	}
	given, err := flags(words, options)
	if err != nil {
		return env
	}
	delete(given, "kubeconfig") // it says where the API is, not from where to look
	said := map[string]string{}
	for _, o := range options {
		if value, found := given[o.flag]; found {
			said[o.env] = value
		}
	}
	return func(variable string) (string, bool) {
		if value, found := said[variable]; found {
			return value, true
		}
		return env(variable)
	}
}
