package eso

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// A tenant has a store that turns Ready every five minutes, while much that uses another
// fails for a reason of its own.
func TestResync_FlappingStoreHasNothingOfOthersAnnotatedAgain(t *testing.T) {
	for sentence, uses := range map[string]func(unstructured.Unstructured) unstructured.Unstructured{
		"another store":        func(o unstructured.Unstructured) unstructured.Unstructured { return ofStore(o, "", "home") },
		"a generator of Vault": fromGenerator,
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a annotationLog
				n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
					return []unstructured.Unstructured{uses(failedSecret("victim", "app", "")), ofStore(failedSecret("tenant", "own", ""), "tenant", "s")}
				}), vaultStore("", "home", kube.True), vaultStore("tenant", "s", kube.True))
				during(time.Hour) // the outage is long over
				for range 12 {
					n.setStatus("tenant", "s", kube.False)
					during(time.Second)
					n.setStatus("tenant", "s", kube.True)
					during(5 * time.Minute)
				}
				assert.Equal(t, 2, a.times("externalsecrets/victim/app"))
				assert.Greater(t, a.times("externalsecrets/tenant/own"), 2)
				n.handle(func() { assert.Equal(t, 2, n.scan.unsyncedCount, "what is left of others is still told") })
			})
		})
	}
}

// Two stores turn Ready one after the other, before the resync of the first is done.
func TestResync_ThatTakesThePlaceOfAnotherAnnotatesWhatThatDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
			return []unstructured.Unstructured{ofStore(failedSecret("b", "of", ""), "b", "s"), failedSecret("victim", "app", "")}
		}), vaultStore("", "home", kube.False), vaultStore("b", "s", kube.False))
		n.setStatus("", "home", kube.True)
		during(time.Second)
		assert.Equal(t, 1, a.times("externalsecrets/victim/app"))
		n.setStatus("b", "s", kube.True)
		during(time.Hour)
		assert.Equal(t, 2, a.times("externalsecrets/victim/app"), "each object is annotated twice at most")
		assert.Equal(t, 2, a.times("externalsecrets/b/of"))
	})
}

// What gets down after an outage is over is no part of it, however often.
func TestEviction_FlappingStoreProlongsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		n := besideVault(t, Config{Recovery: RecoveryBoth}, a.serve(func() []unstructured.Unstructured { return nil }), vaultStore("", "home", kube.True))
		during(time.Hour)
		for range 3 {
			n.setStatus("", "home", kube.False)
			n.handle(func() { assert.True(t, n.tracked[StoreName{"", "home"}].readyAfterOutage) })
			synctest.Wait()
			n.setStatus("", "home", kube.True)
		}
	})
}

// Stores in many namespaces turn Ready one after the other, so that no resync is ever done,
// and an hour after the outage a store fails and is back.
func TestResync_ThatNeverEndsForgetsNoLaterStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a annotationLog
		var fails atomic.Bool
		fails.Store(true)
		n := besideVault(t, Config{Recovery: RecoveryNudge}, a.serve(func() []unstructured.Unstructured {
			all := []unstructured.Unstructured{ofStore(failedSecret("tenant0", "own", ""), "tenant0", "s")}
			if fails.Load() {
				all = append(all, failedSecret("victim", "app", ""))
			}
			return all
		}), vaultStore("", "home", kube.True))
		turn := 0
		flap := func(d time.Duration) { // each namespace once in six minutes
			for began := time.Now(); time.Since(began) < d; turn++ {
				tenant := fmt.Sprint("tenant", turn%16)
				n.setStatus(tenant, "s", kube.False)
				n.setStatus(tenant, "s", kube.True)
				during(6 * time.Minute / 16)
			}
		}
		flap(5 * time.Minute)
		fails.Store(false)
		flap(time.Hour)
		fails.Store(true)
		n.setStatus("", "home", kube.False)
		flap(time.Minute)
		before := a.times("externalsecrets/victim/app")
		n.setStatus("", "home", kube.True)
		flap(time.Hour)
		assert.Greater(t, a.times("externalsecrets/victim/app"), before)
	})
}

// A tenant's store turns Ready every other second for two hours.
func TestController_FlappingStoreFillsNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		var a annotationLog
		api := a.serve(func() []unstructured.Unstructured { return nil })
		api.OnPatch = func(context.Context, kubetest.At, string, metav1.PatchOptions) error {
			return apierrors.NewInvalid(schema.GroupKind{Kind: kindStore}, "s", nil)
		}
		n := besideVault(t, Config{Recovery: RecoveryNudge, Log: hclog.New(&hclog.LoggerOptions{Output: &out})}, api,
			vaultStore("", "home", kube.True), vaultStore("tenant", "s", kube.True))
		for range 3600 {
			n.setStatus("tenant", "s", kube.False)
			during(time.Second)
			n.setStatus("tenant", "s", kube.True)
			during(time.Second)
		}
		assert.Less(t, strings.Count(out.String(), "\n"), 800)
		assert.Equal(t, 1, strings.Count(out.String(), "annotating SecretStore/tenant/s"))
		flapping := strings.Count(out.String(), msgFlapping)
		assert.NotZero(t, flapping)
		assert.Less(t, flapping, 10)
		out.Reset()
		n.setStatus("", "home", kube.False)
		during(time.Second)
		assert.Contains(t, out.String(), msgStoreDown, "of others each is logged")
		during(2 * time.Hour)
		out.Reset()
		n.setStatus("tenant", "s", kube.False)
		during(time.Second)
		assert.Contains(t, out.String(), msgStoreDown, "now it is calm")
	})
}
