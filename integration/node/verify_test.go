package node

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// verifyMustPass runs verify once External Secrets' store has recovered; it must find
// all well.
func (n *node) verifyMustPass(args ...string) string {
	n.Helper()
	n.ready("vault-0")
	n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "clustersecretstore", "k8s-secrets")
	return n.runScript("", "verify", args...)
}

// verify sees what the next reboot would find out.
func TestVerify_PredictsTheNextReboot(t *testing.T) {
	n := theHomelab(t)
	assert.Contains(t, n.verifyMustPass(), "ok    vault-0: proved: vault takes the mounted key")
	assert.NotContains(t, n.verifyMustPass("--dry-run"), "proved")

	// A probe that passes while Vault is sealed is no finding.
	probe := func(path string) {
		n.kubectl("-n", "security", "patch", "statefulset", "vault", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"vault",
			"livenessProbe":{"periodSeconds":60,"failureThreshold":10,"httpGet":{"port":8200,"path":"`+path+`"}}}]}}}}`)
	}
	probe("/v1/sys/health?standbyok=true&sealedcode=204&uninitcode=204")
	n.scriptMustFail("WRONG vault-0 is not of the StatefulSet's newest template", "", "verify")
	n.recreatePod()
	assert.Contains(t, n.verifyMustPass(), "ok    vault-0: no probe kills Vault for being sealed")
	probe("/v1/sys/health")
	n.recreatePod()
	n.ready("vault-0")
	n.scriptMustFail("WRONG vault-0: the livenessProbe of the container vault fails while Vault is sealed", "", "verify")
	n.kubectl("-n", "security", "patch", "statefulset", "vault", "--type=json", "-p", `[{"op":"remove","path":"/spec/template/spec/containers/0/livenessProbe"}]`)
	n.recreatePod()
	n.verifyMustPass()

	// What cannot be proved is no proof against the key.
	var rekey struct{ Nonce string }
	vault := func(args ...string) string {
		return n.kubectl(append([]string{"-n", "security", "exec", "vault-0", "-c", "vault", "--", "vault", "operator", "rekey"}, args...)...)
	}
	require.NoError(t, json.Unmarshal([]byte(vault("-init", "-key-shares=1", "-key-threshold=1", "-format=json")), &rekey))
	assert.Contains(t, n.verifyMustPass(), "?     vault-0: whether vault takes the mounted key could not be proved: a rekey is under way")

	// Another client completes that rekey, and the mounted key is dead.
	_, err := n.run(n.unsealKey(), filepath.Join(machine.bin, "kubectl"), "-n", "security", "exec", "-i", "vault-0", "-c", "vault", "--",
		"vault", "operator", "rekey", "-nonce="+rekey.Nonce, "-")
	require.NoError(t, err)
	n.scriptMustFail("WRONG vault-0: proved: vault would not open with the mounted key", "", "verify")

	// No container answers.
	n.kubectl("-n", "security", "patch", "statefulset", "vault", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"`+sidecarContainer+`","image":"localhost/no-such:v1"}]}}}}`)
	n.recreatePod()
	n.becomes("ImagePullBackOff", `{.status.containerStatuses[?(@.name=="`+sidecarContainer+`")].state.waiting.reason}`, "-n", "security", "pod", "vault-0")
	n.scriptMustFail("WRONG the container vault-unseal-sidecar of vault-0 does not run: ", "", "verify")
	n.scriptMustFail("localhost/no-such:v1", "", "bootstrap")
	n.kubectl("delete", "validatingadmissionpolicybinding", sidecarContainer+"-more.security")
	n.scriptMustFail("WRONG policies do not narrow all", "", "verify")
}

// An edit of settings.yaml applies to the scripts too.
func TestSettings_OtherNamesReachTheScripts(t *testing.T) {
	n := theNode(t)
	n.volumes("my-volume")
	edit := strings.NewReplacer("namespace: security", "namespace: strongroom", "volume: vault-data-lh", "volume: my-volume",
		"serviceAccount: vault", "serviceAccount: my-vault", "role: eso-reader", "role: my-role", "readerAccount: eso-vault-auth", "readerAccount: my-reader")
	dir := n.copyManifests("namespace: security", "namespace: security")
	settings := filepath.Join(dir, "homelab/settings.yaml")
	n.replaceInFile(settings, edit)
	_, err := n.run("", "cp", "-r", filepath.Join(machine.root, "patches"), filepath.Dir(dir))
	require.NoError(t, err)
	n.apply(n.render(filepath.Join(dir, "homelab")))

	n.bootstrap("--settings", settings)
	n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "-n", "strongroom", "pod", "vault-0")
	n.becomes("True", `{.status.conditions[?(@.type=="Ready")].status}`, "clustersecretstore", "k8s-secrets")
	n.scriptMustFail("the namespace security cannot be read", "", "rotate")
	n.runScript("", "rotate", "--settings", settings)
	assert.Contains(t, n.runScript("", "verify", "--settings", settings), "proved")
}
