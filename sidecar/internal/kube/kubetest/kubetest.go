// Package kubetest has what tests of several packages put in the place of the
// Kubernetes API. What a real API server does is tested in integration/.
package kubetest

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object reads an object from JSON.
func Object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	var o unstructured.Unstructured
	require.NoError(t, json.Unmarshal([]byte(text), &o.Object))
	return &o
}

// DeniedBy is how one of our admission policies refuses to change a resource.
func DeniedBy(policy, resource, why string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x",
		errors.New("ValidatingAdmissionPolicy 'vault-unseal-sidecar-"+policy+"' with binding 'x' denied request: "+why))
}
