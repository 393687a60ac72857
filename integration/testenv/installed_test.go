package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Other versions than those of make servers cannot be had here: a script prints what they
// call themselves, Vault's as its release 1.13.0 does (version/version.go) and the
// kube-apiserver's as k8s.io/component-base/version/verflag.
func TestInstalled_TakesWhatFits(t *testing.T) {
	dir := t.TempDir()
	script := func(path, line string) {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\necho '%s'\n", line), 0o755))
	}
	script("vault", "Vault v1.20.4 (55bd8f18), built 2025-09-23T13:22:38Z")
	script("old", "Vault v1.13.0 (a4cf0dc), built 2023-03-01T14:58:13Z")
	script("odd", "hello")
	for assets, version := range map[string]string{"assets": "Kubernetes v1.31.0", "assets-old": "Kubernetes v1.29.5", "assets-half": "Kubernetes v1.31.0",
		"assets-two": "Kubernetes v1.31.0"} {
		script(assets+"/kube-apiserver", version)
	}
	for _, file := range []string{"assets/etcd", "assets/kubectl", "assets-old/etcd", "assets-two/etcd"} {
		script(file, "")
	}
	for sentence, row := range map[string]struct {
		vault, assets string
		want          Programs
		told          int
		err           string
	}{
		"nothing is named":        {},
		"a Vault":                 {vault: "vault", want: Programs{Vault: filepath.Join(dir, "vault")}, told: 1},
		"both":                    {vault: "vault", assets: "assets", want: Programs{filepath.Join(dir, "vault"), filepath.Join(dir, "assets")}, told: 2},
		"an old Vault":            {vault: "old", err: "is version 1.13.0, and 1.14 is the oldest that fits"},
		"what is no Vault":        {vault: "odd", err: "names no version"},
		"no such Vault":           {vault: "missing", err: "no such file"},
		"an old Kubernetes":       {assets: "assets-old", err: "is version 1.29.5, and 1.30 is the oldest that fits"},
		"a Kubernetes, no etcd":   {assets: "assets-half", err: "no etcd beside its kube-apiserver"},
		"and no kubectl":          {assets: "assets-two", err: "no kubectl beside its kube-apiserver"},
		"assets that are missing": {assets: "missing", err: "no such file"},
	} {
		t.Run(sentence, func(t *testing.T) {
			for variable, name := range map[string]string{"VAULT_BINARY": row.vault, "KUBEBUILDER_ASSETS": row.assets} {
				if name != "" {
					name = filepath.Join(dir, name)
				}
				t.Setenv(variable, name)
			}
			got, told, err := Installed(t.Context())
			if row.err != "" {
				require.ErrorContains(t, err, row.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, row.want, got)
			assert.Len(t, told, row.told)
		})
	}
}

// The servers that are built are such programs, too.
func TestInstalled_RunsTheVaultThatItIsGiven(t *testing.T) {
	root, err := findRepo()
	require.NoError(t, err)
	t.Setenv("VAULT_BINARY", filepath.Join(root, "bin/servers/vault"))
	t.Setenv("KUBEBUILDER_ASSETS", "")
	p, told, err := Installed(t.Context())
	require.NoError(t, err)
	assert.Contains(t, told[0], "using VAULT_BINARY=")
	require.NoError(t, Run(p, func(env *Env) error {
		v, err := env.NewVault(VaultConfig{})
		if err != nil {
			return err
		}
		return v.StartAndWait(t.Context())
	}))
}
