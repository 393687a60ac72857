package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The ServiceAccount is Vault's too, so what the sidecar may do Vault may do:
// everything else is tried here, with its token, and refused.
func TestTheRightsAreNoMoreThanIsNeeded(t *testing.T) {
	t.Parallel()
	for _, install := range []struct{ name, namespace, account, pod, eso string }{
		{"as the manifests are", "security", "vault", "vault-0", "external-secrets"},
		{"relocated, with external-secrets beside vault", "secrets", "keeper", "keeper-0", "secrets"},
	} {
		t.Run(install.name, func(t *testing.T) {
			w := furnish(t, home{cluster: true, virgin: true})
			require.NoError(t, w.cluster.InstallCRDs(w.ctx))
			relocate := strings.NewReplacer("security", install.namespace, "name: vault-0", "name: "+install.pod,
				"serviceAccountName: vault", "serviceAccountName: "+install.account,
				"{name: vault, namespace", "{name: "+install.account+", namespace", "name: external-secrets}", "name: "+install.eso+"}")
			require.NoError(t, w.cluster.Apply(w.ctx, relocate.Replace(pod), w.relocated(install.namespace, install.account, install.pod, install.eso)))
			require.NoError(t, w.cluster.Apply(w.ctx, fmt.Sprintf(rightsObjects, install.eso, install.namespace)))
			token, err := w.cluster.Token(w.ctx, install.namespace, install.account, install.pod)
			require.NoError(t, err)
			kubeconfig := filepath.Join(w.lab.Dir, "tried.kubeconfig")
			require.NoError(t, w.cluster.Kubeconfig(kubeconfig, token))
			try := func(allowed bool, args string, more ...string) {
				args = strings.NewReplacer("NS", install.namespace, "POD", install.pod, "ESO", install.eso).Replace(args)
				p, err := w.lab.Run("kubectl", []string{"KUBECONFIG=" + kubeconfig}, w.lab.Binary("servers/kubernetes"),
					append(append([]string{"kubectl"}, strings.Fields(args)...), more...)...)
				require.NoError(t, err)
				code, err := p.ExitCode(patience)
				require.NoError(t, err)
				assert.Equal(t, allowed, code == 0, "%s %s: %s", args, more, p.Output())
				if !allowed {
					assert.Regexp(t, "forbidden|denied|not allowed", p.Output(), "%s %s", args, more)
				}
			}
			status := func(body string) []string {
				return []string{"--type=strategic", "-p", `{"status":` + body + `}`}
			}
			// Policies are in force a moment after they are made.
			awaitPolicies(w, kubeconfig, install.namespace, install.pod)

			const patchStatus = "-n NS patch pod POD --subresource=status"
			try(true, "-n NS get pod POD")
			try(true, patchStatus, status(`{"conditions":[{"type":"vault-unseal-sidecar/unsealed","status":"True"}]}`)...)
			try(true, patchStatus, status(`{"conditions":[{"type":"vault-unseal-sidecar/external-secrets","status":"True"}]}`)...)
			try(false, patchStatus, status(`{"conditions":[{"type":"Ready","status":"True"}]}`)...)
			try(false, patchStatus, status(`{"phase":"Succeeded"}`)...)
			try(false, patchStatus, status(`{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}`)...)
			try(false, patchStatus, status(`{"message":"x"}`)...)
			try(false, patchStatus, "--type=merge", "-p", `{"metadata":{"labels":{"app":"other"}},"status":{"conditions":[]}}`)
			try(false, "-n NS patch pod POD --type=merge", "-p", `{"metadata":{"labels":{"app":"other"}}}`)
			try(false, "-n NS get pod other-0")
			try(false, "-n NS patch pod other-0 --subresource=status", status(`{"conditions":[{"type":"vault-unseal-sidecar/unsealed","status":"True"}]}`)...)
			try(false, "-n NS delete pod POD")
			try(false, "-n NS get secrets")
			try(false, "get secrets -A")
			try(false, "-n NS create token default")
			try(false, "-n NS exec POD -- true")
			try(false, "-n ESO patch deployment external-secrets --type=merge", "-p", `{}`)

			for object, annotation := range map[string]string{
				"clustersecretstore home":          "force-sync",
				"-n app secretstore own":           "force-sync",
				"-n app externalsecret one":        "force-sync",
				"clusterexternalsecret everywhere": "external-secrets.io/force-sync",
				"-n app pushsecret one":            "force-sync",
			} {
				patch := "patch " + object + " --type=merge"
				try(true, patch, "-p", `{"metadata":{"annotations":{"`+annotation+`":"1"}}}`)
				try(true, patch, "-p", `{"metadata":{"annotations":{"`+annotation+`":"2"}}}`)
				try(false, patch, "-p", `{"metadata":{"annotations":{"other":"1"}}}`)
				try(false, patch, "-p", `{"metadata":{"annotations":{"theirs":null}}}`)
				try(false, patch, "-p", `{"metadata":{"annotations":{"theirs":"2"}}}`)
				try(false, patch, "-p", `{"metadata":{"labels":{"app":"other"}}}`)
				try(false, patch, "-p", `{"metadata":{"finalizers":["example.com/x"]}}`)
				try(false, patch, "-p", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Secret","name":"x","uid":"y"}]}}`)
				try(false, patch, "-p", `{"spec":{"refreshInterval":77,"refreshTime":"77h"}}`)
				try(false, "delete "+object)
			}
			try(false, "-n app patch externalsecret one --type=merge", "-p", `{"spec":{"target":{"name":"stolen"}}}`)
			try(false, "patch clustersecretstore home --type=merge", "-p", `{"spec":{"provider":{"vault":{"server":"http://thief"}}}}`)

			try(true, "-n ESO get pods")
			for _, name := range []string{"external-secrets-webhook-6d5f7c8b9c-x2x4z", "external-secrets-cert-controller-6d5f7c8b9c-x2x4z", install.pod} {
				try(false, "create --raw /api/v1/namespaces/ESO/pods/"+name+"/eviction -f "+eviction(w, install.eso, name))
			}
			name := "external-secrets-6d5f7c8b9c-x2x4z"
			try(true, "create --raw /api/v1/namespaces/ESO/pods/"+name+"/eviction -f "+eviction(w, install.eso, name))
		})
	}
}

func eviction(w *world, namespace, name string) string {
	path := filepath.Join(w.lab.Dir, name+".json")
	require.NoError(w, os.WriteFile(path, fmt.Appendf(nil,
		`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":%q}}`, name, namespace), 0o600))
	return path
}

// relocated renders the manifests for other names, as a person would.
func (w *world) relocated(namespace, account, pod, eso string) string {
	dir, err := w.lab.Mkdir("relocated")
	require.NoError(w, err)
	manifests, err := filepath.Rel(dir, w.lab.Source("manifests"))
	require.NoError(w, err)
	settings := fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: vault-unseal-sidecar-settings
  annotations: {config.kubernetes.io/local-config: "true"}
data: {namespace: %s, serviceAccount: %s, pod: %s, esoNamespace: %s}
`, namespace, account, pod, eso)
	kustomization := "resources: [settings.yaml]\ncomponents:\n"
	for _, c := range []string{"gate", "stores", "externalsecrets", "more", "eviction"} {
		kustomization += "  - " + filepath.Join(manifests, c) + "\n"
	}
	require.NoError(w, os.WriteFile(filepath.Join(dir, "settings.yaml"), []byte(settings), 0o600))
	require.NoError(w, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600))
	return w.kustomizeAt(dir)
}

// awaitPolicies waits until the policies refuse something that the roles allow.
func awaitPolicies(w *world, kubeconfig, namespace, pod string) {
	await(w, expectation{"the policies to be in force", func(w *world) string {
		for _, args := range [][]string{
			{"-n", namespace, "patch", "pod", pod, "--subresource=status", "--type=strategic", "-p", `{"status":{"message":"x"}}`},
			{"patch", "clustersecretstore", "home", "--type=merge", "-p", `{"metadata":{"labels":{"x":"y"}}}`},
			{"-n", "app", "patch", "externalsecret", "one", "--type=merge", "-p", `{"metadata":{"labels":{"x":"y"}}}`},
			{"-n", "app", "patch", "pushsecret", "one", "--type=merge", "-p", `{"metadata":{"labels":{"x":"y"}}}`},
		} {
			p, err := w.lab.Run("kubectl", []string{"KUBECONFIG=" + kubeconfig}, w.lab.Binary("servers/kubernetes"),
				append([]string{"kubectl", "--dry-run=server"}, args...)...)
			require.NoError(w, err)
			_, err = p.ExitCode(patience)
			require.NoError(w, err)
			if !strings.Contains(p.Output(), "denied") {
				return p.Output()
			}
		}
		return ""
	}})
}

const rightsObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: app}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: %[1]s}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-6d5f7c8b9c-x2x4z, namespace: %[1]s}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-webhook-6d5f7c8b9c-x2x4z, namespace: %[1]s}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: external-secrets-cert-controller-6d5f7c8b9c-x2x4z, namespace: %[1]s}
spec: {serviceAccountName: external-secrets, containers: [{name: c, image: "c:1"}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other, namespace: %[2]s}
---
apiVersion: v1
kind: Pod
metadata: {name: other-0, namespace: %[2]s}
spec: {serviceAccountName: other, containers: [{name: c, image: "c:1"}]}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: home, annotations: {theirs: "1"}}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, namespace: app, key: t}}}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: own, namespace: app, annotations: {theirs: "1"}}
spec: {provider: {vault: {server: "http://vault", path: secret, version: v2, auth: {tokenSecretRef: {name: t, key: t}}}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: one, namespace: app, annotations: {theirs: "1"}}
spec: {secretStoreRef: {name: own}, data: [{secretKey: v, remoteRef: {key: app}}]}
---
apiVersion: external-secrets.io/v1
kind: ClusterExternalSecret
metadata: {name: everywhere, annotations: {theirs: "1"}}
spec: {namespaceSelectors: [{matchLabels: {x: "y"}}], externalSecretSpec: {secretStoreRef: {name: own}, data: [{secretKey: v, remoteRef: {key: app}}]}}
---
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
metadata: {name: one, namespace: app, annotations: {theirs: "1"}}
spec: {secretStoreRefs: [{name: own}], selector: {secret: {name: x}}, data: [{match: {secretKey: v, remoteRef: {remoteKey: app}}}]}
`
