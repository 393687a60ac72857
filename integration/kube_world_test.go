package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	gateType       = "vault-unseal-sidecar/unsealed"
	secretsType    = "vault-unseal-sidecar/external-secrets"
	restrictedType = "vault-unseal-sidecar/restricted"
)

var (
	podsResource    = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	secretsResource = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}
	eventsResource  = schema.GroupVersionResource{Version: "v1", Resource: "events"}
)

// joinCluster gives the world a Kubernetes, in which its sidecar has the token
// and the rights that the manifests give it, and a proxy on the way there.
func (w *world) joinCluster() {
	var err error
	w.cluster, err = w.lab.Cluster(w.ctx)
	require.NoError(w, err)
	if w.home.rightless {
		require.NoError(w, w.cluster.ApplyVaultPod(w.ctx))
	} else {
		require.NoError(w, w.cluster.ApplyHome(w.ctx))
	}
	w.faults, err = w.lab.Faults(w.cluster)
	require.NoError(w, err)
	w.kubeconfig = filepath.Join(w.lab.Dir, "sidecar.kubeconfig")
	w.token = w.tokenFile("")
	w.renewToken()
	w.home.args = append(w.home.args, testenv.SidecarArgs(w.kubeconfig, "vault-0")...)
}

// install is where the manifests are installed.
type install struct{ namespace, account, pod, eso string }

var (
	asShipped     = install{"security", "vault", "vault-0", "external-secrets"}
	allComponents = []string{"gate", "stores", "externalsecrets", "more", "eviction"}
)

// manifests renders some of the manifests' components for other names, as a
// person would.
func (w *world) manifests(in install, components ...string) string {
	dir, err := w.lab.Mkdir("manifests")
	require.NoError(w, err)
	from, err := filepath.Rel(dir, w.lab.Source("manifests"))
	require.NoError(w, err)
	settings := fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: vault-unseal-sidecar-settings
  annotations: {config.kubernetes.io/local-config: "true"}
data: {namespace: %s, serviceAccount: %s, pod: %s, secondPod: vault-1, thirdPod: vault-2, esoNamespace: %s}
`, in.namespace, in.account, in.pod, in.eso)
	kustomization := "resources: [settings.yaml]\ncomponents:\n"
	for _, c := range components {
		kustomization += "  - " + filepath.Join(from, c) + "\n"
	}
	require.NoError(w, os.WriteFile(filepath.Join(dir, "settings.yaml"), []byte(settings), 0o600))
	require.NoError(w, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600))
	rendered, err := w.lab.Kustomize(dir)
	require.NoError(w, err)
	return rendered
}

// grant applies some of the manifests' components.
func grant(components ...string) func(w *world) {
	return func(w *world) { require.NoError(w, w.cluster.Apply(w.ctx, w.manifests(asShipped, components...))) }
}

func (w *world) deletePod() {
	none := int64(0)
	require.NoError(w, w.cluster.Client.Resource(podsResource).Namespace("security").
		Delete(w.ctx, "vault-0", metav1.DeleteOptions{GracePeriodSeconds: &none}))
}

// tokenFile makes the kubeconfig take its token from a file, and returns that.
func (w *world) tokenFile(token string) string {
	path := filepath.Join(w.lab.Dir, "token")
	require.NoError(w, os.WriteFile(path, []byte(token), 0o600))
	require.NoError(w, w.faults.KubeconfigOf(w.kubeconfig, path))
	return path
}

// renewToken does what the kubelet does with a mounted token.
func (w *world) renewToken() {
	token, err := w.cluster.Token(w.ctx, "security", "vault", "vault-0")
	require.NoError(w, err)
	require.NoError(w, os.WriteFile(w.token, []byte(token), 0o600))
}

func (w *world) pod() *unstructured.Unstructured {
	o, err := w.cluster.Client.Resource(podsResource).Namespace("security").Get(w.ctx, "vault-0", metav1.GetOptions{})
	require.NoError(w, err)
	return o
}

// podSays waits for a condition of Vault's pod.
func podSays(kind, status, reason string) expectation {
	return expectation{fmt.Sprintf("%s to be %s, %s", kind, status, reason), func(w *world) string {
		c := testenv.Condition(w.pod(), kind)
		if c["status"] == status && c["reason"] == reason && c["message"] != "" {
			return ""
		}
		return fmt.Sprintf("%s, %s: %s", c["status"], c["reason"], c["message"])
	}}
}

func gateIs(status, reason string) expectation { return podSays(gateType, status, reason) }

// tells waits for an Event on Vault's pod.
func tells(reason, text string) expectation {
	return expectation{fmt.Sprintf("an Event %s with %q", reason, text), func(w *world) string {
		list, err := w.cluster.Client.Resource(eventsResource).Namespace("security").List(w.ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		var seen []string
		for _, e := range list.Items {
			found, _, _ := unstructured.NestedString(e.Object, "reason")
			message, _, _ := unstructured.NestedString(e.Object, "message")
			uid, _, _ := unstructured.NestedString(e.Object, "involvedObject", "uid")
			if found == reason && strings.Contains(message, text) && uid == string(w.pod().GetUID()) {
				return ""
			}
			seen = append(seen, found+": "+message)
		}
		return strings.Join(seen, "; ")
	}}
}

// patchPod does what anybody else with rights could.
func patchPod(body string) func(w *world) {
	return func(w *world) {
		_, err := w.cluster.Client.Resource(podsResource).Namespace("security").
			Patch(w.ctx, "vault-0", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "status")
		require.NoError(w, err)
	}
}

// podIsNotWritten waits until the sidecar has looked at Vault three more times,
// and fails for good when the pod was written to meanwhile. It begins when the
// policies have been tried, which takes some seconds from the start.
func podIsNotWritten() expectation {
	version := ""
	alone := leavesVaultAlone()
	return expectation{alone.what + ", and the pod not written", func(w *world) string {
		if testenv.Condition(w.pod(), restrictedType)["status"] == "" {
			return "the policies are not tried yet"
		}
		now := w.pod().GetResourceVersion()
		if version == "" {
			version = now
		}
		require.Equal(w, version, now, "the pod was written")
		return alone.see(w)
	}}
}

// fast checks that something happened within a time. It is generous: the
// measure itself is make bench's.
func fast(limit time.Duration, do func(w *world), then expectation) func(w *world) {
	return func(w *world) {
		do(w)
		began := time.Now()
		await(w, then)
		took := time.Since(began)
		w.Logf("%s took %v", then.what, took.Round(time.Millisecond))
		require.Less(w, took, limit)
	}
}
