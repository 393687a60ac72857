package eso

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// longNamespaces serves 4,000 ExternalSecrets that failed, each in a namespace of its
// own with a name as long as the filter lets through.
var longNamespaces = &kubetest.API{OnList: func(_ context.Context, at kubetest.At, o metav1.ListOptions) (objects []unstructured.Unstructured, next string, err error) {
	if at.Resource != ExternalSecrets {
		return nil, "", nil
	}
	from := 0
	_, _ = fmt.Sscan(o.Continue, &from)
	for i := from; i < from+40; i++ {
		objects = append(objects, failedSecret(fmt.Sprintf("n%06000d", i), fmt.Sprint(i), ""))
	}
	if from+40 < 4000 {
		next = fmt.Sprint(from + 40)
	}
	return objects, next, nil
}}

// failedSecret is an ExternalSecret of the store home that ESO could not sync; namespace
// of the store: "" is a ClusterSecretStore's.
func failedSecret(namespace, name, ofStore string) unstructured.Unstructured {
	kind := kindClusterStore
	if ofStore != "" {
		kind = kindStore
	}
	return unstructured.Unstructured{Object: map[string]any{
		"kind": "ExternalSecret", "metadata": map[string]any{"name": name, "namespace": namespace, "uid": namespace + name},
		"spec":   map[string]any{"secretStoreRef": map[string]any{"kind": kind, "name": "home"}},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": kube.False, "reason": "SecretSyncedError"}}},
	}}
}

func TestResync_BoundsTheNamespacesItRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResyncer(Config{Log: hclog.NewNullLogger()}, longNamespaces)
		w := newResync(map[StoreName]bool{{"", "home"}: true})
		f := s.scan(t.Context(), w)
		assert.NoError(t, f.err)
		var names strings.Builder
		for name := range w.namespaces {
			names.WriteString(name)
		}
		assert.Less(t, names.Len(), 4<<20, "bytes, after 100 seconds; it goes on to 20,000 objects")
	})
}
