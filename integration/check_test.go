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

	"github.com/alybadawy/vault-unseal-sidecar/integration/lab"
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
		{what: "the key is malformed", make: mounted(map[string]string{"key": "this is no key"}), mend: mountVaultsShares,
			seen: here, code: 4, level: "failure", about: "key", says: "neither base64 nor hex"},
		{what: "the key begins with a byte order mark", make: mounted(map[string]string{"key": "\xef\xbb\xbf" + w.vault.Keys[0]}), mend: mountVaultsShares,
			seen: here, code: 4, level: "failure", about: "key", says: "byte order mark"},
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
			other, err := w.lab.Vault(lab.VaultConfig{})
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

		{what: "no policy narrows what the gate's rights allow", make: remove(policyBindings, "", "vault-unseal-sidecar-gate"), mend: grant("gate"),
			seen: both, code: 4, level: "failure", about: "rights", says: "nothing narrows what manifests/gate grants"},
		{what: "nor what those for the stores do", make: remove(policyBindings, "", "vault-unseal-sidecar-stores"), mend: grant("stores"),
			seen: both, code: 4, level: "failure", about: "rights", says: "nothing narrows what manifests/stores grants"},

		{what: "the pod has no gate", make: podOf(ungatedSpec), mend: podOf(patchedSpec),
			seen: both, code: 3, level: "warning", about: "pod", says: "does not declare the readiness gate"},
		{what: "the gate is closed", make: all(podOf(patchedSpec), gateSays("False", "HeldByOperator")), mend: podOf(patchedSpec),
			seen: both, code: 3, level: "warning", about: "pod", says: "it is False, HeldByOperator"},
		{what: "the gate is not written", env: []string{"READINESS_GATE=none"}, args: nil,
			seen: []string{inside}, code: 4, level: "failure", about: "pod", says: "never Ready"},
		{what: "vault has a liveness probe", make: podOf(probedSpec), mend: podOf(patchedSpec),
			seen: both, code: 4, level: "failure", about: "pod", says: "sealedcode is 503"},
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
