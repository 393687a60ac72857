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

// fault is one thing that is wrong with a home, and what check says of it.
type fault struct {
	what  string
	make  func(w *world)
	mend  func(w *world)
	env   []string // in the container
	args  []string
	seen  []string // from where: inside, outside, as nobody
	code  int
	level string
	about string
	says  string
	more  int // findings as bad or not so bad that come of it as well
}

const inside, outside, asNobody = "inside", "outside", "as nobody"

// check runs it from there.
func (w *world) check(from string, f fault) checked {
	switch from {
	case inside:
		return w.checkInside(f.env, f.args...)
	case outside:
		return w.checkOutside(w.person("administrator"), f.args...)
	default:
		return w.checkOutside(w.person("somebody"), f.args...)
	}
}

// finds waits until check, run from there, finds the fault, and nothing else
// that is above unknown.
func finds(from string, f fault) expectation {
	return expectation{fmt.Sprintf("check to find %s %q %s", f.level, f.says, from), func(w *world) string {
		began := time.Now()
		c := w.check(from, f)
		if took := time.Since(began); took > 15*time.Second {
			return fmt.Sprintf("it took %v", took)
		}
		found := f.says == "" || c.has(f.level, f.about, f.says)
		worse := f.more
		if f.level == "warning" || f.level == "failure" {
			worse++
		}
		if found && c.code == f.code && len(c.worse()) == worse {
			return ""
		}
		return fmt.Sprintf("exit code %d: %s", c.code, c.output)
	}}
}

var well = fault{code: 0}

// aHome is one with the sidecar at work, and a key of three shares of which two
// are enough.
func aHome(t *testing.T, env ...string) *world {
	w := furnish(t, home{cluster: true, shares: 3, threshold: 2, env: env})
	w.furnishHome()
	w.startSidecar()
	await(w, serving())
	await(w, gateIs("True", "Unsealed"))
	return w
}

// goThrough makes one fault after another in a home that is well, and mends it.
func goThrough(t *testing.T, w *world, faults []fault) {
	for _, f := range faults {
		t.Run(f.what, func(t *testing.T) {
			was := w.T
			w.T = t
			defer func() { w.T = was }()
			await(w, finds(inside, well))
			if f.make != nil {
				f.make(w)
			}
			if f.mend != nil {
				defer f.mend(w)
			}
			for _, from := range f.seen {
				await(w, finds(from, f))
			}
		})
	}
}

func TestCheckOfWhatIsInThePod(t *testing.T) {
	t.Parallel()
	w := aHome(t, "ESO_RECOVERY=off")
	mounted := func(files map[string]string) func(w *world) {
		return func(w *world) { require.NoError(w, w.secret.Write(files)) }
	}
	here := []string{inside}
	goThrough(t, w, []fault{
		{what: "the key is missing", make: mounted(nil), mend: mountVaultsShares,
			seen: here, code: 4, level: "failure", about: "key", says: "no unseal key there"},
		{what: "the key is missing, and a proof is asked for", make: mounted(nil), mend: mountVaultsShares, args: []string{"--prove-key"},
			seen: here, code: 4, level: "unknown", about: "key", says: "could not be proved: it cannot be used", more: 1},
		{what: "the key is malformed", make: mounted(map[string]string{"key": "this-is-no-key"}), mend: mountVaultsShares,
			seen: here, code: 4, level: "failure", about: "key", says: "neither base64 nor hex"},
		{what: "a root token lies beside the key", make: func(w *world) {
			w.secrets = append(w.secrets, w.vault.Token)
			mounted(map[string]string{"key": strings.Join(w.vault.Keys, ","), "root-token": w.vault.Token})(w)
		}, mend: mountVaultsShares,
			seen: here, code: 3, level: "warning", about: "key", says: "root-token: looks like a token of Vault's -> revoke it"},
		{what: "what is no share lies beside the key", make: func(w *world) {
			mounted(map[string]string{"key": strings.Join(w.vault.Keys, ","), "note": "see the wiki!"})(w)
		}, mend: mountVaultsShares,
			seen: here, code: 3, level: "warning", about: "key", says: "note: line 1: too short for a share: 2 bytes decoded, expected 16 to 33 (and 2 more)"},
		{what: "a share is missing", make: mountShares(w.vault.Keys[0]), mend: mountVaultsShares,
			seen: here, code: 4, level: "failure", about: "key", says: "1 of the 2 shares", more: 1},
		{what: "a share is there twice, with blanks", make: func(w *world) {
			mounted(map[string]string{"a": " " + strings.Join(w.vault.Keys, "\n"), "b": hexOf(w.vault.Keys[0])})(w)
		}, mend: mountVaultsShares,
			seen: here, code: 0, level: "ok", about: "key", says: "1 share is there again; white space in 1 file is forgiven"},
		{what: "the key can be written by everybody", make: func(w *world) {
			require.NoError(w, os.Chmod(filepath.Join(w.secret.Dir, "share-01"), 0o666))
		}, mend: mountVaultsShares,
			seen: here, code: 3, level: "warning", about: "key", says: "everybody: share-01 -> mount the Secret with defaultMode"},
		{what: "the key is mounted to be written", env: []string{"WRITABLE=yes"},
			seen: here, code: 3, level: "warning", about: "key", says: "readOnly: true"},

		{what: "the key was changed to one that is as good", make: func(w *world) { mountShares(w.vault.Keys[1:]...)(w) }, mend: mountVaultsShares,
			seen: here, code: 3, level: "warning", about: "recovery", says: "changed since it last opened vault"},
		{what: "and it is proved", make: func(w *world) { mountShares(w.vault.Keys[1:]...)(w) }, mend: mountVaultsShares,
			args: []string{"--prove-key"},
			seen: here, code: 0, level: "ok", about: "key", says: "proved: vault takes the mounted key"},
		{what: "the key was changed to another's", make: mountShares(garbage(33), garbage(33)), mend: mountVaultsShares,
			args: []string{"--prove-key"},
			seen: here, code: 4, level: "failure", about: "key", says: "would not open with the mounted key"},
		{what: "what the sidecar wrote down is lost", make: func(w *world) {
			require.NoError(w, os.Rename(w.state, w.state+".away"))
		}, mend: func(w *world) {
			require.NoError(w, os.RemoveAll(w.state))
			require.NoError(w, os.Rename(w.state+".away", w.state))
		},
			seen: here, code: 0, level: "unknown", about: "recovery", says: "has not opened vault since the pod or its node started"},

		{what: "vault is sealed", make: sealVault, mend: all(unsealByHand, waitFor(serving())),
			seen: here, code: 3, level: "warning", about: "vault", says: "sealed now; it takes 2 of 3 shares", more: 1},
		{what: "vault is sealed and refused the key", make: all(sealVault, waitFor(phaseIs("held")), mountShares(garbage(33), garbage(33)), waitFor(phaseIs("key-rejected"))),
			mend: all(mountVaultsShares, waitFor(serving())),
			seen: here, code: 4, level: "failure", about: "recovery", says: "refused the mounted key", more: 2},
		{what: "vault hangs", make: pauseVault, mend: all(continueVault, waitFor(serving())),
			seen: here, code: 4, level: "failure", about: "vault", says: "no answer within 5s", more: 1},
		{what: "vault is away", make: killVault, mend: all(startVaultAndWait, waitFor(serving())),
			seen: here, code: 4, level: "failure", about: "vault", says: "connection refused", more: 1},
		{what: "vault is a new one", make: func(w *world) {
			other, err := w.lab.Vault(testenv.VaultConfig{})
			require.NoError(w, err)
			require.NoError(w, other.StartAndWait(w.ctx))
			w.vault, other = other, w.vault
			w.Cleanup(func() { w.vault = other })
		}, seen: here, code: 4, level: "failure", about: "vault", says: "not initialized"},
	})
}

func TestCheckOfTheCluster(t *testing.T) {
	t.Parallel()
	w := aHome(t)
	w.furnishSecrets()
	both := []string{inside, outside}
	patchService := func(publish string) func(w *world) {
		return applied(`
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: security}
spec: {publishNotReadyAddresses: ` + publish + `, selector: {app: vault}, ports: [{port: 8200}]}
`)
	}
	goThrough(t, w, []fault{
		{what: "nothing", seen: both, code: 0, level: "ok", about: "rights", says: "has none of the"},
		{what: "a person looks who has no rights", seen: []string{asNobody}, code: 0, level: "unknown", about: "pod", says: "may not be seen"},

		{what: "the rights for the gate are missing", make: remove(bindingsResource, "security", "vault-unseal-sidecar"), mend: grant("gate"),
			seen: both, code: 4, level: "failure", about: "rights", says: "never Ready -> apply manifests/gate", more: 1},
		{what: "the rights for the stores are missing", make: remove(wideBindingsResource, "", "vault-unseal-sidecar-stores"), mend: grant("stores"),
			seen: both, code: 3, level: "warning", about: "rights", says: "apply manifests/stores"},
		{what: "the rights for the eviction are missing", make: remove(bindingsResource, "external-secrets", "vault-unseal-sidecar-eviction"), mend: grant("eviction"),
			seen: both, code: 3, level: "warning", about: "rights", says: "apply manifests/eviction"},
		{what: "the pod is an administrator", make: applied(tooMuch), mend: remove(wideBindingsResource, "", "too-much"),
			seen: both, code: 4, level: "failure", about: "rights", says: "may do everything"},
		{what: "the pod may read Secrets", make: applied(secretsToo), mend: remove(bindingsResource, "security", "secrets-too"),
			seen: both, code: 4, level: "failure", about: "rights", says: "security/vault may get secrets in security: it could read Secrets"},
		tooMuchOf("the pod may read the key's Secret by its name", `{apiGroups: [""], resources: [secrets], resourceNames: [vault-unseal-key], verbs: [get]}`,
			"security/vault may get secrets vault-unseal-key in security: it could read Secrets", 0),
		tooMuchOf("the pod may change it by its name", `{apiGroups: [""], resources: [secrets], resourceNames: [vault-unseal-key], verbs: [update, patch]}`,
			"may update/patch secrets vault-unseal-key in security: it could write Secrets", 0),
		tooMuchOf("the pod may change and delete its StatefulSet by its name", `{apiGroups: [apps], resources: [statefulsets], resourceNames: [vault], verbs: [patch, delete]}`,
			"may patch statefulsets vault in security: it could run anything through a workload", 1),
		tooMuchOf("the pod may run commands in itself by its name", `{apiGroups: [""], resources: [pods/exec], resourceNames: [vault-0], verbs: [create]}`,
			"may create pods/exec vault-0 in security: it could get into pods", 0),
		tooMuchOf("the pod may restart External Secrets by its Deployment's name", `{apiGroups: [apps], resources: [deployments], resourceNames: [external-secrets], verbs: [patch]}`,
			"may patch deployments external-secrets in external-secrets: it could run anything", 0),
		tooMuchOf("the pod may become External Secrets", `{apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [external-secrets], verbs: [create]}`,
			"may create serviceaccounts/token external-secrets in external-secrets: it could become", 0),
		tooMuchOf("the pod may take a policy away by its name", `{apiGroups: [admissionregistration.k8s.io], resources: [validatingadmissionpolicybindings], resourceNames: [vault-unseal-sidecar-gate], verbs: [delete]}`,
			"may delete validatingadmissionpolicybindings vault-unseal-sidecar-gate everywhere", 0),
		tooMuchOf("the pod may make itself an administrator", `{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [cluster-admin], verbs: [bind]}`,
			"may bind clusterroles cluster-admin everywhere: it could grant itself more", 0),
		{what: "the pod mounts a Secret of another name and may read it", make: all(podOf(specWith("", "volumes: [{name: k, secret: {secretName: the-key}}]")), applied(secretByName)),
			mend: all(remove(bindingsResource, "security", "secret-by-name"), podOf(patchedSpec)),
			seen: both, code: 4, level: "failure", about: "rights", says: "may get secrets the-key in security"},

		{what: "no policy narrows what the gate's rights allow", make: remove(policyBindings, "", "vault-unseal-sidecar-gate"), mend: grant("gate"),
			seen: both, code: 4, level: "failure", about: "rights", says: "nothing narrows what manifests/gate grants"},
		{what: "nor what those for the stores do", make: remove(policyBindings, "", "vault-unseal-sidecar-stores"), mend: grant("stores"),
			seen: both, code: 4, level: "failure", about: "rights", says: "nothing narrows what manifests/stores grants"},
		{what: "the right is granted without the verb that its policy asks for", make: rewritten("stores", "- vault-unseal-sidecar-restricted\n", "- other\n"), mend: grant("stores"),
			seen: both, code: 4, level: "failure", about: "rights", says: "nothing narrows what manifests/stores grants"},
		{what: "another role grants the verb of administrators", make: applied(fmt.Sprintf(oneRule, `{apiGroups: [external-secrets.io], resources: [externalsecrets], verbs: ["*"]}`)),
			mend: remove(wideBindingsResource, "", "one-rule"),
			seen: both, code: 4, level: "failure", about: "rights", says: "nothing narrows what manifests/externalsecrets grants"},
		{what: "the policies for the gate have other names", mend: all(grant("gate"), remove(policyBindings, "", "b-vault-unseal-sidecar-gate"), remove(policyBindings, "", "b-vault-unseal-sidecar-events")),
			make: all(remove(policyBindings, "", "vault-unseal-sidecar-gate"), remove(policyBindings, "", "vault-unseal-sidecar-events"),
				rewritten("gate", ": vault-unseal-sidecar-", ": b-vault-unseal-sidecar-")),
			seen: both, code: 0, level: "ok", about: "rights", says: "policies narrow what is granted by gate, stores"},
		{what: "nor what those for the eviction do", make: remove(policyBindings, "", "vault-unseal-sidecar-eviction"), mend: grant("eviction"),
			seen: both, code: 4, level: "failure", about: "rights", says: "nothing narrows what manifests/eviction grants"},
		{what: "nor those for the eviction, which nothing uses", make: remove(policyBindings, "", "vault-unseal-sidecar-eviction"), mend: grant("eviction"),
			args: []string{"--eso-recovery", "nudge"},
			seen: both, code: 4, level: "failure", about: "rights", says: "-> delete what manifests/eviction made"},
		{what: "the policy for the eviction is of another name than the controller", make: all(remove(podsResource, "external-secrets", controllerPod), applied(otherController)),
			mend: all(remove(podsResource, "external-secrets", "eso-6d5f7c8b9c-x2x4z"), applied(esoPod)),
			seen: []string{inside}, code: 3, level: "warning", about: "external-secrets", says: "the policy refuses the eviction of eso-6d5f7c8b9c-x2x4z"},

		{what: "rights that nothing uses are missing", make: unevicting, mend: evicting, env: []string{"ESO_RECOVERY=nudge"},
			seen: both, code: 0, level: "ok", about: "rights", says: "has what is needed of gate, stores, externalsecrets, more"},
		{what: "and are not to be granted", make: unevicting, mend: evicting, env: []string{"ESO_RECOVERY=nudge"},
			seen: []string{inside}, code: 0, level: "unknown", about: "services", says: "may not be seen from here -> run check --kubeconfig"},
		{what: "rights are missing that a flag has a use for", make: unevicting, mend: evicting, args: []string{"--eso-recovery", "restart"},
			seen: both, code: 3, level: "warning", about: "rights", says: "apply manifests/eviction"},
		{what: "rights to wake are missing that a restart does not use", make: remove(wideBindingsResource, "", "vault-unseal-sidecar-externalsecrets"), mend: grant("externalsecrets"),
			args: []string{"--eso-recovery", "restart"},
			seen: both, code: 0, level: "ok", about: "rights", says: "has what is needed of gate, stores, eviction"},
		{what: "the pod looks for External Secrets elsewhere", make: podOf(specWith("env: [{name: ESO_NAMESPACE, value: elsewhere}]", "")), mend: podOf(patchedSpec),
			seen: []string{outside}, code: 3, level: "warning", about: "rights", says: "may not list pods in elsewhere", more: 1},
		{what: "where it looks is not in the pod", mend: podOf(patchedSpec),
			make: podOf(specWith("env: [{name: ESO_NAMESPACE, valueFrom: {configMapKeyRef: {name: c, key: k}}}]", "")),
			seen: []string{outside}, code: 0, level: "unknown", about: "pod", says: "judged as if it were \"external-secrets\" -> give --eso-namespace"},
		{what: "the pod refuses an option", make: podOf(specWith("env: [{name: ESO_RECOVERY, value: sometimes}]", "")), mend: podOf(patchedSpec),
			seen: []string{outside}, code: 3, level: "warning", about: "pod", says: "ESO_RECOVERY: \"sometimes\" is not accepted"},
		{what: "the pod writes no gate", make: podOf(specWith("args: [run, --readiness-gate=none]", "")), mend: podOf(patchedSpec),
			seen: []string{outside}, code: 4, level: "failure", about: "pod", says: "never Ready"},
		{what: "the pod does not speak to Kubernetes", make: podOf(specWith("env: [{name: KUBERNETES, value: \"off\"}]", "")), mend: podOf(patchedSpec),
			seen: []string{outside}, code: 4, level: "failure", about: "pod", says: "never Ready"},

		{what: "the pod has no gate", make: podOf(ungatedSpec), mend: podOf(patchedSpec),
			seen: both, code: 3, level: "warning", about: "pod", says: "does not declare the readiness gate"},
		{what: "the gate is closed", make: all(podOf(patchedSpec), gateSays("False", "HeldByOperator")), mend: podOf(patchedSpec),
			seen: both, code: 3, level: "warning", about: "pod", says: "it is False, HeldByOperator"},
		{what: "the gate is not written", env: []string{"READINESS_GATE=none"}, args: nil,
			seen: []string{inside}, code: 4, level: "failure", about: "pod", says: "never Ready"},
		{what: "vault has a liveness probe", make: podOf(probedSpec), mend: podOf(patchedSpec),
			seen: both, code: 4, level: "failure", about: "pod", says: "sealedcode is 503"},
		{what: "the pod shares its node's network", make: podOf(patchedSpec + ", hostNetwork: true"), mend: podOf(patchedSpec),
			seen: both, code: 4, level: "failure", about: "pod", says: "every process of the node can take its port"},
		{what: "and Vault has TLS", make: podOf(specWith("env: [{name: VAULT_ADDR, value: \"https://127.0.0.1:8200\"}]", "hostNetwork: true")), mend: podOf(patchedSpec),
			seen: []string{outside}, code: 0, level: "ok", about: "pod", says: "the key does not go over plain HTTP"},
		{what: "or a socket", make: podOf(specWith("args: [--vault-addr, \"unix:///run/vault/vault.sock\"]", "hostNetwork: true")), mend: podOf(patchedSpec),
			seen: []string{outside}, code: 0, level: "ok", about: "pod", says: "the key does not go over plain HTTP"},
		{what: "another container may read plain HTTP", make: podOf(rawSpec), mend: podOf(patchedSpec),
			seen: both, code: 3, level: "warning", about: "pod", says: "which --vault-uid does not prevent: logs (may run as root"},
		{what: "the sidecar comes first", make: podOf(firstSpec), mend: podOf(patchedSpec),
			seen: both, code: 3, level: "warning", about: "pod", says: "first container"},
		{what: "the pod has no sidecar", make: podOf(unhelpedSpec), mend: podOf(patchedSpec),
			seen: []string{outside}, code: 4, level: "failure", about: "pod", says: "no sidecar", more: 1},
		{what: "there is no such pod", args: []string{"--pod-name", "vault-7"},
			seen: []string{outside}, code: 4, level: "failure", about: "pod", says: "there is no pod security/vault-7"},
		{what: "a patch waits for the pod's deletion", make: setRevision("vault-2"), mend: setRevision("vault-1"),
			seen: []string{outside}, code: 3, level: "warning", about: "pod", says: "kubectl -n security delete pod vault-0"},
		{what: "and that cannot be seen inside", make: setRevision("vault-2"), mend: setRevision("vault-1"),
			seen: []string{inside}, code: 0, level: "unknown", about: "pod", says: "the StatefulSet vault may not be seen from here"},
		{what: "a Service leads to a sealed vault", make: patchService("true"), mend: patchService("false"),
			seen: both, code: 3, level: "warning", about: "services", says: "apply patches/services"},

		{what: "the token is of no use", make: func(w *world) { require.NoError(w, os.WriteFile(w.token, []byte("nonsense"), 0o600)) },
			mend: (*world).renewToken,
			seen: []string{inside}, code: 3, level: "warning", about: "kubernetes", says: "Unauthorized"},
		{what: "the API server is away", make: stopAPIServer, mend: startAPIServer,
			seen: []string{inside}, code: 3, level: "warning", about: "kubernetes", says: "Vault is unsealed all the same"},
	})
	t.Run("from outside there is nothing to tell without an API server", func(t *testing.T) {
		kubeconfig := w.person("administrator")
		stopAPIServer(w)
		c := w.checkOutside(kubeconfig)
		assert.Equal(t, 1, c.code)
		assert.Contains(t, c.output, "the check could not run")
	})
}

var otherController = strings.Replace(esoPod, controllerPod, "eso-6d5f7c8b9c-x2x4z", 1)

// rewritten applies a component as somebody has changed it.
func rewritten(component, old, new string) func(w *world) {
	return func(w *world) {
		text := w.manifests(asShipped, component)
		require.Contains(w, text, old)
		require.NoError(w, w.cluster.Apply(w.ctx, strings.ReplaceAll(text, old, new)))
	}
}

// tooMuchOf gives the pod one rule, everywhere.
func tooMuchOf(what, rule, says string, more int) fault {
	return fault{
		what: what, make: applied(fmt.Sprintf(oneRule, rule)), mend: remove(wideBindingsResource, "", "one-rule"),
		seen: []string{inside, outside}, code: 4, level: "failure", about: "rights", says: says, more: more,
	}
}

// unevicting takes away what only an eviction needs, in a pod that does not
// evict.
func unevicting(w *world) {
	podOf(specWith("env: [{name: ESO_RECOVERY, value: nudge}]", ""))(w)
	w.remove(bindingsResource, "external-secrets", "vault-unseal-sidecar-eviction")
	w.remove(bindingsResource, "security", "vault-unseal-sidecar-services")
}

func evicting(w *world) {
	grant("eviction")(w)
	podOf(patchedSpec)(w)
}

const oneRule = `
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

const secretByName = `
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

const tooMuch = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: too-much}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`

const secretsToo = `
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
