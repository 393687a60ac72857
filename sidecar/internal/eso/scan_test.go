package eso

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// tenantCluster has ExternalSecrets that fail whatever is done.
type tenantCluster struct {
	dynamic.NamespaceableResourceInterface
	namespace string
	lists     bool
	have      []tenant
	err       error // of a patch
	patched   map[string]int
	first     map[string]time.Time
}

type tenant struct {
	namespace string
	count     int
}

func (e *tenantCluster) Resource(r schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	e.lists = r == ExternalSecrets
	return e
}

func (e *tenantCluster) Namespace(namespace string) dynamic.ResourceInterface {
	e.namespace = namespace
	return e
}

func (e *tenantCluster) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	for _, t := range e.have {
		for i := 0; e.lists && i < t.count; i++ {
			list.Items = append(list.Items, unstructured.Unstructured{Object: map[string]any{
				"kind":     "ExternalSecret",
				"metadata": map[string]any{"name": "x", "namespace": t.namespace, "uid": fmt.Sprint(t.namespace, i)},
				"spec":     map[string]any{"secretStoreRef": map[string]any{"name": "home", "kind": kindClusterStore}},
				"status":   map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": kube.False, "reason": "SecretSyncedError"}}},
			}})
		}
	}
	return list, nil
}

func (e *tenantCluster) Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*unstructured.Unstructured, error) {
	if e.patched[e.namespace]++; e.patched[e.namespace] == 1 {
		e.first[e.namespace] = time.Now()
	}
	return nil, e.err
}

// What one tenant has of failing objects is annotated after the first of all others,
// and takes no room from them.
func TestResync_LargeNamespaceDelaysNoOther(t *testing.T) {
	for sentence, err := range map[string]error{"annotated": nil, "refused": kubetest.DeniedBy("externalsecrets", "externalsecrets", "no")} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				eso := &tenantCluster{have: []tenant{{"a", 2 * maxResynced}, {"b", 600}, {"c", 3}}, err: err,
					patched: map[string]int{}, first: map[string]time.Time{}}
				s := newResyncer(Config{Log: hclog.New(&hclog.LoggerOptions{Output: &log})}, eso)
				w := newResync(map[StoreName]bool{{"", "home"}: true}, 1)
				began := time.Now()
				f := s.scan(t.Context(), w)
				assert.NoError(t, f.err)
				assert.Equal(t, 2*maxResynced+603, f.unsyncedCount, "each is counted once")
				assert.Less(t, eso.first["c"].Sub(began), 10*time.Second)
				assert.Equal(t, maxResyncedIn, eso.patched["a"])
				assert.Equal(t, 1, strings.Count(log.String(), msgTooManyLeft), log.String())
				if err == nil {
					assert.Equal(t, map[string]int{"a": maxResyncedIn, "b": 600, "c": 3}, eso.patched, "each once")
					s.scan(t.Context(), w)
					s.resyncedAt = map[string]time.Time{}
					s.scan(t.Context(), w)
					assert.Equal(t, map[string]int{"a": maxResyncedIn, "b": 600, "c": 3}, w.namespaces, "nor in a later look")
				}
			})
		})
	}
}
