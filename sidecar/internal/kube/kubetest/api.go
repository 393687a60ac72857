package kubetest

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// At is what a request is about.
type At struct {
	Resource  schema.GroupVersionResource
	Namespace string
}

// API is a Kubernetes API made of functions, which may be called at the same time.
// Where one is missing, nothing is found, and every change succeeds.
type API struct {
	OnGet    func(at At, name string) *unstructured.Unstructured
	OnList   func(ctx context.Context, at At, o metav1.ListOptions) (objects []unstructured.Unstructured, next string, err error)
	OnPatch  func(ctx context.Context, at At, name string, o metav1.PatchOptions) error
	OnCreate func(at At, o *unstructured.Unstructured, options metav1.CreateOptions, subresources []string) error
	OnWatch  func(at At) error
}

// Resource implements dynamic.Interface.
func (a *API) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return resource{api: a, at: At{Resource: r}}
}

// resource panics at what no test has a use for.
type resource struct {
	dynamic.NamespaceableResourceInterface
	api *API
	at  At
}

func (r resource) Namespace(namespace string) dynamic.ResourceInterface {
	r.at.Namespace = namespace
	return r
}

func (r resource) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	if r.api.OnGet == nil {
		return nil, fmt.Errorf("there is no %s %s", r.at.Resource.Resource, name)
	}
	return r.api.OnGet(r.at, name), nil
}

func (r resource) List(ctx context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	if r.api.OnList == nil {
		return list, nil
	}
	objects, next, err := r.api.OnList(ctx, r.at, o)
	list.Items = objects
	list.SetContinue(next)
	return list, err
}

func (r resource) Patch(ctx context.Context, name string, _ types.PatchType, _ []byte, o metav1.PatchOptions, _ ...string) (*unstructured.Unstructured, error) {
	if r.api.OnPatch == nil {
		return nil, nil
	}
	return nil, r.api.OnPatch(ctx, r.at, name, o)
}

func (r resource) Create(_ context.Context, o *unstructured.Unstructured, options metav1.CreateOptions, sub ...string) (*unstructured.Unstructured, error) {
	if r.api.OnCreate == nil {
		return o, nil
	}
	return o, r.api.OnCreate(r.at, o, options, sub)
}

func (r resource) Watch(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
	if r.api.OnWatch != nil {
		if err := r.api.OnWatch(r.at); err != nil {
			return nil, err
		}
	}
	w := watch.NewFake()
	context.AfterFunc(ctx, w.Stop)
	return w, nil
}
