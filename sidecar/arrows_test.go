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

// allowedImports lists the packages, and which others of ours each may import. Main wires
// them and may import all.
var allowedImports = map[string]string{
	"unseal":    "", // the core
	"safetext":  "",
	"hardening": "",
	"procid":    "unseal",
	"statefile": "unseal",
	"keyfile":   "unseal safetext",
	"vault":     "unseal safetext",
	"status":    "unseal safetext",
	"web":       "unseal status safetext",
	"metrics":   "unseal status",
	"kube":      "safetext",
	"podstatus": "unseal safetext kube",
	"eso":       "unseal safetext kube podstatus status",
	"policy":    "safetext kube podstatus eso",
	"check":     "unseal safetext kube eso policy keyfile statefile",
}

// libraries are where each that is used for one purpose lives.
var libraries = map[string]string{
	"github.com/hashicorp/vault/": "vault",
	"github.com/fsnotify/":        "keyfile",
	"k8s.io/":                     "kube podstatus eso policy check",
	"github.com/prometheus/":      "metrics",
}

func TestImports_GoOneWay(t *testing.T) {
	all := imports(t)
	for name := range allowedImports {
		require.Contains(t, all, "internal/"+name)
	}
	for from, tos := range all {
		t.Run(from, func(t *testing.T) {
			name, isOurs := strings.CutPrefix(from, "internal/")
			if strings.HasSuffix(name, "test") {
				return // what tests share
			}
			may, listed := allowedImports[name]
			assert.Equal(t, isOurs, listed, "which packages %s may import has to be listed", from)
			for _, to := range tos {
				if ours, is := strings.CutPrefix(to, module+"/internal/"); is && isOurs {
					assert.Contains(t, strings.Fields(may), ours, "imported by %s", name)
				}
				if name == "unseal" && strings.Contains(strings.Split(to, "/")[0], ".") {
					assert.Equal(t, "github.com/hashicorp/go-hclog", to, "the core knows the standard library and hclog")
				}
				for library, packages := range libraries {
					if strings.HasPrefix(to, library) {
						assert.Contains(t, strings.Fields(packages), name, "%s is imported by %s", to, from)
					}
				}
			}
		})
	}
}

// These would double the binary and the memory.
func TestImports_LinkNoHeavyPackagesOfClientGo(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "k8s.io/client-go/dynamic\n")
	for _, heavy := range []string{"api/", "client-go/kubernetes", "client-go/informers", "client-go/dynamic/dynamicinformer",
		"client-go/discovery", "client-go/tools/record", "client-go/tools/events", "client-go/tools/leaderelection"} {
		assert.NotContains(t, string(out), "\nk8s.io/"+heavy)
	}
}
