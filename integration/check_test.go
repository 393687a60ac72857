package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/integration/testenv"
)

// misconfiguration is one fault of an installation, and what check reports of it.
type misconfiguration struct {
	name          string
	apply         func(sc *scenario)
	revert        func(sc *scenario)
	env           []string // in the container
	args          []string
	seenFrom      []string // from where: inContainer, withKubeconfig, withoutRights
	exitCode      int
	level         string
	subject       string
	text          string
	otherFindings int // findings as bad or not so bad that come of it as well
}

const inContainer, withKubeconfig, withoutRights = "inside", "outside", "without rights"

// checkFrom runs check from inside the container or with a kubeconfig.
func (sc *scenario) checkFrom(from string, f misconfiguration) checkResult {
	switch from {
	case inContainer:
		return sc.checkInContainer(f.env, f.args...)
	case withKubeconfig:
		return sc.checkWithKubeconfig(sc.kubeconfigFor("administrator"), f.args...)
	default:
		return sc.checkWithKubeconfig(sc.kubeconfigFor("somebody"), f.args...)
	}
}

// checkFinds waits until check, run from there, finds the fault, and nothing else
// that is above unknown.
func checkFinds(from string, f misconfiguration) condition {
	return condition{fmt.Sprintf("check to find %s %q %s", f.level, f.text, from), func(sc *scenario) string {
		began := time.Now()
		c := sc.checkFrom(from, f)
		if took := time.Since(began); took > 15*time.Second {
			return fmt.Sprintf("it took %v", took)
		}
		found := f.text == "" || c.hasFinding(f.level, f.subject, f.text)
		worse := f.otherFindings
		if f.level == "warning" || f.level == "failure" {
			worse++
		}
		if found && c.code == f.exitCode && len(c.warningsAndFailures()) == worse {
			return ""
		}
		return fmt.Sprintf("exit code %d: %s", c.code, c.output)
	}}
}

var noFinding = misconfiguration{exitCode: 0}

// newCheckScenario starts a cluster without faults and a sidecar, with a key of three
// shares and a threshold of two.
func newCheckScenario(t *testing.T, env ...string) *scenario {
	sc := newScenario(t, setup{cluster: true, shares: 3, threshold: 2, env: env})
	sc.applyHealthyCluster()
	sc.startSidecar()
	await(sc, serving())
	await(sc, gateConditionIs("True", "Unsealed"))
	return sc
}

// runMisconfigurations applies one fault after another to a cluster without faults,
// and reverts it.
func runMisconfigurations(sc *scenario, faults []misconfiguration) {
	for _, f := range faults {
		sc.subtest(f.name, func(*testing.T) {
			await(sc, checkFinds(inContainer, noFinding))
			if f.apply != nil {
				f.apply(sc)
			}
			if f.revert != nil {
				defer f.revert(sc)
			}
			for _, from := range f.seenFrom {
				await(sc, checkFinds(from, f))
			}
		})
	}
}

func TestCheck_ReportsFaultsInThePod(t *testing.T) {
	t.Parallel()
	sc := newCheckScenario(t, "ESO_RECOVERY=off")
	mounted := func(files map[string]string) func(sc *scenario) {
		return func(sc *scenario) { require.NoError(sc, sc.secret.Write(files)) }
	}
	here := []string{inContainer}
	runMisconfigurations(sc, []misconfiguration{
		{name: "the key is missing", apply: mounted(nil), revert: mountVaultShares,
			seenFrom: here, exitCode: 4, level: "failure", subject: "key", text: "no unseal key there"},
		{name: "the key is missing, and a proof is asked for", apply: mounted(nil), revert: mountVaultShares, args: []string{"--prove-key"},
			seenFrom: here, exitCode: 4, level: "unknown", subject: "key", text: "could not be proved: it cannot be used", otherFindings: 1},
		{name: "the key is malformed", apply: mounted(map[string]string{"key": "this-is-no-key"}), revert: mountVaultShares,
			seenFrom: here, exitCode: 4, level: "failure", subject: "key", text: "neither base64 nor hex"},
		{name: "a root token lies beside the key", apply: func(sc *scenario) {
			sc.secrets = append(sc.secrets, sc.vault.Token)
			mounted(map[string]string{"key": strings.Join(sc.vault.Keys, ","), "root-token": sc.vault.Token})(sc)
		}, revert: mountVaultShares,
			seenFrom: here, exitCode: 3, level: "warning", subject: "key", text: "root-token: looks like a token of Vault's -> revoke it"},
		{name: "what is no share lies beside the key", apply: func(sc *scenario) {
			mounted(map[string]string{"key": strings.Join(sc.vault.Keys, ","), "note": "see the wiki!"})(sc)
		}, revert: mountVaultShares,
			seenFrom: here, exitCode: 3, level: "warning", subject: "key", text: "note: line 1: too short for a share: 2 bytes decoded, expected 16 to 33 (and 2 more)"},
		{name: "a share is missing", apply: mountShares(sc.vault.Keys[0]), revert: mountVaultShares,
			seenFrom: here, exitCode: 4, level: "failure", subject: "key", text: "1 of the 2 shares", otherFindings: 1},
		{name: "a share is there twice, with blanks", apply: func(sc *scenario) {
			mounted(map[string]string{"a": " " + strings.Join(sc.vault.Keys, "\n"), "b": shareHex(sc.vault.Keys[0])})(sc)
		}, revert: mountVaultShares,
			seenFrom: here, exitCode: 0, level: "ok", subject: "key", text: "1 share is there again; white space in 1 file is forgiven"},
		{name: "the key can be written by everybody", apply: func(sc *scenario) {
			require.NoError(sc, os.Chmod(filepath.Join(sc.secret.Dir, "share-01"), 0o666))
		}, revert: mountVaultShares,
			seenFrom: here, exitCode: 3, level: "warning", subject: "key", text: "everybody: share-01 -> mount the Secret with defaultMode"},
		{name: "the key is mounted to be written", env: []string{"WRITABLE=yes"},
			seenFrom: here, exitCode: 3, level: "warning", subject: "key", text: "readOnly: true"},

		{name: "the key was changed to one that is as good", apply: func(sc *scenario) { mountShares(sc.vault.Keys[1:]...)(sc) }, revert: mountVaultShares,
			seenFrom: here, exitCode: 3, level: "warning", subject: "recovery", text: "changed since it last opened vault"},
		{name: "and it is proved", apply: func(sc *scenario) { mountShares(sc.vault.Keys[1:]...)(sc) }, revert: mountVaultShares,
			args:     []string{"--prove-key"},
			seenFrom: here, exitCode: 0, level: "ok", subject: "key", text: "proved: vault takes the mounted key"},
		{name: "the key was changed to another's", apply: mountShares(randomShare(33), randomShare(33)), revert: mountVaultShares,
			args:     []string{"--prove-key"},
			seenFrom: here, exitCode: 4, level: "failure", subject: "key", text: "would not open with the mounted key"},
		{name: "what the sidecar wrote down is lost", apply: func(sc *scenario) {
			require.NoError(sc, os.Rename(sc.stateDir, sc.stateDir+".away"))
		}, revert: func(sc *scenario) {
			require.NoError(sc, os.RemoveAll(sc.stateDir))
			require.NoError(sc, os.Rename(sc.stateDir+".away", sc.stateDir))
		},
			seenFrom: here, exitCode: 0, level: "unknown", subject: "recovery", text: "has not opened vault since the pod or its node started"},

		{name: "vault is sealed", apply: sealVault, revert: sequence(unsealByHand, waitUntil(serving())),
			seenFrom: here, exitCode: 3, level: "warning", subject: "vault", text: "sealed now; it takes 2 of 3 shares", otherFindings: 1},
		{name: "vault is sealed and refused the key", apply: sequence(sealVault, waitUntil(phaseIs("held")), mountShares(randomShare(33), randomShare(33)), waitUntil(phaseIs("key-rejected"))),
			revert:   sequence(mountVaultShares, waitUntil(serving())),
			seenFrom: here, exitCode: 4, level: "failure", subject: "recovery", text: "refused the mounted key", otherFindings: 2},
		{name: "vault hangs", apply: pauseVault, revert: sequence(continueVault, waitUntil(serving())),
			seenFrom: here, exitCode: 4, level: "failure", subject: "vault", text: "no answer within 5s", otherFindings: 1},
		{name: "vault is away", apply: killVault, revert: sequence(startVaultAndWait, waitUntil(serving())),
			seenFrom: here, exitCode: 4, level: "failure", subject: "vault", text: "connection refused", otherFindings: 1},
		{name: "vault is a new one", apply: func(sc *scenario) {
			other, err := sc.env.NewVault(testenv.VaultConfig{})
			require.NoError(sc, err)
			require.NoError(sc, other.StartAndWait(sc.ctx))
			sc.vault, other = other, sc.vault
			sc.Cleanup(func() { sc.vault = other })
		}, seenFrom: here, exitCode: 4, level: "failure", subject: "vault", text: "not initialized"},
	})
}

func TestCheck_ReportsFaultsInTheCluster(t *testing.T) {
	t.Parallel()
	sc := newCheckScenario(t)
	sc.applyExternalSecrets()
	both := []string{inContainer, withKubeconfig}
	patchService := func(publish string) func(sc *scenario) {
		return applyManifest(`
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: security}
spec: {publishNotReadyAddresses: ` + publish + `, selector: {app: vault}, ports: [{port: 8200}]}
`)
	}
	runMisconfigurations(sc, []misconfiguration{
		{name: "nothing", seenFrom: both, exitCode: 0, level: "ok", subject: "rights", text: "has none of the"},
		{name: "a person looks who has no rights", seenFrom: []string{withoutRights}, exitCode: 0, level: "unknown", subject: "pod", text: "may not be read"},

		{name: "the rights for the gate are missing", apply: deleteObject(roleBindingsResource, "security", "vault-unseal-sidecar"), revert: applyComponents("gate"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "-> run kubectl apply -k manifests with the component gate"},
		{name: "the rights for the stores are missing", apply: deleteObject(clusterRoleBindingsResource, "", "vault-unseal-sidecar-stores.security"), revert: applyComponents("stores"),
			seenFrom: both, exitCode: 3, level: "warning", subject: "rights", text: "-> run kubectl apply -k manifests with the component stores"},
		{name: "the rights for the eviction are missing", apply: deleteObject(roleBindingsResource, "external-secrets", "vault-unseal-sidecar-eviction.security"), revert: applyComponents("eviction"),
			seenFrom: both, exitCode: 3, level: "warning", subject: "rights", text: "-> run kubectl apply -k manifests with the component eviction"},
		{name: "a namespace above the rights has moved those for the eviction", apply: sequence(deleteObject(roleBindingsResource, "external-secrets", "vault-unseal-sidecar-eviction.security"), applyManifest(movedEviction)),
			revert:   sequence(deleteObject(roleBindingsResource, "security", "vault-unseal-sidecar-eviction.security"), applyComponents("eviction")),
			seenFrom: both, exitCode: 3, level: "warning", subject: "rights", text: "the Role of manifests/eviction lies in security, in the place of external-secrets -> take the namespace out"},
		{name: "no right is granted", apply: sequence(deleteObject(roleBindingsResource, "security", "vault-unseal-sidecar"), deleteObject(clusterRoleBindingsResource, "", "vault-unseal-sidecar-stores.security"),
			deleteObject(clusterRoleBindingsResource, "", "vault-unseal-sidecar-externalsecrets.security"), deleteObject(clusterRoleBindingsResource, "", "vault-unseal-sidecar-more.security"),
			deleteObject(roleBindingsResource, "security", "vault-unseal-sidecar-services"), deleteObject(roleBindingsResource, "external-secrets", "vault-unseal-sidecar-eviction.security")),
			revert:   applyComponents("gate", "stores", "externalsecrets", "more", "eviction"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "-> run kubectl apply -k manifests with the components gate, stores, externalsecrets, more, eviction"},
		{name: "a NetworkPolicy is for other names", apply: applyManifest(otherNames), revert: deleteObject(networkPoliciesResource, "security", "home-vault-unseal-sidecar"),
			seenFrom: []string{withKubeconfig}, exitCode: 3, level: "warning", subject: "network", text: "the NetworkPolicy home-vault-unseal-sidecar does not select the pod"},
		{name: "no Service selects the pod", apply: sequence(deleteObject(servicesResource, "security", "vault"), deleteObject(servicesResource, "security", "vault-internal")), revert: (*scenario).applyHealthyCluster,
			seenFrom: both, exitCode: 3, level: "warning", subject: "services", text: "no Service of security selects the pod"},
		{name: "the pod is an administrator", apply: applyManifest(clusterAdminBinding), revert: deleteObject(clusterRoleBindingsResource, "", "too-much"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "may do everything"},
		{name: "the pod may read Secrets", apply: applyManifest(secretReaderRole), revert: deleteObject(roleBindingsResource, "security", "secrets-too"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "security/vault may get secrets in security: it could read Secrets"},
		excessRule("the pod may read the key's Secret by its name", `{apiGroups: [""], resources: [secrets], resourceNames: [vault-unseal-key], verbs: [get]}`,
			"security/vault may get secrets vault-unseal-key in security: it could read Secrets", 0),
		excessRule("the pod may change it by its name", `{apiGroups: [""], resources: [secrets], resourceNames: [vault-unseal-key], verbs: [update, patch]}`,
			"may update/patch secrets vault-unseal-key in security: it could write Secrets", 0),
		excessRule("the pod may change and delete its StatefulSet by its name", `{apiGroups: [apps], resources: [statefulsets], resourceNames: [vault], verbs: [patch, delete]}`,
			"may patch statefulsets vault in security: it could run anything through a workload", 1),
		excessRule("the pod may run commands in itself by its name", `{apiGroups: [""], resources: [pods/exec], resourceNames: [vault-0], verbs: [create]}`,
			"may create pods/exec vault-0 in security: it could get into pods", 0),
		excessRule("the pod may restart External Secrets by its Deployment's name", `{apiGroups: [apps], resources: [deployments], resourceNames: [external-secrets], verbs: [patch]}`,
			"may patch deployments external-secrets in external-secrets: it could run anything", 0),
		excessRule("the pod may become External Secrets", `{apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [external-secrets], verbs: [create]}`,
			"may create serviceaccounts/token external-secrets in external-secrets: it could become", 0),
		excessRule("the pod may take a policy away by its name", `{apiGroups: [admissionregistration.k8s.io], resources: [validatingadmissionpolicybindings], resourceNames: [vault-unseal-sidecar-gate.security], verbs: [delete]}`,
			"may delete validatingadmissionpolicybindings vault-unseal-sidecar-gate.security everywhere", 0),
		excessRule("the pod may make itself an administrator", `{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [cluster-admin], verbs: [bind]}`,
			"may bind clusterroles cluster-admin everywhere: it could grant itself more", 0),
		{name: "the pod mounts a Secret of another name and may read it", apply: sequence(recreatePod(specWith("", "volumes: [{name: k, secret: {secretName: the-key}}]")), applyManifest(secretByNameRole)),
			revert:   sequence(deleteObject(roleBindingsResource, "security", "secret-by-name"), recreatePod(patchedSpec)),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "may get secrets the-key in security"},

		{name: "no policy narrows what the gate's rights allow", apply: deleteObject(policyBindings, "", "vault-unseal-sidecar-gate.security"), revert: applyComponents("gate"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "no admission policy restricts manifests/gate"},
		{name: "nor what those for the stores do", apply: deleteObject(policyBindings, "", "vault-unseal-sidecar-stores.security"), revert: applyComponents("stores"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "no admission policy restricts manifests/stores"},
		{name: "the right is granted without the verb that its policy asks for", apply: applyModified("stores", "- vault-unseal-sidecar-restricted\n", "- other\n"), revert: applyComponents("stores"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "no admission policy restricts manifests/stores"},
		{name: "another role grants the verb of administrators", apply: applyManifest(fmt.Sprintf(oneRuleManifest, `{apiGroups: [external-secrets.io], resources: [externalsecrets], verbs: ["*"]}`)),
			revert:   deleteObject(clusterRoleBindingsResource, "", "one-rule"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "no admission policy restricts manifests/externalsecrets"},
		{name: "the policies for the gate have other names", revert: sequence(applyComponents("gate"), deleteObject(policyBindings, "", "b-vault-unseal-sidecar-gate.security"), deleteObject(policyBindings, "", "b-vault-unseal-sidecar-events.security")),
			apply: sequence(deleteObject(policyBindings, "", "vault-unseal-sidecar-gate.security"), deleteObject(policyBindings, "", "vault-unseal-sidecar-events.security"),
				applyModified("gate", ": vault-unseal-sidecar-", ": b-vault-unseal-sidecar-")),
			seenFrom: both, exitCode: 0, level: "ok", subject: "rights", text: "admission policies restrict gate, stores"},
		{name: "nor what those for the eviction do", apply: deleteObject(policyBindings, "", "vault-unseal-sidecar-eviction.security"), revert: applyComponents("eviction"),
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "no admission policy restricts manifests/eviction"},
		{name: "nor those for the eviction, which nothing uses", apply: deleteObject(policyBindings, "", "vault-unseal-sidecar-eviction.security"), revert: applyComponents("eviction"),
			args:     []string{"--eso-recovery", "nudge"},
			seenFrom: both, exitCode: 4, level: "failure", subject: "rights", text: "-> delete what manifests/eviction made"},
		{name: "the policy for the eviction is of another name than the controller", apply: sequence(deleteObject(podsResource, "external-secrets", controllerPod), applyManifest(otherController)),
			revert:   sequence(deleteObject(podsResource, "external-secrets", "eso-6d5f7c8b9c-x2x4z"), applyManifest(esoPod)),
			seenFrom: []string{inContainer}, exitCode: 3, level: "warning", subject: "external-secrets", text: "the policy refuses the eviction of eso-6d5f7c8b9c-x2x4z"},

		{name: "rights that nothing uses are missing", apply: removeEvictionRights, revert: restoreEvictionRights, env: []string{"ESO_RECOVERY=nudge"},
			seenFrom: both, exitCode: 0, level: "ok", subject: "rights", text: "has what is needed of gate, stores, externalsecrets, more"},
		{name: "and are not to be granted", apply: removeEvictionRights, revert: restoreEvictionRights, env: []string{"ESO_RECOVERY=nudge"},
			seenFrom: []string{inContainer}, exitCode: 0, level: "unknown", subject: "services", text: "may not be read from here -> run check --kubeconfig"},
		{name: "rights are missing that a flag has a use for", apply: removeEvictionRights, revert: restoreEvictionRights, args: []string{"--eso-recovery", "restart"},
			seenFrom: both, exitCode: 3, level: "warning", subject: "rights", text: "-> run kubectl apply -k manifests with the component eviction"},
		{name: "rights to wake are missing that a restart does not use", apply: deleteObject(clusterRoleBindingsResource, "", "vault-unseal-sidecar-externalsecrets.security"), revert: applyComponents("externalsecrets"),
			args:     []string{"--eso-recovery", "restart"},
			seenFrom: both, exitCode: 0, level: "ok", subject: "rights", text: "has what is needed of gate, stores, eviction"},
		{name: "the pod looks for External Secrets elsewhere", apply: recreatePod(specWith("env: [{name: ESO_NAMESPACE, value: elsewhere}]", "")), revert: recreatePod(patchedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 3, level: "warning", subject: "rights", text: "may not list pods in elsewhere", otherFindings: 1},
		{name: "where it looks is not in the pod", revert: recreatePod(patchedSpec),
			apply:    recreatePod(specWith("env: [{name: ESO_NAMESPACE, valueFrom: {configMapKeyRef: {name: c, key: k}}}]", "")),
			seenFrom: []string{withKubeconfig}, exitCode: 0, level: "unknown", subject: "pod", text: "judged as if it were \"external-secrets\" -> give --eso-namespace"},
		{name: "the pod refuses an option", apply: recreatePod(specWith("env: [{name: ESO_RECOVERY, value: sometimes}]", "")), revert: recreatePod(patchedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 3, level: "warning", subject: "pod", text: "ESO_RECOVERY: \"sometimes\" is not accepted"},
		{name: "the pod writes no gate", apply: recreatePod(specWith("args: [run, --readiness-gate=none]", "")), revert: recreatePod(patchedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 4, level: "failure", subject: "pod", text: "never Ready"},
		{name: "the pod does not speak to Kubernetes", apply: recreatePod(specWith("env: [{name: KUBERNETES, value: \"off\"}]", "")), revert: recreatePod(patchedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 4, level: "failure", subject: "pod", text: "never Ready"},

		{name: "the pod has no gate", apply: recreatePod(ungatedSpec), revert: recreatePod(patchedSpec),
			seenFrom: both, exitCode: 0, level: "ok", subject: "pod", text: "it is no readiness gate, as with Helm alone"},
		{name: "the gate is closed", apply: sequence(recreatePod(patchedSpec), setGateCondition("False", "HeldByOperator")), revert: recreatePod(patchedSpec),
			seenFrom: both, exitCode: 3, level: "warning", subject: "pod", text: "it is False, HeldByOperator"},
		{name: "the gate is not written", env: []string{"READINESS_GATE=none"}, args: nil,
			seenFrom: []string{inContainer}, exitCode: 4, level: "failure", subject: "pod", text: "never Ready"},
		{name: "vault has a liveness probe", apply: recreatePod(probedSpec), revert: recreatePod(patchedSpec),
			seenFrom: both, exitCode: 4, level: "failure", subject: "pod", text: "sealedcode is 503"},
		{name: "the pod shares its node's network", apply: recreatePod(patchedSpec + ", hostNetwork: true"), revert: recreatePod(patchedSpec),
			seenFrom: both, exitCode: 4, level: "failure", subject: "pod", text: "every process of the node can take its port"},
		{name: "and Vault has TLS", apply: recreatePod(specWith("env: [{name: VAULT_ADDR, value: \"https://127.0.0.1:8200\"}]", "hostNetwork: true")), revert: recreatePod(patchedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 0, level: "ok", subject: "pod", text: "the key does not go over plain HTTP"},
		{name: "or a socket", apply: recreatePod(specWith("args: [--vault-addr, \"unix:///run/vault/vault.sock\"]", "hostNetwork: true")), revert: recreatePod(patchedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 0, level: "ok", subject: "pod", text: "the key does not go over plain HTTP"},
		{name: "another container may read plain HTTP", apply: recreatePod(otherContainerSpec), revert: recreatePod(patchedSpec),
			seenFrom: both, exitCode: 3, level: "warning", subject: "pod", text: "which --vault-uid does not prevent: logs (may run as root"},
		{name: "the sidecar comes first", apply: recreatePod(sidecarFirstSpec), revert: recreatePod(patchedSpec),
			seenFrom: both, exitCode: 3, level: "warning", subject: "pod", text: "first container"},
		{name: "the pod has no sidecar", apply: recreatePod(noSidecarSpec), revert: recreatePod(patchedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 4, level: "failure", subject: "pod", text: "no sidecar"},
		{name: "there is no such pod", args: []string{"--pod-name", "vault-7"},
			seenFrom: []string{withKubeconfig}, exitCode: 4, level: "failure", subject: "pod", text: "there is no pod security/vault-7"},
		{name: "a patch waits for the pod's deletion", apply: setRevision("vault-2"), revert: setRevision("vault-1"),
			seenFrom: []string{withKubeconfig}, exitCode: 3, level: "warning", subject: "pod", text: "kubectl -n security delete pod vault-0"},
		{name: "a template waits of which the cluster makes no pod", apply: setTemplate("vault-2", ungatedSpec+`, serviceAccountName: nobody`), revert: setTemplate("vault-1", ungatedSpec+`, serviceAccountName: vault`),
			seenFrom: []string{withKubeconfig}, exitCode: 4, level: "failure", subject: "pod", text: "would not start: pods \"vault-0\" is forbidden: error looking up service account security/nobody"},
		{name: "a template waits that has no sidecar", apply: setTemplate("vault-2", noSidecarSpec), revert: setTemplate("vault-1", ungatedSpec),
			seenFrom: []string{withKubeconfig}, exitCode: 4, level: "failure", subject: "pod", text: "has no sidecar, and the pod still has that of an older template"},
		{name: "and that cannot be seen inside", apply: setRevision("vault-2"), revert: setRevision("vault-1"),
			seenFrom: []string{inContainer}, exitCode: 0, level: "unknown", subject: "pod", text: "the StatefulSet vault may not be read from here"},
		{name: "a Service leads to a sealed vault", apply: patchService("true"), revert: patchService("false"),
			seenFrom: both, exitCode: 3, level: "warning", subject: "services", text: "add the component patches/services to the kustomization that renders the Service vault"},

		{name: "the token is of no use", apply: func(sc *scenario) { require.NoError(sc, os.WriteFile(sc.tokenPath, []byte("nonsense"), 0o600)) },
			revert:   (*scenario).rotateToken,
			seenFrom: []string{inContainer}, exitCode: 3, level: "warning", subject: "kubernetes", text: "Unauthorized"},
		{name: "the API server is away", apply: stopAPIServer, revert: startAPIServer,
			seenFrom: []string{inContainer}, exitCode: 3, level: "warning", subject: "kubernetes", text: "Vault is unsealed regardless"},
	})
	t.Run("from outside the check cannot run without an API server", func(t *testing.T) {
		kubeconfig := sc.kubeconfigFor("administrator")
		stopAPIServer(sc)
		c := sc.checkWithKubeconfig(kubeconfig)
		assert.Equal(t, 1, c.code)
		assert.Contains(t, c.output, "the check could not run")
	})
}

var otherController = strings.Replace(esoPod, controllerPod, "eso-6d5f7c8b9c-x2x4z", 1)

// applyModified applies a component with a replacement in it.
func applyModified(component, old, new string) func(sc *scenario) {
	return func(sc *scenario) {
		text := sc.renderManifests(defaultInstallation, component)
		require.Contains(sc, text, old)
		require.NoError(sc, sc.cluster.Apply(sc.ctx, strings.ReplaceAll(text, old, new)))
	}
}

// excessRule gives the pod one rule, everywhere.
func excessRule(what, rule, says string, more int) misconfiguration {
	return misconfiguration{
		name: what, apply: applyManifest(fmt.Sprintf(oneRuleManifest, rule)), revert: deleteObject(clusterRoleBindingsResource, "", "one-rule"),
		seenFrom: []string{inContainer, withKubeconfig}, exitCode: 4, level: "failure", subject: "rights", text: says, otherFindings: more,
	}
}

// removeEvictionRights takes away what only an eviction needs, in a pod that does not
// evict.
func removeEvictionRights(sc *scenario) {
	recreatePod(specWith("env: [{name: ESO_RECOVERY, value: nudge}]", ""))(sc)
	sc.deleteObject(roleBindingsResource, "external-secrets", "vault-unseal-sidecar-eviction.security")
	sc.deleteObject(roleBindingsResource, "security", "vault-unseal-sidecar-services")
}

func restoreEvictionRights(sc *scenario) {
	applyComponents("eviction")(sc)
	recreatePod(patchedSpec)(sc)
}

const movedEviction = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: vault-unseal-sidecar-eviction.security, namespace: security}
rules: [{apiGroups: [""], resources: [pods/eviction], verbs: [create, vault-unseal-sidecar-restricted]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: vault-unseal-sidecar-eviction.security, namespace: security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: vault-unseal-sidecar-eviction.security}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`

const otherNames = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: home-vault-unseal-sidecar, namespace: security}
spec: {podSelector: {matchExpressions: [{key: statefulset.kubernetes.io/pod-name, operator: In, values: [open-bao-0]}]}}
`

const oneRuleManifest = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: one-rule}
rules: [%s]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: one-rule}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: one-rule}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`

const secretByNameRole = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: secret-by-name, namespace: security}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [the-key], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: secret-by-name, namespace: security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: secret-by-name}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`

const clusterAdminBinding = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: too-much}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`

const secretReaderRole = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: secrets-too, namespace: security}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: secrets-too, namespace: security}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: secrets-too}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`
