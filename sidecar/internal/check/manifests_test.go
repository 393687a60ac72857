package check

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
)

// golden returns what a kustomization rendered.
func golden(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../../integration/testdata/golden/" + name + ".yaml")
	require.NoError(t, err)
	return string(text)
}

// judged returns what is found in manifests, by the options that the sidecar has by itself.
func judged(t *testing.T, manifests string) []Finding {
	t.Helper()
	r, err := ReadRendering(strings.NewReader(manifests), "")
	require.NoError(t, err)
	return r.Check(func(s Start) (Config, []Finding) {
		pod := ""
		if slices.Contains(s.UnresolvedEnv, "POD_NAME") {
			pod = "known"
		}
		return Config{Pod: pod, Namespace: "known", Keys: "/etc/vault-unseal-sidecar/keys", Gate: ourGate, PlainHTTP: true,
			Variables: []string{"VAULT_ADDR", "VAULT_UID", "HTTP_BIND", "POD_NAME", "POD_NAMESPACE",
				"ESO_RECOVERY", "ESO_NAMESPACE", "ESO_DEPLOYMENT", "KUBERNETES", "LOG_LEVEL"},
			ESO: eso.Config{Recovery: eso.RecoveryBoth, ControllerNamespace: "external-secrets", Deployment: "external-secrets"}}, nil
	})
}

// assertFound asserts that of the findings above unknown there are these alone, each by
// its level and a part of its text.
func assertFound(t *testing.T, all []Finding, want ...Finding) {
	t.Helper()
	all = slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return f.Level < Warning })
	require.Len(t, all, len(want), "%+v", all)
	for i, f := range want {
		assert.Equal(t, f.Level, all[i].Level, all[i].Text)
		assert.Contains(t, all[i].Text, f.Text)
		assert.NotEmpty(t, all[i].Advice)
	}
}

// replaced changes what is there.
func replaced(t *testing.T, text, old, changed string) string {
	t.Helper()
	require.Contains(t, text, old)
	return strings.ReplaceAll(text, old, changed)
}

// home are Vault with the sidecar, and its rights.
func home(t *testing.T) string {
	return golden(t, "chart-variants") + "---\n" + golden(t, "manifests")
}

func TestManifests_WhatTheComponentsRenderIsRight(t *testing.T) {
	for _, name := range []string{"chart-variants", "chart-all", "chart-claims", "homelab"} {
		t.Run(name, func(t *testing.T) { assertFound(t, judged(t, golden(t, name))) })
	}
	assertFound(t, judged(t, home(t)))
}

func TestManifests_RightsAreThoseOfEachPod(t *testing.T) {
	const replica = "is then never Ready"
	three := func(text string) string { return replaced(t, text, "replicas: 1\n", "replicas: 3\n") }
	for sentence, row := range map[string]struct {
		manifests string
		want      []Finding
	}{
		"of one replica":               {home(t), nil},
		"of three, without theirs":     {three(home(t)), []Finding{{Level: Failure, Text: replica}}},
		"of three, with theirs":        {three(home(t)) + "---\n" + golden(t, "replicas"), nil},
		"of one that begins elsewhere": {replaced(t, home(t), "replicas: 1\n", "replicas: 1\n  ordinals: {start: 4}\n"), []Finding{{Level: Failure, Text: "pods vault-4"}}},
		"of none":                      {replaced(t, home(t), "replicas: 1\n", "replicas: 0\n"), []Finding{{Level: Warning, Text: "no replicas"}}},
	} {
		t.Run(sentence, func(t *testing.T) { assertFound(t, judged(t, row.manifests), row.want...) })
	}
}

func TestManifests_RightsComeThroughEachKindOfSubject(t *testing.T) {
	const subject = "- kind: ServiceAccount\n  name: vault\n  namespace: security\n"
	for sentence, row := range map[string]struct {
		subject string
		level   Level
	}{
		"the account":                     {subject, OK},
		"as a user":                       {"- kind: User\n  name: system:serviceaccount:security:vault\n", OK},
		"all accounts of its namespace":   {"- kind: Group\n  name: system:serviceaccounts:security\n", OK},
		"all accounts":                    {"- kind: Group\n  name: system:serviceaccounts\n", OK},
		"all that are known":              {"- kind: Group\n  name: system:authenticated\n", OK},
		"another account":                 {"- kind: ServiceAccount\n  name: other\n  namespace: security\n", Failure},
		"that of another namespace":       {"- kind: ServiceAccount\n  name: vault\n  namespace: safe\n", Failure},
		"all accounts of another":         {"- kind: Group\n  name: system:serviceaccounts:safe\n", Failure},
		"a user who is called as account": {"- kind: User\n  name: vault\n", Failure},
	} {
		t.Run(sentence, func(t *testing.T) {
			assert.Equal(t, row.level == Failure, Worst(judged(t, replaced(t, home(t), subject, row.subject))) == Failure)
		})
	}
}

func TestManifests_RightsElsewhereAreUnknown(t *testing.T) {
	all := judged(t, golden(t, "chart-variants"))
	assertFound(t, all)
	assert.True(t, slices.ContainsFunc(all, func(f Finding) bool {
		return f.Level == Unknown && strings.Contains(f.Text, "the rights that the ServiceAccount security/vault needs are not in the rendering") &&
			strings.Contains(f.Advice, "with the components gate, stores, externalsecrets, more, eviction")
	}), "%+v", all)
	const administrator = `---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: a}
roleRef: {kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: vault, namespace: security}]
`
	assertFound(t, judged(t, golden(t, "chart-variants")+administrator), Finding{Level: Failure, Text: "may do everything in the cluster"})
}

func TestManifests_WithoutANamespaceRightsAreUnknown(t *testing.T) {
	vault := replaced(t, golden(t, "chart-variants"), "  namespace: security\n", "")
	all := judged(t, vault+"---\n"+golden(t, "manifests"))
	assertFound(t, all)
	assert.True(t, slices.ContainsFunc(all, func(f Finding) bool { return f.Level == Unknown && strings.Contains(f.Advice, "--pod-namespace") }), "%+v", all)
}

func TestManifests_PoliciesHaveToFit(t *testing.T) {
	const constraints = "  matchConstraints:\n"
	const ours = "username.startsWith(\"system:serviceaccount:\"))\n"
	for sentence, row := range map[string]struct {
		old, changed string
		want         []Finding
	}{
		"a selector of the namespaces":     {constraints, constraints + "    namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [safe]}]}\n", []Finding{{Level: Failure, Text: "manifests/gate"}}},
		"other names of pods":              {"      resources:\n      - pods/status\n", "      resources:\n      - pods/status\n      resourceNames: [bao-0]\n", []Finding{{Level: Failure, Text: "manifests/gate"}}},
		"the name of the pod":              {"      resources:\n      - pods/status\n", "      resources:\n      - pods/status\n      resourceNames: [vault-0]\n", nil},
		"another account":                  {ours, ours + "      && request.userInfo.username == \"system:serviceaccount:security:bao\"\n", []Finding{{Level: Failure, Text: "matches other names"}}},
		"the account":                      {ours, ours + "      && request.userInfo.username == \"system:serviceaccount:security:vault\"\n", nil},
		"a role without the verb":          {"  - patch\n  - vault-unseal-sidecar-restricted\n", "  - patch\n", []Finding{{Level: Failure, Text: "without the verb vault-unseal-sidecar-restricted"}}},
		"a binding that does not deny":     {"  - Deny\n", "  - Audit\n", []Finding{{Level: Failure, Text: "not bound to deny"}}},
		"a binding with another selection": {"  validationActions:\n", "  matchResources: {namespaceSelector: {matchLabels: {team: a}}}\n  validationActions:\n", []Finding{{Level: Failure, Text: "manifests/gate"}}},
		"the policies elsewhere":           {"kind: ValidatingAdmissionPolicy\n", "kind: Other\n", nil},
	} {
		t.Run(sentence, func(t *testing.T) { assertFound(t, judged(t, replaced(t, home(t), row.old, row.changed)), row.want...) })
	}
	const gate = "      - pods/status\n"
	selected := replaced(t, replaced(t, home(t), gate, gate+"    namespaceSelector: {matchLabels: {team: a}}\n"), "  failurePolicy: Fail\n", "")
	assertFound(t, judged(t, selected), Finding{Level: Failure, Text: "manifests/gate"})
	assertFound(t, judged(t, selected+"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: security, labels: {team: a}}\n"))
}

func TestManifests_VaultIsFoundWithoutTheSidecar(t *testing.T) {
	const set = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a, namespace: b}\nspec: {template: {spec: {containers: [CONTAINERS]}}}\n"
	for containers, text := range map[string]string{
		"{name: vault, image: x}":                                               "the pod has no sidecar",
		"{name: openbao, image: x}":                                             "the pod has no sidecar",
		"{name: server, image: 'r:5000/hashicorp/vault:1.21.4'}":                "the pod has no sidecar",
		"{name: db, image: postgres}, {name: agent, image: 'hashicorp/vault'}":  "no StatefulSet of the rendering is Vault's",
		"{name: vault-0}, {name: x}":                                            "no StatefulSet of the rendering is Vault's",
		"{name: vault-unseal-sidecar, image: x}":                                "the sidecar is alone in its pod",
		"{name: vault, image: x, env: 5}, {name: vault-unseal-sidecar}":         "the template of the StatefulSet a cannot be read",
		"{name: logs, image: x, livenessProbe: []}, {name: vault, env: [x, y]}": "cannot be read",
	} {
		t.Run(containers, func(t *testing.T) {
			all := judged(t, strings.Replace(set, "CONTAINERS", containers, 1))
			assert.True(t, slices.ContainsFunc(all, func(f Finding) bool { return f.Level == Failure && strings.Contains(f.Text, text) }), "%+v", all)
		})
	}
}

func TestManifests_AKeyInPlainIsReportedAndNotShown(t *testing.T) {
	const secret = "---\napiVersion: v1\nkind: KIND\nmetadata: {name: NAME, namespace: security}\n"
	for sentence, row := range map[string]struct {
		kind, name, field string
		want              bool
	}{
		"a Secret":                   {"Secret", "vault-unseal-key", "stringData: {key: " + secretWord + "=}", true},
		"one in base64":              {"Secret", "vault-unseal-key", "data: {key: a044cjJKbTBZeTF2OEdaMGJTN2M2Y1VvNGRHcThuQjF4cTBtMWYzWms5UQ==}", true},
		"what vault operator prints": {"Secret", "vault-unseal-key", `stringData: {init.json: '{"unseal_keys_b64": ["` + secretWord + `="]}'}`, true},
		"one with another name":      {"Secret", "home", "stringData: {unseal-key: " + secretWord + "=}", true},
		"a ConfigMap":                {"ConfigMap", "unseal", "data: {key: " + secretWord + "=}", true},
		"another Secret":             {"Secret", "tls", "stringData: {key: " + secretWord + "=}", false},
		"one that is encrypted":      {"Secret", "vault-unseal-key", "stringData: {key: 'ENC[AES256_GCM,data:" + secretWord + ",tag:x]'}", false},
		"one that is filled later":   {"Secret", "vault-unseal-key", "stringData: {key: '<path:secret/data/vault/unsealing/keys#key>'}", false},
		"an empty one":               {"Secret", "vault-unseal-key", "data: {key: ''}", false},
		"what is no list":            {"Secret", "vault-unseal-key", "data: [a]", false},
		"a key of a threshold of 1":  {"Secret", "vault-unseal-key", "stringData: {key: " + strings.Repeat("0f3a", 16) + "}", true},
	} {
		t.Run(sentence, func(t *testing.T) {
			all := judged(t, home(t)+strings.NewReplacer("KIND", row.kind, "NAME", row.name).Replace(secret)+row.field+"\n")
			var want []Finding
			if row.want {
				want = []Finding{{Level: Warning, Text: "holds what looks like a key, in plain"}}
			}
			assertFound(t, all, want...)
			var table strings.Builder
			require.NoError(t, Table(&table, all))
			require.NoError(t, JSON(&table, all))
			assert.NotContains(t, table.String(), secretWord[:12])
		})
	}
}

func TestManifests_ImageHasToSayItsVersion(t *testing.T) {
	for image, warns := range map[string]bool{
		"ghcr.io/a/vault-unseal-sidecar:v0.1.0":                                     false,
		"r:5000/vault-unseal-sidecar":                                               true,
		"r:5000/vault-unseal-sidecar:latest":                                        true,
		"r:5000/vault-unseal-sidecar@sha256:" + strings.Repeat("0", 64):             false,
		"vault-unseal-sidecar:latest@sha256:" + strings.Repeat("0", 64):             false,
		"ghcr.io/alybadawy/vault-unseal-sidecar:v0.1.0@sha256:0000000000000000000a": false,
	} {
		t.Run(image, func(t *testing.T) {
			all := judged(t, replaced(t, home(t), "ghcr.io/alybadawy/vault-unseal-sidecar:v0.1.0", image))
			assert.Equal(t, warns, Worst(all) == Warning, "%+v", all)
		})
	}
}

func TestManifests_SettingsOfTheSidecar(t *testing.T) {
	const bind = "        - name: HTTP_BIND\n"
	const limit = "            memory: 64Mi\n"
	for sentence, row := range map[string]struct {
		old, changed string
		want         []Finding
	}{
		"a variable that is misspelled":   {bind, "        - {name: VAULT_ADDRESS, value: a}\n" + bind, []Finding{{Level: Warning, Text: "does not read the variables VAULT_ADDRESS"}}},
		"variables of others":             {bind, "        - {name: HTTP_PROXY, value: a}\n        - {name: POD_IP, value: a}\n        - {name: GODEBUG, value: a}\n        - {name: KUBERNETES_SERVICE_HOST, value: a}\n" + bind, nil},
		"a pod without its name":          {"        - name: POD_NAME\n", "        - name: POD_UID\n", []Finding{{Level: Failure, Text: "does not know its own pod"}}},
		"a limit in bytes":                {limit, "            memory: 64000000\n", nil},
		"a limit that is too low":         {limit, "            memory: 16000000\n", []Finding{{Level: Warning, Text: "the memory limit 16000000"}}},
		"a limit that is none":            {limit, "            memory: much\n", []Finding{{Level: Warning, Text: "the memory limit much"}}},
		"a Secret that has to be there":   {"          optional: true\n          secretName", "          secretName", []Finding{{Level: Warning, Text: "is not optional"}}},
		"a key that others may write":     {"          defaultMode: 292\n          optional", "          defaultMode: 438\n          optional", []Finding{{Level: Warning, Text: "can be written"}}},
		"a key that is mounted elsewhere": {"mountPath: /etc/vault-unseal-sidecar/keys", "mountPath: /etc/vault-unseal-sidecar/key", []Finding{{Level: Failure, Text: "no volume with the key"}}},
		"a key in a directory that is":    {"mountPath: /etc/vault-unseal-sidecar/keys", "mountPath: /etc/vault-unseal-sidecar/", nil},
		"a volume of another kind":        {"        secret:\n          defaultMode: 292\n          optional: true\n          secretName: vault-unseal-key\n", "        csi: {driver: a}\n", nil},
		"a mount without a volume":        {"        - mountPath: /run/vault-unseal-sidecar\n          name: unseal-state\n", "        - mountPath: /run/vault-unseal-sidecar\n          name: state\n", []Finding{{Level: Failure, Text: "mounts the volume state"}}},
		"Services that select other pods": {"  selector:\n    app.kubernetes.io/name: vault\n", "  selector:\n    app.kubernetes.io/name: bao\n", []Finding{{Level: Warning, Text: "no Service of security selects the pod"}}},
		"no Services":                     {"kind: Service\n", "kind: Other\n", nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			assertFound(t, judged(t, replaced(t, home(t), row.old, row.changed)), row.want...)
		})
	}
}
