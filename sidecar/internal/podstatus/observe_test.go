package podstatus

import (
	"fmt"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// A StatefulSet gives the next pod the same name, and watch events of it may
// still reach the sidecar of the last.
func TestPod_IgnoresAnotherPodOfItsName(t *testing.T) {
	const pod = `{"metadata": {"name": "vault-0", "uid": %q, "resourceVersion": %q},
		"status": {"conditions": [{"type": "gate", "status": %q}]}}`
	for _, row := range []struct {
		sentence, uid, version, status string
		want                           string
	}{
		{"what is newer is taken over", "first", "6", kube.True, kube.True},
		{"what is older is ignored", "first", "4", kube.True, kube.False},
		{"another pod is ignored", "second", "6", kube.True, kube.False},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			p := New(Config{Name: "vault-0", Namespace: "security", Log: hclog.NewNullLogger()}, &kubetest.API{})
			p.observe(kubetest.Object(t, fmt.Sprintf(pod, "first", "5", kube.False)))
			p.observe(kubetest.Object(t, fmt.Sprintf(pod, row.uid, row.version, row.status)))
			assert.Equal(t, "first", p.seen().uid)
			assert.Equal(t, row.want, p.seen().Conditions["gate"].Status)
		})
	}
}

func TestPod_TellsWhenItTurnsReady(t *testing.T) {
	turns := 0
	p := New(Config{Name: "vault-0", Namespace: "security", Log: hclog.NewNullLogger(), OnReady: func() { turns++ }}, &kubetest.API{})
	for i, step := range []struct {
		status string
		want   int
	}{{kube.False, 0}, {kube.True, 1}, {kube.True, 1}, {kube.False, 1}, {kube.True, 2}} {
		p.observe(kubetest.Object(t, fmt.Sprintf(`{"metadata": {"name": "vault-0", "uid": "u", "resourceVersion": "%d"},
			"status": {"conditions": [{"type": "Ready", "status": %q}]}}`, i+1, step.status)))
		assert.Equal(t, step.want, turns, "step %d", i)
	}
}
