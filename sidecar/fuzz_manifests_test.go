package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/check"
)

const (
	fuzzedSet = `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: vault, namespace: security},
 spec: {replicas: 3, ordinals: {start: 1}, updateStrategy: {type: OnDelete},
 volumeClaimTemplates: [{metadata: {name: data}}], template: {metadata: {labels: {app: vault}},
 spec: {serviceAccountName: vault,
 volumes: [{name: k, secret: {secretName: vault-unseal-key, defaultMode: 0666}}],
 readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}], securityContext: {runAsUser: 100},
 containers: [{name: vault, image: vault, ports: [{name: http, containerPort: 8200}],
 livenessProbe: {exec: {command: [a]}}},
 {name: vault-unseal-sidecar, image: "a/vault-unseal-sidecar:v1", args: [run, --vault-uid, "100"],
 env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: VAULT_ADR, value: "@"}],
 resources: {limits: {memory: 1Mi}},
 volumeMounts: [{name: k, mountPath: /etc/vault-unseal-sidecar/keys}]}]}}}}`
	fuzzedRights = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: vault-unseal-sidecar, namespace: security}
rules: [{verbs: [patch], apiGroups: [""], resources: [pods/status], resourceNames: [vault-0]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: vault-unseal-sidecar, namespace: security}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
roleRef: {kind: Role, name: vault-unseal-sidecar}
---
{"apiVersion":"v1","kind":"Secret","metadata":{"name":"vault-unseal-key"},"data":{"a":"$"},"stringData":{"@":"@"}}
{"apiVersion":"v1","kind":"Service","metadata":{"name":"vault"},"spec":{"selector":{"app":"vault"},"ports":[{"port":8200}]}}`
	fuzzedNetwork = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: vault-unseal-sidecar}
spec: {podSelector: {matchExpressions: [{key: app, operator: In, values: [vault]}]}, ingress: [{from: [{podSelector: {}}]}]}`
)

// FuzzManifests judges any rendering: it says on lines of their own what it found, and
// shows no key that is in it.
func FuzzManifests(f *testing.F) {
	for _, text := range []string{
		fuzzedSet, fuzzedSet + "\n---\n" + fuzzedRights, fuzzedSet + "\n---\n" + fuzzedNetwork, fuzzedRights,
		"a: *@", "{a: !!int $}", "- @", "kind: List\napiVersion: v1\nitems: [{}]", "@: \x1b[2J", "",
	} {
		f.Add(text, "security")
	}
	f.Fuzz(func(t *testing.T, text, namespace string) {
		var out, said bytes.Buffer
		rendering, err := check.ReadRendering(strings.NewReader(withKey(text)), namespace)
		if err != nil {
			requireHidden(t, err.Error(), "the error")
			assertHarmless(t, map[string]string{"error": err.Error()}, text)
			require.Less(t, len(err.Error()), 1000)
			return
		}
		findings := rendering.Check(func(s check.Start) (check.Config, []check.Finding) {
			there, said := renderedOptions(config{podNamespace: "security"}, nil, s)
			return checkConfig(there), said
		})
		require.NotEmpty(t, findings)
		again, err := check.ReadRendering(strings.NewReader(withKey(text)), namespace)
		require.NoError(t, err)
		require.Len(t, again.Check(func(s check.Start) (check.Config, []check.Finding) {
			there, said := renderedOptions(config{podNamespace: "security"}, nil, s)
			return checkConfig(there), said
		}), len(findings), "the same is found again")
		for _, asJSON := range []bool{false, true} {
			out.Reset()
			code := showFindings(config{outputJSON: asJSON}, slices.Clone(findings), &out, &said)
			require.Contains(t, []int{0, 3, 4}, code)
			require.Empty(t, said.String())
			require.Less(t, out.Len(), 40_000*len(findings))
			assertHarmless(t, map[string]string{"findings": out.String()}, text)
			if asJSON {
				require.True(t, json.Valid(out.Bytes()))
			}
		}
	})
}
