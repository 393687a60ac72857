package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/alybadawy/vault-unseal-sidecar/sidecar"

// imports returns what each package of the program imports itself, by the
// part of its path after the module's.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		require.NoError(t, err, "%s", failed.Stderr)
	}
	require.NoError(t, err)
	all := map[string][]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var found struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&found); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all[strings.TrimPrefix(found.ImportPath, module+"/")] = found.Imports
	}
}

// One core, an adapter for each outside system, and main alone wires them.
func TestTheArrowsPointInward(t *testing.T) {
	const core = "internal/unseal"
	all := imports(t)
	require.Contains(t, all, core)
	const leaf = "internal/check" // in whose words every adapter may report
	require.Contains(t, all, leaf)
	const words = "internal/safetext" // which every adapter and check may use
	require.Contains(t, all, words)
	for _, adapter := range []string{"keyfile", "procid", "statefile", "vault", "web", "hardening", "metrics"} {
		require.Contains(t, all, "internal/"+adapter)
	}
	only := map[string]string{ // what lives in one place
		"github.com/hashicorp/vault/": "internal/vault",
		"github.com/fsnotify/":        "internal/keyfile",
		"k8s.io/":                     "internal/kube",
		"github.com/prometheus/":      "internal/metrics",
	}
	for from, tos := range all {
		if from == module {
			continue // main
		}
		for _, to := range tos {
			foreign := strings.Contains(strings.Split(to, "/")[0], ".")
			if from == core && foreign {
				assert.Equal(t, "github.com/hashicorp/go-hclog", to, "the core knows the standard library and hclog")
			}
			if strings.HasPrefix(to, module) {
				assert.Contains(t, []string{module + "/" + core, module + "/" + leaf, module + "/" + words}, to, "%s is an adapter: it knows the core and no other", from)
				assert.NotContains(t, []string{core, words}, from, "%s imports nothing of ours", from)
				if from == leaf {
					assert.Equal(t, module+"/"+words, to, "%s imports nothing of ours but that", from)
				}
			}
			for library, home := range only {
				if strings.HasPrefix(to, library) {
					assert.Equal(t, home, from, "%s lives in %s", to, home)
				}
			}
		}
	}
	for _, to := range all[module] {
		for library := range only {
			assert.False(t, strings.HasPrefix(to, library), "main imports %s", to)
		}
	}
}

// These would double the binary and the memory.
func TestOfClientGoLittleIsLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "k8s.io/client-go/dynamic\n")
	for _, heavy := range []string{"api/", "client-go/kubernetes", "client-go/informers", "client-go/dynamic/dynamicinformer",
		"client-go/discovery", "client-go/tools/record", "client-go/tools/events", "client-go/tools/leaderelection"} {
		assert.NotContains(t, string(out), "\nk8s.io/"+heavy)
	}
}
