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

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// What one tenant has of failing objects is annotated after the first of all others,
// and takes no room from them.
func TestResync_LargeNamespaceDelaysNoOther(t *testing.T) {
	for sentence, err := range map[string]error{"annotated": nil, "refused": kubetest.DeniedBy("externalsecrets", "externalsecrets", "no")} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				patched, first := map[string]int{}, map[string]time.Time{} // by namespace
				api := &kubetest.API{
					OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) (objects []unstructured.Unstructured, _ string, _ error) {
						for _, tenant := range []struct {
							namespace string
							count     int
						}{{"a", 2 * maxResynced}, {"b", 600}, {"c", 3}} {
							for i := 0; at.Resource == ExternalSecrets && i < tenant.count; i++ {
								objects = append(objects, failedSecret(tenant.namespace, fmt.Sprint(i), ""))
							}
						}
						return objects, "", nil
					},
					OnPatch: func(_ context.Context, at kubetest.At, _ string, _ metav1.PatchOptions) error {
						if patched[at.Namespace]++; patched[at.Namespace] == 1 {
							first[at.Namespace] = time.Now()
						}
						return err
					},
				}
				s := newResyncer(Config{Log: hclog.New(&hclog.LoggerOptions{Output: &log})}, api)
				w := newResync(map[StoreName]bool{{"", "home"}: true})
				began := time.Now()
				f := s.scan(t.Context(), w)
				assert.NoError(t, f.err)
				assert.Equal(t, 2*maxResynced+603, f.unsyncedCount, "each is counted once")
				assert.Less(t, first["c"].Sub(began), 10*time.Second)
				assert.Equal(t, maxResyncedIn, patched["a"])
				assert.Equal(t, 1, strings.Count(log.String(), msgTooManyLeft), log.String())
				if err == nil {
					assert.Equal(t, map[string]int{"a": maxResyncedIn, "b": 600, "c": 3}, patched, "each once")
					s.scan(t.Context(), w)
					s.resyncedAt = map[string]time.Time{}
					s.scan(t.Context(), w)
					assert.Equal(t, map[string]int{"a": maxResyncedIn, "b": 600, "c": 3}, w.namespaces, "nor in a later look")
				}
			})
		})
	}
}
