package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The first install, by hand: the manifests, then the bootstrap. Until the key
// is there Vault runs, and the pod says what it lacks.
func TestHomelab_IsInstalledByHand(t *testing.T) {
	n := theNode(t)
	// All that it starts passes the strictest level.
	n.apply("{apiVersion: v1, kind: Namespace, metadata: {name: security, labels: {pod-security.kubernetes.io/enforce: restricted}}}")
	n.applyHomelab()
	n.awaitGateCondition("False", "NotInitialized")
	n.notReady("vault-0")
	n.awaitEndpoint("vault", "false")
	n.awaitEndpoint("vault-internal", "true") // raft's peers find one another before they are unsealed
	assert.Empty(t, n.field("{.data}", "-n", "security", "secret", "vault-unseal-key"))

	n.runScript("", "bootstrap", "--admin", "maria", "--dry-run")
	assert.Empty(t, n.field("{.data}", "-n", "security", "secret", "vault-unseal-key"), "a dry run writes nothing")
	n.bootstrap()
	assert.Contains(t, n.runScript("", "bootstrap"), "can log in: maria")
	n.put("first")
	n.ready("vault-0")
	n.awaitEndpoint("vault", "true")
	n.appHas("first")
	n.kubectl("-n", "example", "wait", "--for=condition=Available", "deployment/example", "--timeout=60s")
	n.becomes("True", `{.status.conditions[?(@.type=="`+secretsType+`")].status}`, "-n", "security", "pod", "vault-0")
	n.verifyMustPass()

	// kubectl's default container is still Vault.
	assert.Contains(t, n.kubectl("-n", "security", "exec", "vault-0", "--", "vault", "status"), "Sealed")
	// The key is ours alone, and the token too where automounting is off.
	assert.NotContains(t, n.field(`{.spec.containers[?(@.name=="vault")].volumeMounts[*].name}`, "-n", "security", "pod", "vault-0"), "unseal")
	_, err := n.tryKubectl("-n", "security", "exec", "vault-0", "-c", "vault", "--", "ls", "/etc/vault-unseal-sidecar")
	assert.Error(t, err, "Vault's container has no key in it")
	n.leaveHomelab()
}

// A second process of ours has room beside the first.
func TestExec_CommandsRunAtTheMemoryLimit(t *testing.T) {
	n := theHomelab(t)
	for range 20 {
		assert.Contains(t, n.kubectl("-n", "security", "exec", "vault-0", "-c", sidecarContainer, "--", "/vault-unseal-sidecar", "version"), "vault-unseal-sidecar")
		_, err := n.status("vault-0")
		assert.NoError(t, err)
	}
	assert.Equal(t, "0", n.restartCount(sidecarContainer))
	n.leaveHomelab()
}

// The limits of its cost: the size of the program, and its memory
// once the start is over.
func TestSidecar_StaysWithinSizeLimits(t *testing.T) {
	n := theHomelab(t)
	info, err := os.Stat(filepath.Join(machine.root, "bin/vault-unseal-sidecar"))
	require.NoError(t, err)
	assert.LessOrEqual(t, info.Size(), int64(18_000_000), "bytes")
	file := fmt.Sprintf("/proc/%d/status", n.containerPID(sidecarContainer))
	n.await("the sidecar to take 18 MiB at most", func() string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, resident, _ := strings.Cut(string(text), "VmRSS:")
		kib, err := strconv.Atoi(strings.Fields(resident)[0])
		require.NoError(t, err)
		if kib > 18<<10 {
			return fmt.Sprintf("it takes %.1f MiB", float64(kib)/(1<<10))
		}
		return ""
	})
	n.leaveHomelab()
}

// What the project is for: the power fails, Vault's storage comes back late,
// and no operator intervenes.
func TestPowerCut_RecoversUnattended(t *testing.T) {
	n := theHomelab(t)
	uid := n.field("{.metadata.uid}", "-n", "security", "pod", "vault-0")
	cut := time.Now()
	n.cutPower("hang")
	// The kubelet waits for the volume before it starts a container of the pod.
	n.notReady("vault-0")
	n.await("the storage to be waited for", func() string {
		out, err := n.run("", filepath.Join(machine.root, "bin/servers/stallfs"), "status", "--control", filepath.Join(machine.dir, "stallfs.sock"))
		if err != nil || strings.Contains(out, `"waiting":0`) {
			return "it says " + out
		}
		return ""
	})
	n.Logf("the node is back, and its storage hangs still, after %v", time.Since(cut).Round(time.Millisecond))
	n.setStorage("open")
	resumed := time.Now()
	n.ready("vault-0")
	n.Logf("the pod is Ready %v after the storage was back", time.Since(resumed).Round(time.Millisecond))
	assert.Equal(t, uid, n.field("{.metadata.uid}", "-n", "security", "pod", "vault-0"), "it is the same pod")
	n.awaitRecovery(cut)
	n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "clustersecretstore", "k8s-secrets")
	n.Logf("the store is Ready %v after the storage was back, over a Service that leads to a Ready pod alone", time.Since(resumed).Round(time.Millisecond))
	n.becomes("True", `{.status.conditions[?(@.type=="`+secretsType+`")].status}`, "-n", "security", "pod", "vault-0")
	n.put("second")
	n.appHas("second")
	n.leaveHomelab()
}

// cutPower ends the machine and starts it again, with its storage in a mode.
func (n *node) cutPower(mode string) {
	n.Helper()
	require.NoError(n, runNodeScript("down"))
	require.NoError(n, runNodeScript("up", mode))
}

// awaitRebooted waits until the first power cut of these pods shows: what the API
// server reports right after it is from before.
func (n *node) awaitRebooted(pods ...string) {
	n.Helper()
	for _, pod := range pods {
		n.becomes("1", `{.status.containerStatuses[?(@.name=="`+sidecarContainer+`")].restartCount}`, "-n", "security", "pod", pod)
	}
}

func TestContainers_RecoverAfterKills(t *testing.T) {
	n := theHomelab(t)

	n.killVaultAndAwaitRecovery()
	assert.Equal(t, "0", n.restartCount(sidecarContainer), "the sidecar goes on")

	n.killContainer(sidecarContainer)
	n.becomes("1", `{.status.containerStatuses[?(@.name=="`+sidecarContainer+`")].restartCount}`, "-n", "security", "pod", "vault-0")
	n.ready("vault-0")
	assert.Equal(t, "1", n.restartCount("vault"), "Vault goes on")

	n.exhaustMemory()
	n.becomes("OOMKilled", `{.status.containerStatuses[?(@.name=="`+sidecarContainer+`")].lastState.terminated.reason}`, "-n", "security", "pod", "vault-0")
	n.becomes("2", `{.status.containerStatuses[?(@.name=="`+sidecarContainer+`")].restartCount}`, "-n", "security", "pod", "vault-0")
	n.killVaultAndAwaitRecovery()

	n.recreatePod()
	n.ready("vault-0")
	n.leaveHomelab()
}

// recreatePod deletes the pod and waits for the next.
func (n *node) recreatePod() {
	n.Helper()
	uid := n.field("{.metadata.uid}", "-n", "security", "pod", "vault-0")
	n.kubectl("-n", "security", "delete", "pod", "vault-0")
	n.await("a new pod", func() string {
		if got := n.field("{.metadata.uid}", "-n", "security", "pod", "vault-0"); got == "" || got == uid {
			return "it is " + strconv.Quote(got)
		}
		return ""
	})
}

// gateOpenedAt is when the gate was opened the last time.
func (n *node) gateOpenedAt() string {
	return n.field(`{.status.conditions[?(@.type=="`+gateType+`")].lastTransitionTime}`, "-n", "security", "pod", "vault-0")
}

// awaitGateOpenedAfter waits until the gate was opened anew: right after a fault an
// old status says that it is open.
func (n *node) awaitGateOpenedAfter(before string) {
	n.Helper()
	n.await("the gate to close and to open again", func() string {
		if now := n.gateOpenedAt(); now == before {
			return "it is as it was at " + now
		}
		return ""
	})
	n.awaitGateCondition("True", "Unsealed")
	n.ready("vault-0")
}

func (n *node) killVaultAndAwaitRecovery() {
	n.Helper()
	before := n.gateOpenedAt()
	n.killContainer("vault")
	n.awaitGateOpenedAfter(before)
}

// containerPID finds a container's process in the machine's own numbering.
func (n *node) containerPID(container string) int {
	n.Helper()
	id := n.field(`{.status.containerStatuses[?(@.name=="`+container+`")].containerID}`, "-n", "security", "pod", "vault-0")
	_, id, found := strings.Cut(id, "containerd://")
	require.True(n, found, "the container %s runs", container)
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	require.NoError(n, err)
	for _, group := range groups {
		text, _ := os.ReadFile(group) // processes come and go
		if !strings.Contains(string(text), id) {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(filepath.Dir(group), "comm"))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(group)))
		if err == nil && len(comm) > 0 && strings.HasPrefix(container, strings.TrimSpace(string(comm))) {
			return pid
		}
	}
	require.Fail(n, "no process", "of %s, %s", container, id)
	return 0
}

// killContainer kills a container's process as the kernel does.
func (n *node) killContainer(container string) {
	n.Helper()
	p, err := os.FindProcess(n.containerPID(container))
	require.NoError(n, err)
	require.NoError(n, p.Kill())
}

// exhaustMemory fills the sidecar's memory by a process of another's among its
// own, until the kernel kills the sidecar.
func (n *node) exhaustMemory() {
	n.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", n.containerPID(sidecarContainer)))
	require.NoError(n, err)
	procs := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch fields[1] {
		case "memory":
			procs = "/sys/fs/cgroup/memory" + fields[2] + "/cgroup.procs"
		case "":
			if procs == "" {
				procs = "/sys/fs/cgroup" + fields[2] + "/cgroup.procs"
			}
		}
	}
	// The kernel chooses by size and by what the kubelet said of the container:
	// the other process is said to be the better one.
	hog := exec.Command("sh", "-c", `echo $$ >"$0" && exec head -c 100m /dev/zero | tail`, procs)
	out, err := hog.CombinedOutput()
	n.Logf("the memory was filled: %v %s", err, out)
}

// A recovery needs no API server: Vault is unsealed all the same, and what is
// to be reported is reported when it is back.
func TestAPIServer_DowntimeDoesNotDelayRecovery(t *testing.T) {
	n := theHomelab(t)
	vault := n.containerPID("vault")
	n.signalPart("STOP", "kube-apiserver")
	process, err := os.FindProcess(vault)
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	n.await("the sidecar to unseal the new Vault", func() string {
		// Neither kubectl exec nor logs can be had now; the log file can.
		files, _ := filepath.Glob(filepath.Join(machine.dir, "pods/security_vault-0_*", sidecarContainer, "*.log"))
		text := ""
		for _, file := range files {
			b, _ := os.ReadFile(file)
			text += string(b)
		}
		if strings.Count(text, "vault is unsealed, active") < 2 {
			return "its log ends: " + text[max(0, len(text)-300):]
		}
		return ""
	})
	n.signalPart("CONT", "kube-apiserver")
	n.becomes("1", `{.status.containerStatuses[?(@.name=="vault")].restartCount}`, "-n", "security", "pod", "vault-0")
	n.awaitGateCondition("True", "Unsealed")
	n.ready("vault-0")
	n.leaveHomelab()
}

// signalPart sends a signal to a part of the machine.
func (n *node) signalPart(signal, name string) {
	n.Helper()
	init, err := os.ReadFile(filepath.Join(machine.dir, "init.pid"))
	require.NoError(n, err)
	pid, err := os.ReadFile(filepath.Join(machine.dir, "pid", name))
	require.NoError(n, err)
	_, err = n.run("", "nsenter", "-t", strings.TrimSpace(string(init)), "-p", "-m", "kill", "-"+signal, strings.TrimSpace(string(pid)))
	require.NoError(n, err)
}
