package check

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// findings returns what one check finds.
func findings(t *testing.T, c *Checker, look func(*Checker, context.Context)) []Finding {
	t.Helper()
	c.findings = nil
	look(c, t.Context())
	return c.findings
}

// levels returns how bad each finding is.
func levelsOf(all []Finding) (out []Level) {
	for _, f := range all {
		out = append(out, f.Level)
	}
	return out
}

// read makes an object of YAML.
func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &o.Object))
	return o
}

func readPod(t *testing.T, text string) *pod {
	t.Helper()
	p, err := podOf(read(t, text))
	require.NoError(t, err)
	return p
}
