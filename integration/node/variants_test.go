package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The sidecar as a native one: it is there before Vault, and Vault starts
// although it is sealed. A proxy that its environment names is not for it.
func TestNativeSidecar_StartsBeforeVault(t *testing.T) {
	n := theNode(t)
	n.volumes("vault-data-lh")
	n.apply(n.overlay(`
resources: [manifests/homelab]
components: [patches/native]
patches:
  - target: {kind: StatefulSet, name: vault}
    patch: |-
      - {op: add, path: /spec/template/spec/initContainers/0/env/-, value: {name: HTTPS_PROXY, value: "http://127.0.0.1:1"}}
      - {op: add, path: /spec/template/spec/initContainers/0/env/-, value: {name: ALL_PROXY, value: "http://127.0.0.1:1"}}
`, nil))
	n.awaitGateCondition("False", "NotInitialized")
	assert.Equal(t, "vault", n.field("{.spec.containers[*].name}", "-n", "security", "pod", "vault-0"))
	assert.Equal(t, sidecarContainer, n.field("{.spec.initContainers[*].name}", "-n", "security", "pod", "vault-0"))
	n.bootstrap()
	n.ready("vault-0")
	n.killVaultAndAwaitRecovery()
	n.verifyMustPass()
}

// The level restricted takes the sidecar as it is put in; what the chart's own
// container lacks for it is the chart's.
func TestPodSecurity_RestrictedAdmitsTheSidecar(t *testing.T) {
	n := theNode(t)
	n.apply("{apiVersion: v1, kind: Namespace, metadata: {name: security, labels: {pod-security.kubernetes.io/enforce: restricted}}}",
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: vault, namespace: security}}")
	text, err := os.ReadFile(filepath.Join(machine.root, "integration/testdata/vault-chart.yaml"))
	require.NoError(t, err)
	rendered := n.overlay("resources: [vault.yaml]\ncomponents: [patches]\n", map[string]string{"vault.yaml": string(text)})
	n.apply(rendered)
	n.await("the chart's pod to be refused", func() string {
		events := n.field("{.items[*].message}", "-n", "security", "events")
		if !strings.Contains(events, "violates PodSecurity") {
			return "the events are " + events
		}
		// Only the chart's own container is named, and never the sidecar.
		assert.Contains(t, events, `unrestricted capabilities (container "vault" must set`)
		assert.Contains(t, events, `seccompProfile (pod or container "vault" must set`)
		assert.NotContains(t, events, sidecarContainer)
		return ""
	})
}

// Three replicas on raft: each is unsealed by its own sidecar, and one of them
// resyncs External Secrets.
func TestRaft_ThreeReplicasAreUnsealed(t *testing.T) {
	n := theNode(t)
	n.volumes("data-0", "data-1", "data-2")
	n.apply("{apiVersion: v1, kind: Namespace, metadata: {name: security}}", n.overlay(raftKustomization, nil))
	n.bootstrap("--shares", "3", "--threshold", "2")
	n.ready("vault-0", "vault-1", "vault-2")
	n.put("first")
	n.appHas("first")
	n.verifyMustPass()
	n.runScript("", "rotate")

	n.cutPower("open")
	n.awaitRebooted("vault-0", "vault-1", "vault-2")
	n.ready("vault-0", "vault-1", "vault-2")
	n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "clustersecretstore", "k8s-secrets")
	var standbys []string
	n.await("one of them to be active and two standby", func() string {
		phases := map[string]int{}
		standbys = nil
		for _, pod := range []string{"vault-0", "vault-1", "vault-2"} {
			s, err := n.status(pod)
			if err != nil {
				return err.Error()
			}
			phases[s.Phase]++
			if s.Phase == "standby" {
				standbys = append(standbys, pod)
			}
		}
		if phases["active"] != 1 || phases["standby"] != 2 {
			return fmt.Sprint(phases)
		}
		return ""
	})
	for _, pod := range standbys {
		assert.NotContains(t, n.kubectl("-n", "security", "logs", pod, "-c", sidecarContainer), "waking it", "a standby requests no resync")
	}
}

// raftKustomization is manifests/homelab with three replicas.
const raftKustomization = `
resources: [manifests/homelab]
components: [manifests/replicas]
patches:
  - target: {kind: PersistentVolumeClaim}
    patch: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: any}, $patch: delete}"
  - target: {kind: ConfigMap, name: vault-config}
    patch: |-
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: vault-config}
      data:
        vault.hcl: |
          disable_mlock = true
          listener "tcp" {
            address     = "[::]:8200"
            tls_disable = 1
          }
          storage "raft" {
            path = "/vault/data"
            retry_join { leader_api_addr = "http://vault-0.vault-internal:8200" }
            retry_join { leader_api_addr = "http://vault-1.vault-internal:8200" }
            retry_join { leader_api_addr = "http://vault-2.vault-internal:8200" }
          }
  - target: {kind: StatefulSet}
    patch: |-
      apiVersion: apps/v1
      kind: StatefulSet
      metadata: {name: vault}
      spec:
        replicas: 3
        template:
          spec:
            containers:
              - name: vault
                env:
                  - {name: HOSTNAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
                  - {name: VAULT_RAFT_NODE_ID, value: "$(HOSTNAME)"}
                  - {name: VAULT_CLUSTER_ADDR, value: "https://$(HOSTNAME).vault-internal:8201"}
            volumes: [{name: data, $patch: delete}]
        volumeClaimTemplates:
          - metadata: {name: data}
            spec: {accessModes: [ReadWriteOnce], storageClassName: longhorn, resources: {requests: {storage: 1Gi}}}
`
