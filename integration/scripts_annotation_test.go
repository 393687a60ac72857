package integration

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/servers/closed/proxy"
)

// kubectl apply keeps all that it applied in an annotation. No key lives on
// there, neither the old one nor the new.
func TestRotate_LeavesNoKeyInAnnotations(t *testing.T) {
	t.Parallel()
	s := newScriptScenario(t, proxy.Open)
	s.setUpVault()
	old := s.secretData()["key"]
	apply := func(key string) {
		out, err := s.kubectl(`{apiVersion: v1, kind: Secret, metadata: {name: vault-unseal-key, namespace: security, annotations: {
			example.com/copy: "`+base64.StdEncoding.EncodeToString([]byte(key))+`", example.com/team: storage}}, stringData: {key: "`+key+`"}}`, "apply", "-f", "-")
		require.NoError(t, err, out)
	}
	annotated := func(keys ...string) bool {
		o, err := s.cluster.Get(s.ctx, "v1", "Secret", "security", "vault-unseal-key")
		require.NoError(t, err)
		for _, value := range o.GetAnnotations() {
			for _, key := range keys {
				if strings.Contains(value, key) || strings.Contains(value, base64.StdEncoding.EncodeToString([]byte(key))) {
					return true
				}
			}
		}
		assert.Equal(t, "storage", o.GetAnnotations()["example.com/team"], "what holds no key stays")
		return false
	}
	apply(old)
	require.True(t, annotated(old))
	seen := s.recordProcesses()
	out := s.mustRun("", "rotate")
	processes := seen()
	assert.Contains(t, out, "kubectl apply keeps the key in an annotation")
	rotated := s.secretData()["key"]
	require.NotEqual(t, old, rotated)
	assert.False(t, annotated(old, rotated))
	require.Contains(t, processes, "scripts/rotate")
	assert.NotContains(t, processes, old)
	assert.NotContains(t, processes, rotated)

	apply(rotated)
	other := randomShare(32)
	s.mustRun(other, "seed-key", "--replace")
	require.Equal(t, other, s.secretData()["key"])
	assert.False(t, annotated(old, rotated, other))
	s.mustRun(rotated, "seed-key", "--replace")
	s.restartVaultAndAwaitUnseal()
}

// recordProcesses keeps what everybody could read of the processes of this
// machine but this one, until seen is called.
func (s *scriptScenario) recordProcesses() (seen func() string) {
	done, all := make(chan struct{}), make(chan string)
	go func() {
		found := map[string]bool{}
		for {
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			environments, _ := filepath.Glob("/proc/[0-9]*/environ")
			for _, file := range append(files, environments...) {
				text, err := os.ReadFile(file)
				if err == nil && bytes.Contains(text, []byte(s.env.Dir)) || bytes.Contains(text, []byte("scripts/rotate")) {
					found[string(text)] = true
				}
			}
			select {
			case <-done:
				var b strings.Builder
				for text := range found {
					b.WriteString(text + "\n")
				}
				all <- b.String()
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() string { close(done); return <-all }
}
