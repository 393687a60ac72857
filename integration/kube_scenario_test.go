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
	podsResource            = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	secretsResource         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	externalSecretsResource = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}
	eventsResource          = schema.GroupVersionResource{Version: "v1", Resource: "events"}
)

// startCluster starts a Kubernetes, in which the sidecar has the token and the
// rights that the manifests give it, and a proxy on the way there.
func (sc *scenario) startCluster() {
	var err error
	sc.cluster, err = clusters.Take(sc.ctx, sc.env, sc.setup.crds)
	require.NoError(sc, err)
	if sc.setup.withoutRBAC {
		require.NoError(sc, sc.cluster.ApplyVaultPod(sc.ctx))
	} else {
		require.NoError(sc, sc.cluster.ApplyVaultPodAndRBAC(sc.ctx))
	}
	sc.apiProxy, err = sc.env.StartAPIProxy(sc.cluster)
	require.NoError(sc, err)
	sc.kubeconfig = filepath.Join(sc.env.Dir, "sidecar.kubeconfig")
	sc.tokenPath = sc.writeTokenKubeconfig("")
	sc.rotateToken()
	sc.setup.args = append(sc.setup.args, testenv.SidecarArgs(sc.kubeconfig, "vault-0")...)
}

// installation is where the manifests are installed.
type installation struct{ namespace, serviceAccount, pod, esoNamespace string }

var (
	defaultInstallation = installation{"security", "vault", "vault-0", "external-secrets"}
	allComponents       = []string{"gate", "stores", "externalsecrets", "more", "eviction"}
)

// renderManifests renders some of the manifests' components for other names, as a
// person would.
func (sc *scenario) renderManifests(in installation, components ...string) string {
	dir, err := sc.env.Mkdir("manifests")
	require.NoError(sc, err)
	from, err := filepath.Rel(dir, sc.env.Source("manifests"))
	require.NoError(sc, err)
	settings := fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: vault-unseal-sidecar-settings
  annotations: {config.kubernetes.io/local-config: "true"}
data: {namespace: %s, serviceAccount: %s, statefulSet: %s, esoNamespace: %s, esoDeployment: external-secrets}
`, in.namespace, in.serviceAccount, strings.TrimSuffix(in.pod, "-0"), in.esoNamespace)
	kustomization := "resources: [settings.yaml]\ncomponents:\n"
	for _, c := range components {
		kustomization += "  - " + filepath.Join(from, c) + "\n"
	}
	require.NoError(sc, os.WriteFile(filepath.Join(dir, "settings.yaml"), []byte(settings), 0o600))
	require.NoError(sc, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600))
	rendered, err := sc.env.Kustomize(dir)
	require.NoError(sc, err)
	return rendered
}

// applyComponents applies some of the manifests' components.
func applyComponents(components ...string) func(sc *scenario) {
	return func(sc *scenario) {
		require.NoError(sc, sc.cluster.Apply(sc.ctx, sc.renderManifests(defaultInstallation, components...)))
	}
}

func (sc *scenario) deletePod() {
	none := int64(0)
	require.NoError(sc, sc.cluster.Client.Resource(podsResource).Namespace("security").
		Delete(sc.ctx, "vault-0", metav1.DeleteOptions{GracePeriodSeconds: &none}))
}

// writeTokenKubeconfig makes the kubeconfig take its token from a file, and returns that.
func (sc *scenario) writeTokenKubeconfig(token string) string {
	path := filepath.Join(sc.env.Dir, "token")
	require.NoError(sc, os.WriteFile(path, []byte(token), 0o600))
	require.NoError(sc, sc.apiProxy.WriteKubeconfigWithTokenFile(sc.kubeconfig, path))
	return path
}

// rotateToken does what the kubelet does with a mounted token.
func (sc *scenario) rotateToken() {
	token, err := sc.cluster.Token(sc.ctx, "security", "vault", "vault-0")
	require.NoError(sc, err)
	require.NoError(sc, os.WriteFile(sc.tokenPath, []byte(token), 0o600))
}

func (sc *scenario) getPod() *unstructured.Unstructured {
	o, err := sc.cluster.Client.Resource(podsResource).Namespace("security").Get(sc.ctx, "vault-0", metav1.GetOptions{})
	require.NoError(sc, err)
	return o
}

// podConditionIs waits for a condition of Vault's pod.
func podConditionIs(kind, status, reason string) condition {
	return condition{fmt.Sprintf("%s to be %s, %s", kind, status, reason), func(sc *scenario) string {
		c := testenv.Condition(sc.getPod(), kind)
		if c["status"] == status && c["reason"] == reason && c["message"] != "" {
			return ""
		}
		return fmt.Sprintf("%s, %s: %s", c["status"], c["reason"], c["message"])
	}}
}

func gateConditionIs(status, reason string) condition {
	return podConditionIs(gateType, status, reason)
}

// eventContains waits for an Event on Vault's pod.
func eventContains(reason, text string) condition {
	return condition{fmt.Sprintf("an Event %s with %q", reason, text), func(sc *scenario) string {
		list, err := sc.cluster.Client.Resource(eventsResource).Namespace("security").List(sc.ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		var seen []string
		for _, e := range list.Items {
			found, _, _ := unstructured.NestedString(e.Object, "reason")
			message, _, _ := unstructured.NestedString(e.Object, "message")
			uid, _, _ := unstructured.NestedString(e.Object, "involvedObject", "uid")
			if found == reason && strings.Contains(message, text) && uid == string(sc.getPod().GetUID()) {
				return ""
			}
			seen = append(seen, found+": "+message)
		}
		return strings.Join(seen, "; ")
	}}
}

// patchPod does what anybody else with rights could.
func patchPod(body string) func(sc *scenario) {
	return func(sc *scenario) {
		_, err := sc.cluster.Client.Resource(podsResource).Namespace("security").
			Patch(sc.ctx, "vault-0", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "status")
		require.NoError(sc, err)
	}
}

// podNotWritten waits until the sidecar has looked at Vault three more times,
// and fails for good when the pod was written to meanwhile. It begins when the
// policies have been tried, which takes some seconds from the start.
func podNotWritten() condition {
	version := ""
	alone := sendsNothing()
	return condition{alone.what + ", and the pod not written", func(sc *scenario) string {
		if testenv.Condition(sc.getPod(), restrictedType)["status"] == "" {
			return "the policies are not tried yet"
		}
		now := sc.getPod().GetResourceVersion()
		if version == "" {
			version = now
		}
		require.Equal(sc, version, now, "the pod was written")
		return alone.check(sc)
	}}
}

// finishesWithin checks that something happened within a time. It is generous: the
// measure itself is make bench's.
func finishesWithin(limit time.Duration, do func(sc *scenario), then condition) func(sc *scenario) {
	return func(sc *scenario) {
		do(sc)
		began := time.Now()
		await(sc, then)
		took := time.Since(began)
		sc.Logf("%s took %v", then.what, took.Round(time.Millisecond))
		require.Less(sc, took, limit)
	}
}
