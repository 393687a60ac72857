package eso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// evictionAPI is a namespace in which a Service leads to our pod, and an ESO of one
// pod. It counts how often ExternalSecrets and Services are listed.
type evictionAPI struct {
	kubetest.API
	secrets, services, evictions atomic.Int32
	refusal                      error // of an eviction
}

func newEvictionAPI(t *testing.T) *evictionAPI {
	service := `{"metadata":{"name":"vault","namespace":"security"},"spec":{"selector":{"app":"vault"}}}`
	a := &evictionAPI{}
	a.API = kubetest.API{
		OnGet: func(kubetest.At, string) *unstructured.Unstructured {
			return kubetest.Object(t, `{"metadata":{"name":"vault-0","labels":{"app":"vault"}}}`)
		},
		OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
			switch at.Resource {
			case ExternalSecrets:
				a.secrets.Add(1)
			case kube.Services:
				a.services.Add(1)
				return []unstructured.Unstructured{*kubetest.Object(t, service)}, "", nil
			case kube.Pods:
				return []unstructured.Unstructured{*kubetest.Object(t, `{"metadata":{"name":"eso"}}`)}, "", nil
			}
			return nil, "", nil
		},
		OnCreate: func(kubetest.At, *unstructured.Unstructured, metav1.CreateOptions, []string) error {
			a.evictions.Add(1)
			return a.refusal
		},
	}
	return a
}

func evictionConfig() Config {
	return Config{Recovery: RecoveryBoth, Pod: "vault-0", Namespace: "security", ControllerNamespace: "external-secrets"}
}

// ownStore is a store of the Vault beside us.
func ownStore(namespace, name, status string) Store {
	s := vaultStore(namespace, name, status)
	s.Server = "http://vault.security.svc:8200"
	return s
}

// A tenant makes its broken store anew now and then, and Vault is late with an answer as
// often, for three seconds: each time is an outage of its own.
func TestEviction_HappensAtMostOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newEvictionAPI(t)
		n := besideVault(t, evictionConfig(), &api.API, ownStore("", "home", kube.True))
		outages := func(count int) {
			for range count {
				broken := ownStore("tenant", "broken", kube.False)
				broken.uid = fmt.Sprint(time.Now())
				n.handle(func() { n.updateStore(broken, false) })
				during(3*time.Minute - 3*time.Second)
				n.Publish(unseal.Snapshot{Phase: unseal.Unresponsive})
				during(3 * time.Second)
				n.Publish(unseal.Snapshot{Phase: unseal.Active})
			}
		}
		outages(1)
		require.EqualValues(t, 1, api.evictions.Load())
		outages(19)
		assert.EqualValues(t, 1, api.evictions.Load())
		outages(2)
		assert.EqualValues(t, 2, api.evictions.Load(), "the next hour")
	})
}

func TestEviction_IsLimitedByTheSavedTime(t *testing.T) {
	for sentence, row := range map[string]struct {
		age   time.Duration
		over  bool // the outage in which it was
		after time.Duration
		want  int32
	}{
		"in this outage":                      {2 * time.Hour, false, 2 * time.Hour, 0},
		"in one that is over, within an hour": {30 * time.Minute, true, 28 * time.Minute, 0},
		"in one that is over, an hour ago":    {time.Hour, true, 3 * time.Minute, 1},
		"of a clock that was ahead":           {-time.Hour, true, 3 * time.Minute, 1},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, c := newEvictionAPI(t), evictionConfig()
				c.Log = hclog.NewNullLogger()
				c.Memory = &evictionMemory{kept: Eviction{At: time.Now().Add(-row.age), OutageOver: row.over}}
				n := newController(t, c, &api.API, nil)
				n.loadEviction()
				working(t, n)
				n.handle(func() { n.updateStore(ownStore("", "home", kube.False), false) })
				n.Publish(unseal.Snapshot{Phase: unseal.Active})
				during(row.after)
				assert.Equal(t, row.want, api.evictions.Load())
			})
		})
	}
}

// Where the right to evict is missing, or a PodDisruptionBudget refuses it, each broken
// store would have it asked, and much listed before, each time that it is annotated.
func TestEviction_RefusalIsRetriedForAllStoresAtOnce(t *testing.T) {
	for _, count := range []int{1, 100} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				api, c := newEvictionAPI(t), evictionConfig()
				api.refusal = apierrors.NewForbidden(kube.Pods.GroupResource(), "eso", errors.New(`User "x" cannot`))
				c.Log = hclog.New(&hclog.LoggerOptions{Output: &out})
				stores := []Store{ownStore("", "home", kube.True)}
				for i := range count {
					stores = append(stores, ownStore("tenant", fmt.Sprint("broken-", i), kube.False))
				}
				n := besideVault(t, c, &api.API, stores...)
				warnings := func() (count int) {
					n.handle(func() {
						count = strings.Count(out.String(), "advice=\"run kubectl apply -k manifests with the component eviction")
					})
					return count
				}
				during(evictAfter + 30*time.Second)
				assert.EqualValues(t, 1, api.evictions.Load())
				during(80 * time.Second) // half of the time for which the store is down, and a quarter more
				assert.EqualValues(t, 2, api.evictions.Load(), "soon at first")
				during(20 * time.Minute)
				assert.LessOrEqual(t, api.services.Load(), int32(6), "then ever more rarely")
				assert.Equal(t, 1, warnings())

				n.Publish(unseal.Snapshot{Phase: unseal.Unreachable})
				during(time.Second)
				before := api.evictions.Load()
				n.Publish(unseal.Snapshot{Phase: unseal.Active})
				during(evictAfter + 30*time.Second)
				assert.Greater(t, api.evictions.Load(), before, "the next outage has waits of its own")
				assert.Equal(t, 2, warnings())
			})
		})
	}
}

// Stores of another Vault that stay broken.
func TestEviction_LooksUpOurServicesOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, c := newEvictionAPI(t), evictionConfig()
		stores := []Store{}
		for i := range 50 {
			s := vaultStore("tenant", fmt.Sprint("other-", i), kube.False)
			s.Server = "https://vault.example.com"
			stores = append(stores, s)
		}
		besideVault(t, c, &api.API, stores...)
		during(12 * time.Minute)
		assert.NotZero(t, api.services.Load())
		assert.LessOrEqual(t, api.services.Load(), int32(10))
		assert.Zero(t, api.evictions.Load())
	})
}
