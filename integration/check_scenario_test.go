package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// checkResult is what a check came to.
type checkResult struct {
	code     int
	output   string
	Worst    string
	Findings []struct{ About, Level, Text, Advice string }
}

// hasFinding looks for a finding.
func (c checkResult) hasFinding(level, about, text string) bool {
	for _, f := range c.Findings {
		if f.Level == level && f.About == about && strings.Contains(f.Text+" -> "+f.Advice, text) {
			return true
		}
	}
	return false
}

// warningsAndFailures returns what is above unknown.
func (c checkResult) warningsAndFailures() (out []string) {
	for _, f := range c.Findings {
		if f.Level == "warning" || f.Level == "failure" {
			out = append(out, f.Level+" "+f.About+": "+f.Text)
		}
	}
	return out
}

// containerScript runs a command as in the sidecar's container: with the key mounted
// read-only, and the ServiceAccount's token where Kubernetes puts it.
const containerScript = `set -e
keys=$1 token=$2 ca=$3; shift 3
mount -t tmpfs none /var/run/
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp "$token" /var/run/secrets/kubernetes.io/serviceaccount/token
cp "$ca" /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
mount --bind "$keys" "$keys"
[ -n "$WRITABLE" ] || mount -o remount,bind,ro "$keys"
exec "$@"`

// checkInContainer runs check in the container of the pod vault-0; the environment
// is added to what the patches set there.
func (sc *scenario) checkInContainer(env []string, args ...string) checkResult {
	api, err := url.Parse(sc.cluster.URL)
	require.NoError(sc, err)
	env = append([]string{
		"KUBERNETES_SERVICE_HOST=" + api.Hostname(), "KUBERNETES_SERVICE_PORT=" + api.Port(),
		"POD_NAME=vault-0", "POD_NAMESPACE=security",
		"VAULT_ADDR=" + sc.vault.Addr, "UNSEAL_KEYS_PATH=" + sc.secret.Dir, "STATE_DIR=" + sc.stateDir,
	}, append(sc.setup.env, env...)...)
	namespace := "-m"
	if os.Geteuid() != 0 {
		namespace = "-rm"
	}
	return sc.runCheck(env, append([]string{"unshare", namespace, "sh", "-c", containerScript, "sh",
		sc.secret.Dir, sc.tokenPath, sc.cluster.CAFile, sc.env.Binary("vault-unseal-sidecar"), "check"}, args...)...)
}

// checkWithKubeconfig runs check as a person with a kubeconfig.
func (sc *scenario) checkWithKubeconfig(kubeconfig string, args ...string) checkResult {
	return sc.runCheck(nil, append([]string{sc.env.Binary("vault-unseal-sidecar"), "check",
		"--kubeconfig", kubeconfig, "--pod-name", "vault-0", "--pod-namespace", "security"}, args...)...)
}

func (sc *scenario) runCheck(env []string, command ...string) checkResult {
	p, err := sc.env.StartProgram("check", env, command[0], append(command[1:], "--output", "json")...)
	require.NoError(sc, err)
	c := checkResult{}
	c.code, err = p.ExitCode(waitTimeout)
	require.NoError(sc, err)
	c.output = p.Output()
	for _, share := range sc.secrets {
		for _, trace := range testenv.Encodings(share) {
			require.NotContains(sc, c.output, trace, "a share was seen")
		}
	}
	if strings.HasPrefix(c.output, "{") {
		require.NoError(sc, json.Unmarshal([]byte(c.output), &c), "%s", c.output)
		for _, f := range c.Findings {
			assert.Equal(sc, f.Level == "warning" || f.Level == "failure", f.Advice != "" && f.Level != "unknown", "%+v", f)
		}
	}
	return c
}

var (
	statefulSetsResource        = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	policyBindings              = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"}
	crdsResource                = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	roleBindingsResource        = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
	networkPoliciesResource     = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
	servicesResource            = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	clusterRoleBindingsResource = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// healthyCluster are the objects around the pod in a cluster without faults.
const healthyCluster = `
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
    spec: {serviceAccountName: vault, containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "s:1"}]}
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
	patchedSpec        = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "s:1"}]`
	ungatedSpec        = `containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "s:1"}]`
	probedSpec         = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault, image: "vault:1", livenessProbe: {httpGet: {path: "/v1/sys/health?standbyok=true", port: 8200}}}, {name: vault-unseal-sidecar, image: "s:1"}]`
	sidecarFirstSpec   = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault-unseal-sidecar, image: "s:1"}, {name: vault, image: "vault:1"}]`
	otherContainerSpec = `readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], containers: [{name: vault, image: "vault:1"}, {name: vault-unseal-sidecar, image: "s:1"}, {name: logs, image: "l:1"}]`
	noSidecarSpec      = `containers: [{name: vault, image: "vault:1"}]`
)

// specWith is patchedSpec with more of the sidecar's container, and of the pod.
func specWith(ofContainer, ofPod string) string {
	return strings.Replace(patchedSpec, `"s:1"`, `"s:1", `+ofContainer, 1) + ", " + ofPod
}

// applyHealthyCluster applies a cluster without faults and without External Secrets.
func (sc *scenario) applyHealthyCluster() {
	require.NoError(sc, sc.cluster.Apply(sc.ctx, healthyCluster, esoPod))
	setRevision("vault-1")(sc)
	recreatePod(patchedSpec)(sc)
}

// applyExternalSecrets adds External Secrets' kinds, a store and an ExternalSecret,
// and says of both what its controller would.
func (sc *scenario) applyExternalSecrets() {
	require.NoError(sc, sc.cluster.InstallCRDs(sc.ctx))
	require.NoError(sc, sc.cluster.Apply(sc.ctx, sc.vault.ClusterStore("home"), testenv.ExternalSecret("security", "one", "home", "app", "1h")))
	setReady(clusterStoresResource, "", "home", "True", "Valid", "store validated")(sc)
	setReady(externalSecretsResource, "security", "one", "True", "SecretSynced", "secret synced")(sc)
}

// recreatePod makes Vault's pod anew.
func recreatePod(spec string) func(sc *scenario) {
	return func(sc *scenario) {
		set, err := sc.cluster.Get(sc.ctx, "apps/v1", "StatefulSet", "security", "vault")
		require.NoError(sc, err)
		sc.deletePod()
		require.NoError(sc, sc.cluster.Apply(sc.ctx, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: vault-0
  namespace: security
  labels: {app: vault, app.kubernetes.io/name: vault, controller-revision-hash: vault-1}
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: vault, uid: %s, controller: true}]
spec: {serviceAccountName: vault, %s}
`, set.GetUID(), spec)))
		setGateCondition("True", "Unsealed")(sc)
		sc.rotateToken()
	}
}

// setGateCondition says of the pod what its own sidecar would.
func setGateCondition(status, reason string) func(sc *scenario) {
	return patchPod(fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q,"reason":%q}]}}`, gateType, status, reason))
}

// setRevision says of the StatefulSet what its controller would.
func setRevision(name string) func(sc *scenario) {
	return func(sc *scenario) {
		_, err := sc.cluster.Client.Resource(statefulSetsResource).Namespace("security").Patch(sc.ctx, "vault", merge,
			[]byte(`{"status":{"replicas":1,"updateRevision":"`+name+`"}}`), metav1.PatchOptions{}, "status")
		require.NoError(sc, err)
	}
}

// setTemplate gives the StatefulSet another template, of a newer revision.
func setTemplate(revision, spec string) func(sc *scenario) {
	return func(sc *scenario) {
		body, err := yaml.ToJSON([]byte(`spec: {template: {spec: {` + spec + `}}}`))
		require.NoError(sc, err)
		_, err = sc.cluster.Client.Resource(statefulSetsResource).Namespace("security").Patch(sc.ctx, "vault", merge, body, metav1.PatchOptions{})
		require.NoError(sc, err)
		setRevision(revision)(sc)
	}
}

// kubeconfigFor writes a kubeconfig for a ServiceAccount of the namespace default.
func (sc *scenario) kubeconfigFor(name string) string {
	path, err := sc.cluster.Kubeconfig(sc.ctx, "default", name, "")
	require.NoError(sc, err)
	return path
}

func (sc *scenario) deleteObject(r schema.GroupVersionResource, namespace, name string) {
	none := int64(0)
	require.NoError(sc, sc.cluster.Client.Resource(r).Namespace(namespace).Delete(sc.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &none}))
}

func deleteObject(r schema.GroupVersionResource, namespace, name string) func(sc *scenario) {
	return func(sc *scenario) { sc.deleteObject(r, namespace, name) }
}

func applyManifest(text string) func(sc *scenario) {
	return func(sc *scenario) { require.NoError(sc, sc.cluster.Apply(sc.ctx, text)) }
}

// setReady says of an object what External Secrets would.
func setReady(r schema.GroupVersionResource, namespace, name, status, reason, message string) func(sc *scenario) {
	return func(sc *scenario) {
		body, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
			"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		}}}})
		require.NoError(sc, err)
		_, err = sc.cluster.Client.Resource(r).Namespace(namespace).Patch(sc.ctx, name, merge, body, metav1.PatchOptions{}, "status")
		require.NoError(sc, err)
	}
}
