package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// checked is what a check came to.
type checked struct {
	code     int
	output   string
	Worst    string
	Findings []struct{ About, Level, Text, Advice string }
}

// has looks for a finding.
func (c checked) has(level, about, text string) bool {
	for _, f := range c.Findings {
		if f.Level == level && f.About == about && strings.Contains(f.Text+" -> "+f.Advice, text) {
			return true
		}
	}
	return false
}

// worse returns what is above unknown.
func (c checked) worse() (out []string) {
	for _, f := range c.Findings {
		if f.Level == "warning" || f.Level == "failure" {
			out = append(out, f.Level+" "+f.About+": "+f.Text)
		}
	}
	return out
}

// insideOf runs a command as in the sidecar's container: with the key mounted
// read-only, and the ServiceAccount's token where Kubernetes puts it.
const insideOf = `set -e
keys=$1 token=$2 ca=$3; shift 3
mount -t tmpfs none /var/run/
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp "$token" /var/run/secrets/kubernetes.io/serviceaccount/token
cp "$ca" /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
mount --bind "$keys" "$keys"
[ -n "$WRITABLE" ] || mount -o remount,bind,ro "$keys"
exec "$@"`

// checkInside runs check in the container of the pod vault-0; the environment
// is added to what the patches set there.
func (w *world) checkInside(env []string, args ...string) checked {
	api, err := url.Parse(w.cluster.URL)
	require.NoError(w, err)
	env = append([]string{
		"KUBERNETES_SERVICE_HOST=" + api.Hostname(), "KUBERNETES_SERVICE_PORT=" + api.Port(),
		"POD_NAME=vault-0", "POD_NAMESPACE=security",
		"VAULT_ADDR=" + w.vault.Addr, "UNSEAL_KEYS_PATH=" + w.secret.Dir, "STATE_DIR=" + w.state,
	}, append(w.home.env, env...)...)
	namespace := "-m"
	if os.Geteuid() != 0 {
		namespace = "-rm"
	}
	return w.checked(env, append([]string{"unshare", namespace, "sh", "-c", insideOf, "sh",
		w.secret.Dir, w.token, w.cluster.CAFile, w.lab.Binary("vault-unseal-sidecar"), "check"}, args...)...)
}

// checkOutside runs check as a person with a kubeconfig.
func (w *world) checkOutside(kubeconfig string, args ...string) checked {
	return w.checked(nil, append([]string{w.lab.Binary("vault-unseal-sidecar"), "check",
		"--kubeconfig", kubeconfig, "--pod-name", "vault-0", "--pod-namespace", "security"}, args...)...)
}

func (w *world) checked(env []string, command ...string) checked {
	p, err := w.lab.Run("check", env, command[0], append(command[1:], "--output", "json")...)
	require.NoError(w, err)
	c := checked{}
	c.code, err = p.ExitCode(patience)
	require.NoError(w, err)
	c.output = p.Output()
	for _, share := range w.secrets {
		for _, trace := range testenv.Traces(share) {
			require.NotContains(w, c.output, trace, "a share was seen")
		}
	}
	if strings.HasPrefix(c.output, "{") {
		require.NoError(w, json.Unmarshal([]byte(c.output), &c), "%s", c.output)
		for _, f := range c.Findings {
			assert.Equal(w, f.Level == "warning" || f.Level == "failure", f.Advice != "" && f.Level != "unknown", "%+v", f)
		}
	}
	return c
}

var (
	statefulSetsResource = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	policyBindings       = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"}
	kindsResource        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	bindingsResource     = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
	wideBindingsResource = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// around is what stands around the pod in a home that is well.
const around = `
apiVersion: v1
kind: Service
metadata: {name: vault-internal, namespace: security}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: vault}, ports: [{port: 8200}]}
---
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: security}
spec: {publishNotReadyAddresses: false, selector: {app: vault}, ports: [{port: 8200}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: vault, namespace: security}
spec:
  serviceName: vault-internal
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app: vault}}
  template:
    metadata: {labels: {app: vault}}
    spec: {serviceAccountName: vault, containers: [{name: vault, image: "vault:1"}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: somebody, namespace: default}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: administrator, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: administrator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: administrator, namespace: default}]
`

const esoPod = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: external-secrets}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-6d5f7c8b9c-x2x4z, namespace: external-secrets, labels: {app.kubernetes.io/name: external-secrets}}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
`

const (
	patchedSpec  = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "s:1"}]`
	ungatedSpec  = `containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "s:1"}]`
	probedSpec   = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault, image: "vault:1", livenessProbe: {httpGet: {path: "/v1/sys/health?standbyok=true", port: 8200}}}, {name: vault-unseal-sidecar, image: "s:1"}]`
	firstSpec    = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault-unseal-sidecar, image: "s:1"}, {name: vault, image: "vault:1"}]`
	rawSpec      = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "s:1"}, {name: logs, image: "l:1"}]`
	unhelpedSpec = `containers: [{name: vault, image: "vault:1"}]`
)

// specWith is patchedSpec with more of the sidecar's container, and of the pod.
func specWith(ofContainer, ofPod string) string {
	return strings.Replace(patchedSpec, `"s:1"`, `"s:1", `+ofContainer, 1) + ", " + ofPod
}

// furnishHome makes a home that is well, other than for External Secrets.
func (w *world) furnishHome() {
	require.NoError(w, w.cluster.Apply(w.ctx, around, esoPod))
	setRevision("vault-1")(w)
	podOf(patchedSpec)(w)
}

// furnishSecrets adds External Secrets' kinds, a store and an ExternalSecret,
// and says of both what its controller would.
func (w *world) furnishSecrets() {
	require.NoError(w, w.cluster.InstallCRDs(w.ctx))
	require.NoError(w, w.cluster.Apply(w.ctx, w.vault.ClusterStore("home"), testenv.ExternalSecret("security", "one", "home", "app", "1h")))
	readyIs(storesResource, "", "home", "True", "Valid", "store validated")(w)
	readyIs(secretsResource, "security", "one", "True", "SecretSynced", "secret synced")(w)
}

// podOf makes Vault's pod anew.
func podOf(spec string) func(w *world) {
	return func(w *world) {
		set, err := w.cluster.Get(w.ctx, "apps/v1", "StatefulSet", "security", "vault")
		require.NoError(w, err)
		w.deletePod()
		require.NoError(w, w.cluster.Apply(w.ctx, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: vault-0
  namespace: security
  labels: {app: vault, app.kubernetes.io/name: vault, controller-revision-hash: vault-1}
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: vault, uid: %s, controller: true}]
spec: {serviceAccountName: vault, %s}
`, set.GetUID(), spec)))
		gateSays("True", "Unsealed")(w)
		w.renewToken()
	}
}

// gateSays says of the pod what its own sidecar would.
func gateSays(status, reason string) func(w *world) {
	return patchPod(fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q,"reason":%q}]}}`, gateType, status, reason))
}

// setRevision says of the StatefulSet what its controller would.
func setRevision(name string) func(w *world) {
	return func(w *world) {
		_, err := w.cluster.Client.Resource(statefulSetsResource).Namespace("security").Patch(w.ctx, "vault", merge,
			[]byte(`{"status":{"replicas":1,"updateRevision":"`+name+`"}}`), metav1.PatchOptions{}, "status")
		require.NoError(w, err)
	}
}

// person writes a kubeconfig for a ServiceAccount of the namespace default.
func (w *world) person(name string) string {
	token, err := w.cluster.Token(w.ctx, "default", name, "")
	require.NoError(w, err)
	path := filepath.Join(w.lab.Dir, name+".kubeconfig")
	require.NoError(w, w.cluster.Kubeconfig(path, token))
	return path
}

func (w *world) remove(r schema.GroupVersionResource, namespace, name string) {
	none := int64(0)
	require.NoError(w, w.cluster.Client.Resource(r).Namespace(namespace).Delete(w.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &none}))
}

func remove(r schema.GroupVersionResource, namespace, name string) func(w *world) {
	return func(w *world) { w.remove(r, namespace, name) }
}

func applied(text string) func(w *world) {
	return func(w *world) { require.NoError(w, w.cluster.Apply(w.ctx, text)) }
}

// readyIs says of an object what External Secrets would.
func readyIs(r schema.GroupVersionResource, namespace, name, status, reason, message string) func(w *world) {
	return func(w *world) {
		body, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
			"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		}}}})
		require.NoError(w, err)
		_, err = w.cluster.Client.Resource(r).Namespace(namespace).Patch(w.ctx, name, merge, body, metav1.PatchOptions{}, "status")
		require.NoError(w, err)
	}
}
