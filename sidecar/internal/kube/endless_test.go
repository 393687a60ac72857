package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// endless has one more page of what it serves, up to a number that no cluster has.
type endless struct {
	fakeCluster
	object string
	pages  int
	each   int // objects of a page
}

func (e *endless) Resource(schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	return e
}

func (e *endless) Namespace(string) dynamic.ResourceInterface { return e }

func (e *endless) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	e.pages++
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	for range e.each {
		list.Items = append(list.Items, *object(e.t, e.object))
	}
	if e.pages < 2*maxPages {
		list.SetContinue("more")
	}
	return list, nil
}

// What is remembered of a list is bounded, whatever the server has listed.
func TestAListWithoutAnEnd(t *testing.T) {
	serve := func(object string, each int) *endless {
		return &endless{fakeCluster: fakeCluster{t: t}, object: object, each: each}
	}
	api := serve("{}", 0)
	_, err := eachPage(t.Context(), api, metav1.ListOptions{}, func([]unstructured.Unstructured) error { return nil })
	assert.ErrorIs(t, err, errEndless)
	assert.Equal(t, maxPages, api.pages)

	api = serve(fmt.Sprintf(`{"metadata":{"name":"%s"},"spec":{"selector":{"app":"vault"}}}`, strings.Repeat("n", 250)), 1)
	names, err := (&evictor{api: api, config: Config{Namespace: "security", Pod: "vault-0"}}).names(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, names)
	assert.LessOrEqual(t, len(strings.Join(names, "")), maxNames)

	api = serve(`{"metadata":{"name":"eso"}}`, 1)
	evicted, err := (&evictor{api: api}).evict(t.Context())
	require.NoError(t, err)
	assert.Len(t, evicted, maxControllers)

	api = serve(`{"metadata":{"name":"home"}}`, 1)
	api.pages = maxPages // as many are left
	followed := 0
	f := &reflector[store]{api: api, read: storeOf, all: func(all []store) { followed = len(all) },
		wanted: func() func(store) bool { return func(store) bool { return true } }}
	_, err = f.list(t.Context())
	require.NoError(t, err)
	assert.Equal(t, maxFollowed, followed)
}
