// Package kubetest has what tests of several packages put in the place of the
// Kubernetes API. What a real API server does is tested in integration/.
package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
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

// Endless lists one more page of its object, up to a number that no cluster has.
type Endless struct {
	dynamic.NamespaceableResourceInterface
	Object *unstructured.Unstructured
	Each   int // objects of a page
	Pages  int // that were listed
	Most   int // pages
}

// Resource implements dynamic.Interface.
func (e *Endless) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return e
}

// Namespace implements dynamic.NamespaceableResourceInterface.
func (e *Endless) Namespace(string) dynamic.ResourceInterface { return e }

// Get returns the object.
func (e *Endless) Get(context.Context, string, metav1.GetOptions, ...string) (*unstructured.Unstructured, error) {
	return e.Object, nil
}

// List returns a page.
func (e *Endless) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	e.Pages++
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	for range e.Each {
		list.Items = append(list.Items, *e.Object.DeepCopy())
	}
	if e.Pages < e.Most {
		list.SetContinue("more")
	}
	return list, nil
}
