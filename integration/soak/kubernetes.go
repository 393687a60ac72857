package soak

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	gateType    = "vault-unseal-sidecar/unsealed"
	secretsType = "vault-unseal-sidecar/external-secrets"
	store       = "home"
	apps        = 6 // ExternalSecrets that are always there
)

var (
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	pods            = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	events          = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	esoAPI          = schema.GroupVersion{Group: "external-secrets.io", Version: "v1"}
	externalSecrets = esoAPI.WithResource("externalsecrets")
	clusterStores   = esoAPI.WithResource("clustersecretstores")
)

// kubernetes is what a world has of it.
type kubernetes struct {
	cluster   *testenv.Cluster
	proxy     *testenv.APIProxy // between the sidecar and the API server
	eso       *testenv.ESO
	tokenPath string
	rights    string    // manifests/, rendered
	stopped   time.Time // when the API server was the last time
}

// startKubernetes starts one, with a store of the open Vault and what reads from it.
func (w *world) startKubernetes(ctx context.Context) (err error) {
	if err = w.fillVault(ctx); err != nil {
		return err
	}
	k := &kubernetes{tokenPath: filepath.Join(w.env.Dir, "token")}
	w.kube = k
	if k.cluster, err = w.env.StartCluster(ctx); err != nil {
		return err
	}
	if err = k.cluster.ApplyVaultPodAndRBAC(ctx); err != nil {
		return err
	}
	if k.rights, err = w.env.Kustomize(w.env.Source("manifests")); err != nil {
		return err
	}
	if k.proxy, err = w.env.StartAPIProxy(k.cluster); err != nil {
		return err
	}
	kubeconfig := filepath.Join(w.env.Dir, "sidecar.kubeconfig")
	if err = k.proxy.WriteKubeconfigWithTokenFile(kubeconfig, k.tokenPath); err != nil {
		return err
	}
	if err = w.rotateToken(ctx); err != nil {
		return err
	}
	w.args = testenv.SidecarArgs(kubeconfig, "vault-0")
	if k.eso, err = w.env.StartESO(ctx, k.cluster, "--store-requeue-interval=1s"); err != nil {
		return err
	}
	manifests := []string{w.vault.ClusterStore(store)}
	for i := range apps {
		app := testenv.ExternalSecret("security", fmt.Sprint("app-", i), store, "app", "1s")
		manifests = append(manifests, app)
	}
	if err = k.cluster.Apply(ctx, manifests...); err != nil {
		return err
	}
	return w.await(ctx, time.Minute, "the first sync", func() string { return k.unsynced(ctx) })
}

// fillVault opens Vault and writes what is read from it.
func (w *world) fillVault(ctx context.Context) error {
	if err := w.vault.UnsealAll(ctx); err != nil {
		return err
	}
	if err := w.vault.MountKV(ctx); err != nil {
		return err
	}
	return w.vault.WriteSecret(ctx, "app", "one")
}

// rotateToken does what a kubelet does for a pod's mount.
func (w *world) rotateToken(ctx context.Context) error {
	token, err := w.kube.cluster.Token(ctx, "security", "vault", "vault-0")
	if err != nil {
		return err
	}
	w.keepSecret(token)
	return os.WriteFile(w.kube.tokenPath, []byte(token), 0o600)
}

// unsynced returns "" when all ExternalSecrets are Ready.
func (k *kubernetes) unsynced(ctx context.Context) string {
	list, err := k.list(ctx, externalSecrets)
	if err != nil {
		return err.Error()
	}
	var not []string
	for _, o := range list {
		if c := testenv.Condition(&o, "Ready"); c["status"] != "True" {
			not = append(not, fmt.Sprintf("%s is %q: %s", o.GetName(), c["status"], c["message"]))
		}
	}
	if len(list) < apps {
		not = append(not, fmt.Sprintf("only %d there", len(list)))
	}
	return strings.Join(not, "; ")
}

// lacking returns "" when all apps have the value.
func (k *kubernetes) lacking(ctx context.Context, value string) string {
	list, err := k.list(ctx, secrets)
	if err != nil {
		return err.Error()
	}
	want, have := base64.StdEncoding.EncodeToString([]byte(value)), 0
	for _, o := range list {
		if now, _, _ := unstructured.NestedString(o.Object, "data", "value"); now == want {
			have++
		}
	}
	if have < apps {
		return fmt.Sprintf("%d of %d have it", have, apps)
	}
	return ""
}

func (k *kubernetes) list(
	ctx context.Context, r schema.GroupVersionResource,
) ([]unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	list, err := k.cluster.Client.Resource(r).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// condition returns one of Vault's pod.
func (k *kubernetes) condition(ctx context.Context, kind string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pod, err := k.cluster.Get(ctx, "v1", "Pod", "security", "vault-0")
	if err != nil {
		return nil, err
	}
	return testenv.Condition(pod, kind), nil
}

// objects returns all that the sidecar may write to, as JSON.
func (k *kubernetes) objects(ctx context.Context) (string, error) {
	var all strings.Builder
	for _, r := range []schema.GroupVersionResource{pods, events, externalSecrets, clusterStores} {
		list, err := k.list(ctx, r)
		if err != nil {
			return "", err
		}
		if err := json.NewEncoder(&all).Encode(list); err != nil {
			return "", err
		}
	}
	return all.String(), nil
}

// keep adds the logs to the files.
func (k *kubernetes) keep(files map[string]string) {
	if k.proxy != nil {
		files["api-requests.log"] = strings.Join(k.proxy.Requests(), "\n")
	}
	if k.cluster != nil {
		files["kube-apiserver.log"] = k.cluster.APIServer.Log()
		if k.cluster.Etcd != nil {
			files["etcd.log"] = k.cluster.Etcd.Output()
		}
		objects, err := k.objects(context.Background())
		files["objects.json"] = fmt.Sprint(objects, err)
	}
	if k.eso != nil {
		files["external-secrets.log"] = k.eso.Log()
	}
}
