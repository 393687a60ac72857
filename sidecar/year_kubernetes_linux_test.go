package main

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/metrics"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/podstatus"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/statefile"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/status"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

// kubernetesDay is a day of the half that speaks to Kubernetes: in what is left out of 24 hours
// it only begins its watches again, every ten minutes.
const kubernetesDay = 2 * time.Hour

// yearOfKubernetes is the half that speaks to Kubernetes, in virtual time.
type yearOfKubernetes struct {
	*testing.T
	cluster *yearCluster
	half    *kubernetesHalf
	latest  *status.Latest
	metrics *metrics.Metrics
}

func startKubernetes(t *testing.T, group *sync.WaitGroup, ctx context.Context) *yearOfKubernetes {
	y := &yearOfKubernetes{T: t, cluster: newYearCluster(), latest: status.NewLatest("v1"), half: &kubernetesHalf{}}
	y.metrics = metrics.New("commit", y.latest, noCertificates)
	y.cluster.put(kube.Pods, `{"metadata":{"name":"vault-0","namespace":"security","uid":"u","labels":{"app":"vault"}}}`)
	y.cluster.put(kube.Pods, `{"metadata":{"name":"external-secrets-0","namespace":"external-secrets"}}`)
	y.cluster.put(kube.Services,
		`{"metadata":{"name":"vault","namespace":"security"},"spec":{"selector":{"app":"vault"}}}`)
	y.tenant("app")
	for name, namespace := range map[string]string{"home": "security", "other": "elsewhere"} {
		y.cluster.put(eso.ClusterStores, fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"provider":{"vault":`+
			`{"server":"http://vault.%s.svc:8200"}}}}`, name, namespace))
	}

	log := hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	c := eso.Config{
		Recovery: eso.RecoveryBoth, ControllerNamespace: "external-secrets", Pod: "vault-0", Namespace: "security",
		Log: log, Meter: y.metrics, Memory: statefile.New(t.TempDir(), "eviction.json"),
		Report: y.latest.PublishSecrets,
	}
	y.half.pod = podstatus.New(podstatus.Config{
		Name: c.Pod, Namespace: c.Namespace, Gate: "vault-unseal-sidecar/unsealed", Rights: c.Rights(),
		Log: log, Meter: y.metrics, OnImage: y.latest.PublishImage, OnReady: y.half.podIsReady,
	}, y.cluster)
	y.half.controller = eso.New(c, y.cluster, y.half.pod)
	y.half.policies = policy.New(policy.Config{
		Trial:  policy.Trial{API: y.cluster, Pod: c.Pod, Namespace: c.Namespace, ControllerNamespace: c.ControllerNamespace},
		Rights: c.Rights(), Log: log, Meter: y.metrics}, y.half.pod)
	group.Go(func() { _ = y.half.Run(ctx) })
	return y
}

// tenant makes a namespace with a store and what is synced from it.
func (y *yearOfKubernetes) tenant(namespace string) {
	const ready = `"status":{"conditions":[{"type":"Ready","status":"True"}]}`
	y.cluster.put(eso.NamespaceStores, fmt.Sprintf(`{"metadata":{"name":"vault","namespace":%q},`+
		`"spec":{"provider":{"vault":{"server":"http://vault.security.svc:8200"}}},%s}`, namespace, ready))
	for i := range 5 {
		y.cluster.put(eso.ExternalSecrets, fmt.Sprintf(`{"kind":"ExternalSecret",`+
			`"metadata":{"name":"s%d","namespace":%q,"uid":"%s-%d"},`+
			`"spec":{"secretStoreRef":{"name":"vault","kind":"SecretStore"}},%s}`, i, namespace, namespace, i, ready))
	}
	y.cluster.put(eso.PushSecrets, fmt.Sprintf(`{"kind":"PushSecret",`+
		`"metadata":{"name":"p","namespace":%q,"uid":"%s-p"},`+
		`"spec":{"secretStoreRefs":[{"name":"home","kind":"ClusterSecretStore"}]}}`, namespace, namespace))
}

func (y *yearOfKubernetes) removeTenant(namespace string) {
	y.cluster.remove(eso.NamespaceStores, namespace+"/vault")
	for i := range 5 {
		y.cluster.remove(eso.ExternalSecrets, fmt.Sprint(namespace, "/s", i))
	}
	y.cluster.remove(eso.PushSecrets, namespace+"/p")
}

// publish has Vault in a phase.
func (y *yearOfKubernetes) publish(p unseal.Phase) {
	s := unseal.Snapshot{Phase: p, Since: time.Now(), Message: p.Info().Message}
	if p == unseal.Active {
		steps := []unseal.Step{{Phase: unseal.Unsealing}}
		s.Last = &unseal.Recovery{Began: time.Now().Add(-time.Minute), Took: time.Minute, Done: true, Steps: steps}
	}
	y.latest.Publish(s)
	y.half.Publish(s)
}

// outage has Vault away for so long.
func (y *yearOfKubernetes) outage(d time.Duration, stuck bool) {
	y.publish(unseal.Unreachable)
	y.cluster.seal()
	time.Sleep(d)
	y.publish(unseal.Unsealing)
	y.cluster.open(stuck)
	y.publish(unseal.Active)
}

// The days of a week, each with what happens in it. Namespaces are new each week.
var kubernetesDays = [daysPerWeek]func(y *yearOfKubernetes, week int){
	func(y *yearOfKubernetes, week int) { y.outage(5*time.Minute, false) },
	func(y *yearOfKubernetes, week int) { y.outage(time.Hour, true) }, // and ESO does not recover until it is evicted
	func(y *yearOfKubernetes, week int) { // the API server restarts, some times within an outage
		for range 5 {
			back := y.cluster.restart(apierrors.NewServiceUnavailable("it starts"))
			time.Sleep(20 * time.Second)
			y.outage(10*time.Second, false)
			back()
			time.Sleep(time.Minute)
		}
	},
	func(y *yearOfKubernetes, week int) { // a namespace comes and goes, with what it has
		y.tenant(fmt.Sprint("app-", week))
		time.Sleep(20 * time.Minute)
		y.outage(time.Minute, false)
		time.Sleep(20 * time.Minute)
		y.removeTenant(fmt.Sprint("app-", week))
	},
	func(y *yearOfKubernetes, week int) { // a right is missing, and is granted
		why := fmt.Errorf(`User "x" cannot list, week %d`, week)
		back := y.cluster.restart(apierrors.NewForbidden(eso.ClusterStores.GroupResource(), "", why))
		time.Sleep(time.Hour)
		back()
	},
	func(y *yearOfKubernetes, week int) { // a seal is held
		y.publish(unseal.Held)
		y.cluster.seal()
		time.Sleep(time.Hour)
		y.cluster.open(false)
		y.publish(unseal.Active)
	},
	func(y *yearOfKubernetes, week int) { // a tenant's store flaps
		for range 20 {
			y.cluster.mu.Lock()
			o := y.cluster.objects[eso.NamespaceStores]["app/vault"]
			y.cluster.setReady(eso.NamespaceStores, o, map[bool]string{true: "InvalidProviderConfig"}[kubeReady(y.latest)])
			y.cluster.mu.Unlock()
			time.Sleep(7 * time.Second)
		}
	},
}

func kubeReady(l *status.Latest) bool { return l.Known().NotReady == 0 }

// requireBusy accepts a year in which all was done that there is to do.
func (y *yearOfKubernetes) requireBusy(weeks int) {
	w := httptest.NewRecorder()
	y.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for name, least := range map[string]int{
		"eso_evictions_total": weeks, `eso_resync_requests_total{kind="ExternalSecret"}`: 20 * weeks,
		`eso_resync_requests_total{kind="PushSecret"}`:         weeks,
		`eso_resync_requests_total{kind="SecretStore"}`:        3 * weeks,
		`kubernetes_errors_total{manifest="stores"}`:           10 * weeks,
		`admission_policy{manifest="stores",state="enforced"}`: 1,
	} {
		_, after, found := strings.Cut(w.Body.String(), "\nvault_unseal_sidecar_"+name+" ")
		require.True(y, found, name)
		var n float64
		_, err := fmt.Sscan(after, &n)
		require.NoError(y, err)
		require.GreaterOrEqual(y, n, float64(least), name)
	}
}

func (y *yearOfKubernetes) run(weeks int, seen growth) {
	for week := range weeks {
		for day, happens := range kubernetesDays {
			until := time.Now().Add(kubernetesDay)
			happens(y, week)
			time.Sleep(time.Until(until))
			e := y.latest.Known().Secrets
			require.Equal(y, kube.True, e.Status, "week %d, day %d: %s: %s", week, day, e.Reason, e.Message)
		}
		synctest.Wait()
		s := sampled()
		s["series of metrics"] = seriesOf(y.metrics)
		seen.note(s, week < firstWeeks)
	}
}

// A year of outages, of API servers that restart, and of namespaces that come and go leaves
// nothing behind.
func TestYear_KubernetesHalfKeepsWithinItsFirstWeeks(t *testing.T) {
	seen := growth{}
	for _, weeks := range []int{firstWeeks, allWeeks} {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			var group sync.WaitGroup
			y := startKubernetes(t, &group, ctx)
			y.publish(unseal.Active)
			y.run(weeks, seen)
			end()
			group.Wait()
			y.requireBusy(weeks)
			*y.cluster = yearCluster{} // what the program keeps is weighed
			parts := weighed(y.half.pod, y.half.controller, y.half.policies, y.latest, y.metrics)
			seen.note(parts, weeks == firstWeeks)
		})
	}
	seen.assertFlat(t, map[string]int{"bytes of string": 64, "objects on the heap": 200}) // as of the core
}
