package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// Kubernetes and External Secrets. Those of the sidecar's way to the API server exclude
// one another.
var kubeFaults = []fault{
	{name: "the API server is killed", on: onAPI, needs: []trait{hasKubernetes}, begin: killAPIServer},
	{name: "the API server is slow", on: onAPI, needs: []trait{hasKubernetes}, begin: slowAPIServer},
	{name: "the API server throttles", on: onAPI, needs: []trait{hasKubernetes}, begin: refuse(1, 429)},
	{name: "the API server refuses some calls", on: onAPI, needs: []trait{hasKubernetes}, begin: refuseSome},
	{name: "watches are lost", on: onAPI, needs: []trait{hasKubernetes}, begin: dropWatches},
	{name: "the rights are taken away", on: onRights, needs: []trait{hasKubernetes}, begin: takeRights},
	{name: "external secrets is killed", on: onESO, needs: []trait{hasKubernetes}, begin: killESO},
	{name: "external secrets is stopped", on: onESO, needs: []trait{hasKubernetes}, begin: stopESO},
	{name: "secrets come and go", on: onObjects, needs: []trait{hasKubernetes}, begin: churnObjects},
	{name: "the pod is replaced", on: onSidecar, needs: []trait{hasKubernetes, hasRestarts}, begin: replacePod},
}

func killAPIServer(ctx context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
	w.kube.stopped = time.Now()
	return func() error { return w.kube.cluster.StartAPIServer(ctx) }, w.kube.cluster.StopAPIServer()
}

func slowAPIServer(_ context.Context, w *world, _ *storm, r *rand.Rand) (func() error, error) {
	w.kube.proxy.SetDelay(between(r, 100*time.Millisecond, 6*time.Second))
	return func() error { w.kube.proxy.SetDelay(0); return nil }, nil
}

var refuseSome = refuse(2, 403, 409, 500, testenv.Disconnect)

// refuse refuses one call in so many with one of the codes.
func refuse(oneIn int, codes ...int) begin {
	return func(_ context.Context, w *world, _ *storm, r *rand.Rand) (func() error, error) {
		w.kube.proxy.FailWhile(func(string) int { // the proxy asks for one request at a time
			if r.IntN(oneIn) > 0 {
				return 0
			}
			return codes[r.IntN(len(codes))]
		})
		return func() error { w.kube.proxy.FailWhile(func(string) int { return 0 }); return nil }, nil
	}
}

func dropWatches(ctx context.Context, w *world, _ *storm, r *rand.Rand) (func() error, error) {
	return repeat(ctx, func(context.Context) error { w.kube.proxy.DropWatches(); return nil },
		func() time.Duration { return between(r, 10*time.Millisecond, time.Second) }), nil
}

// takeRights deletes the sidecar's role bindings and makes them again; as the API server may
// be away, both are retried.
func takeRights(ctx context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
	k := w.kube
	try := func(what string, do func() error) error {
		return w.await(ctx, time.Minute, what, func() string {
			if err := do(); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	end := func() error {
		return try("the rights to be given back", func() error { return k.cluster.Apply(ctx, k.rights) })
	}
	return end, try("the rights to be taken away", func() error { return k.deleteBindings(ctx) })
}

// deleteBindings deletes what binds the sidecar's account to its roles.
func (k *kubernetes) deleteBindings(ctx context.Context) error {
	for _, kind := range []string{"rolebindings", "clusterrolebindings"} {
		r := pods.GroupVersion().WithResource(kind)
		r.Group = "rbac.authorization.k8s.io"
		list, err := k.list(ctx, r)
		if err != nil {
			return err
		}
		for _, o := range list {
			if !strings.Contains(o.GetName(), "vault-unseal-sidecar") {
				continue
			}
			bindings := k.cluster.Client.Resource(r).Namespace(o.GetNamespace())
			if err := bindings.Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

func killESO(ctx context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
	return func() error {
		// Without an API server it ends again.
		return w.await(ctx, time.Minute, "external secrets to run", func() string {
			if err := w.kube.eso.Start(ctx); err != nil {
				return err.Error()
			}
			return ""
		})
	}, w.kube.eso.Kill()
}

func stopESO(_ context.Context, w *world, _ *storm, _ *rand.Rand) (func() error, error) {
	w.kube.eso.Signal(syscall.SIGSTOP)
	return func() error { w.kube.eso.Signal(syscall.SIGCONT); return nil }, nil
}

// churnObjects makes and deletes ExternalSecrets and stores, and leaves none.
func churnObjects(ctx context.Context, w *world, _ *storm, r *rand.Rand) (func() error, error) {
	k, last := w.kube, 0
	end := repeat(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		name := fmt.Sprint("passing-", last%4)
		if last++; r.IntN(2) == 0 {
			_ = k.delete(ctx, name) // the API server may be away
			return nil
		}
		another := strings.Replace(w.vault.ClusterStore(name), "---", "---\n", 1)
		_ = k.cluster.Apply(ctx, another, testenv.ExternalSecret("security", name, name, "app", "1s"))
		return nil
	}, func() time.Duration { return between(r, 50*time.Millisecond, 500*time.Millisecond) })
	return func() error {
		return errors.Join(end(), w.await(ctx, time.Minute, "the objects to be deleted", func() string {
			for i := range 4 {
				if err := k.delete(ctx, fmt.Sprint("passing-", i)); err != nil {
					return err.Error()
				}
			}
			return ""
		}))
	}, nil
}

// delete deletes an ExternalSecret and the store of its name.
func (k *kubernetes) delete(ctx context.Context, name string) error {
	now := metav1.DeleteOptions{}
	errs := []error{
		k.cluster.Client.Resource(externalSecrets).Namespace("security").Delete(ctx, name, now),
		k.cluster.Client.Resource(clusterStores).Delete(ctx, name, now),
	}
	for _, err := range errs {
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// replacePod does what a kubelet and a StatefulSet do when Vault's pod is deleted, as far
// as the sidecar's container is concerned: there is a pod of the same name, another
// token, and no state.
func replacePod(ctx context.Context, w *world, s *storm, _ *rand.Rand) (func() error, error) {
	s.record(sidecarEnded)
	s.record(stateLost)
	w.sidecarKeeper.hold()
	w.sidecarKeeper.signal(syscall.SIGKILL)
	return func() error {
		k, none := w.kube, int64(0)
		err := w.await(ctx, time.Minute, "the pod to be replaced", func() string {
			err := k.cluster.Client.Resource(pods).Namespace("security").
				Delete(ctx, "vault-0", metav1.DeleteOptions{GracePeriodSeconds: &none})
			if err != nil && !apierrors.IsNotFound(err) {
				return err.Error()
			}
			if err := errors.Join(k.cluster.ApplyVaultPod(ctx), w.rotateToken(ctx)); err != nil {
				return err.Error()
			}
			return ""
		})
		return errors.Join(err, w.forgetState(), w.sidecarKeeper.release(ctx))
	}, nil
}
