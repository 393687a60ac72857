package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

const (
	gateType         = "vault-unseal-sidecar/unsealed"
	secretsType      = "vault-unseal-sidecar/external-secrets"
	sidecarContainer = "vault-unseal-sidecar"
)

// clusterManifests are External Secrets, and a storage class of the name in
// manifests/homelab, whose volumes lie on stallfs.
const clusterManifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: external-secrets, namespace: external-secrets}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: external-secrets}}
  template:
    metadata: {labels: {app.kubernetes.io/name: external-secrets}}
    spec:
      serviceAccountName: external-secrets
      containers:
        - name: external-secrets
          image: localhost/external-secrets:node
          args: [--concurrent=1]
          resources: {limits: {memory: 512Mi}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: longhorn}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
`

func installComponents() error {
	crds, err := filepath.Glob(filepath.Join(machine.root, "bin/servers/external-secrets-crds/*.yaml"))
	if err != nil {
		return err
	}
	manifests := []string{testenv.ESOIdentity, clusterManifests}
	for _, crd := range crds {
		text, err := os.ReadFile(crd)
		if err != nil {
			return err
		}
		manifests = append(manifests, string(text))
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	return apply(ctx, manifests...)
}

// volumes makes local volumes on stallfs, a directory each.
func (n *node) volumes(names ...string) {
	n.Helper()
	for _, name := range names {
		require.NoError(n, os.MkdirAll(filepath.Join(machine.dir, "disk", name), 0o755))
		n.apply(strings.NewReplacer("NAME", name, "PATH", filepath.Join(machine.dir, "data", name)).Replace(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAME}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: longhorn
  persistentVolumeReclaimPolicy: Retain
  local: {path: PATH}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node]}]}]}}
`))
	}
}

// render renders a kustomization.
func (n *node) render(dir string) string {
	n.Helper()
	return n.kubectl("kustomize", dir)
}

// overlay renders a kustomization whose resources are files of these texts.
func (n *node) overlay(kustomization string, files map[string]string) string {
	n.Helper()
	dir := n.TempDir()
	for name, text := range files {
		require.NoError(n, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	for _, part := range []string{"manifests", "patches"} { // kustomize follows no link out of a directory
		_, err := n.run("", "cp", "-r", filepath.Join(machine.root, part), dir)
		require.NoError(n, err)
	}
	require.NoError(n, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o644))
	return n.render(dir)
}

// applyHomelab applies manifests/homelab as it is, and makes its volume.
func (n *node) applyHomelab() {
	n.Helper()
	n.volumes("vault-data-lh")
	n.apply(n.render("manifests/homelab"))
}

// installHomelab installs manifests/homelab and waits until the app has its secret.
func (n *node) installHomelab() {
	n.Helper()
	n.applyHomelab()
	n.bootstrap()
	n.put("first")
	n.ready("vault-0")
	n.appHas("first")
}

// bootstrap is a first install, with an administrator.
func (n *node) bootstrap(args ...string) string {
	n.Helper()
	machine.password = someKey(n.T)
	return n.runScript(machine.password, "bootstrap", append([]string{"--admin", "maria"}, args...)...)
}

// asMaria runs a shell's commands in Vault's container with a token of the administrator.
func (n *node) asMaria(commands string) string {
	n.Helper()
	out, err := n.run(machine.password, filepath.Join(machine.bin, "kubectl"), "-n", "security", "exec", "-i", "vault-0", "-c", "vault", "--",
		"sh", "-c", `VAULT_TOKEN=$(vault write -field=token auth/userpass/login/maria password=-) && export VAULT_TOKEN && { `+commands+`; }`)
	require.NoError(n, err)
	return out
}

// put writes the app's password into Vault.
func (n *node) put(password string) {
	n.Helper()
	n.asMaria("vault kv put secret/example password=" + password)
	n.kubectl("-n", "example", "annotate", "externalsecret", "example", "force-sync="+password, "--overwrite")
}

// ready waits until pods are Ready, which takes an open gate.
func (n *node) ready(pods ...string) {
	n.Helper()
	for _, pod := range pods {
		n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "-n", "security", "pod", pod)
	}
}

// notReady waits until pods are not Ready.
func (n *node) notReady(pods ...string) {
	n.Helper()
	for _, pod := range pods {
		n.becomes("False", `{.status.conditions[?(@.type=="Ready")].status}`, "-n", "security", "pod", pod)
	}
}

// awaitEndpoint waits until a Service has, or has not, an address that takes traffic.
func (n *node) awaitEndpoint(service, want string) {
	n.Helper()
	n.becomes(want, `{range .items[?(@.metadata.labels.kubernetes\.io/service-name=="`+service+`")]}{.endpoints[*].conditions.ready}{end}`,
		"-n", "security", "endpointslices")
}

// awaitGateCondition waits until the gate's condition has a status and a reason.
func (n *node) awaitGateCondition(status, reason string) {
	n.Helper()
	n.becomes(status+" "+reason, `{range .status.conditions[?(@.type=="`+gateType+`")]}{.status} {.reason}{end}`, "-n", "security", "pod", "vault-0")
}

// appHas waits until the app has this password.
func (n *node) appHas(password string) {
	n.Helper()
	n.await("the app's secret to be "+password, func() string {
		got := n.field("{.data.password}", "-n", "example", "secret", "example")
		if got != base64.StdEncoding.EncodeToString([]byte(password)) {
			return "it is " + strconv.Quote(got)
		}
		return ""
	})
}

// restartCount counts those of a container of vault-0.
func (n *node) restartCount(container string) string {
	return n.field(`{.status.containerStatuses[?(@.name=="`+container+`")].restartCount}{.status.initContainerStatuses[?(@.name=="`+container+`")].restartCount}`,
		"-n", "security", "pod", "vault-0")
}

// status is the JSON of the /status of the sidecar.
type status struct {
	Phase    string `json:"phase"`
	Shares   int    `json:"key_shares"`
	Recovery struct {
		Began   time.Time `json:"began"`
		Seconds float64   `json:"seconds"`
		Done    bool      `json:"done"`
		Steps   []struct {
			Name    string  `json:"name"`
			Seconds float64 `json:"seconds"`
		} `json:"steps"`
	} `json:"recovery"`
}

func (n *node) status(pod string) (s status, err error) {
	out, err := n.tryKubectl("-n", "security", "exec", pod, "-c", sidecarContainer, "--", "/vault-unseal-sidecar", "status", "--output", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// awaitRecovery waits until the sidecar has unsealed Vault after that moment and
// tells how, and keeps what it tells for make e2e to show.
func (n *node) awaitRecovery(after time.Time) {
	n.Helper()
	n.await("a recovery to be over", func() string {
		s, err := n.status("vault-0")
		if err != nil {
			return err.Error()
		}
		var steps []string
		for _, step := range s.Recovery.Steps {
			steps = append(steps, step.Name)
		}
		if s.Phase != "active" || !s.Recovery.Done || s.Recovery.Began.Before(after) || !slices.Contains(steps, "unsealing") {
			return fmt.Sprintf("it is %s, and the newest recovery is %+v", s.Phase, s.Recovery)
		}
		return ""
	})
	told := n.kubectl("-n", "security", "exec", "vault-0", "-c", sidecarContainer, "--", "/vault-unseal-sidecar", "status")
	n.Log(told)
	require.NoError(n, os.WriteFile(filepath.Join(machine.root, "bin/node/timeline"), []byte(told), 0o644))
}

// deleteHomelab removes the homelab with all its objects, and its disk.
func (n *node) deleteHomelab() {
	n.setStorage("open")
	namespaces := []string{"example", "security", "strongroom"}
	remove := append([]string{"delete", "namespace", "--ignore-not-found", "--timeout=120s"}, namespaces...)
	n.kubectl(append(remove, "--wait=false")...)
	// A namespace is emptied after five seconds, and with pods in it looked at again after
	// half the grace that they are allowed, however soon they end.
	for _, namespace := range namespaces {
		n.kubectl("-n", namespace, "delete", "pods", "--all", "--grace-period=1", "--timeout=60s")
	}
	n.kubectl(remove...)
	n.kubectl("delete", "clustersecretstores,persistentvolumes,validatingadmissionpolicies,validatingadmissionpolicybindings", "--all", "--timeout=60s")
	var ours []string
	for _, object := range strings.Fields(n.kubectl("get", "clusterrolebindings,clusterroles", "-o", "name")) {
		if _, name, _ := strings.Cut(object, "/"); strings.HasPrefix(name, "vault") || strings.HasPrefix(name, "eso-recovery") {
			ours = append(ours, object)
		}
	}
	if len(ours) > 0 {
		n.kubectl(append([]string{"delete"}, ours...)...)
	}
	n.kubectl("-n", "external-secrets", "delete", "role,rolebinding", "--all")
	disk := filepath.Join(machine.dir, "disk")
	entries, err := os.ReadDir(disk)
	require.NoError(n, err)
	for _, e := range entries {
		require.NoError(n, os.RemoveAll(filepath.Join(disk, e.Name())))
	}
}
