package check

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
)

// selectorAPI serves objects by kind, namespace and label.
func selectorAPI(t *testing.T, served map[schema.GroupVersionResource][]string) *kubetest.API {
	return &kubetest.API{OnList: func(_ context.Context, at kubetest.At, o metav1.ListOptions) (out []unstructured.Unstructured, _ string, _ error) {
		selector, err := labels.Parse(o.LabelSelector)
		require.NoError(t, err)
		for _, text := range served[at.Resource] {
			object := read(t, text)
			if selector.Matches(labels.Set(object.GetLabels())) && (at.Namespace == "" || object.GetNamespace() == at.Namespace) {
				out = append(out, *object)
			}
		}
		return out, "", nil
	}}
}

func TestSelectors_ThatSelectNothingAreReported(t *testing.T) {
	const (
		byName  = `podSelector: {matchExpressions: [{key: statefulset.kubernetes.io/pod-name, operator: In, values: [vault-0, vault-1]}]}`
		byOther = `podSelector: {matchExpressions: [{key: statefulset.kubernetes.io/pod-name, operator: In, values: [bao-0]}]}`
	)
	policyOf := func(spec string) string {
		return `{metadata: {name: vault-unseal-sidecar, namespace: security}, spec: {` + spec + `}}`
	}
	monitorOf := func(values, port string) string {
		return `{metadata: {name: vault-unseal-sidecar, namespace: security}, spec: {podMetricsEndpoints: [{port: ` + port +
			`}], selector: {matchExpressions: [{key: statefulset.kubernetes.io/pod-name, operator: In, values: [` + values + `]}]}}}`
	}
	peer := func(namespace, name string) string {
		text := `{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ` + namespace + `}}`
		if name != "" {
			text += `, podSelector: {matchLabels: {app.kubernetes.io/name: ` + name + `}}`
		}
		return byName + `, ingress: [{from: [` + text + `}]}, {ports: [{port: 8201}]}]`
	}
	for sentence, row := range map[string]struct {
		policy, monitor string
		levels          []Level
		text            string
	}{
		"nothing is there":                         {"", "", nil, ""},
		"a policy that selects the pod":            {policyOf(byName), "", []Level{OK}, "selects the pod"},
		"a policy for another StatefulSet":         {policyOf(byOther), "", []Level{Warning}, "the NetworkPolicy vault-unseal-sidecar does not select the pod"},
		"a policy of somebody else":                {`{metadata: {name: other, namespace: security}, spec: {` + byOther + `}}`, "", nil, ""},
		"a policy that lets in External Secrets":   {policyOf(peer("eso", "external-secrets")), "", []Level{OK}, "selects the pod"},
		"a policy that lets in a namespace":        {policyOf(peer("eso", "")), "", []Level{OK}, "selects the pod"},
		"pods of another name are let in":          {policyOf(peer("eso", "other")), "", []Level{Warning}, "lets in the pods app.kubernetes.io/name=other of the namespaces kubernetes.io/metadata.name=eso, and there are none"},
		"pods of another namespace are let in":     {policyOf(peer("away", "external-secrets")), "", []Level{Warning}, "and there are none"},
		"a namespace is let in that is not there":  {policyOf(peer("away", "")), "", []Level{Unknown}, "lets in the namespaces kubernetes.io/metadata.name=away, and there are none"},
		"addresses are let in":                     {policyOf(byName + `, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]`), "", []Level{OK}, "selects the pod"},
		"a malformed selector":                     {policyOf(`podSelector: {matchExpressions: [{key: a, operator: Near}]}`), "", []Level{Unknown}, "Near"},
		"a monitor that selects the pod":           {"", monitorOf("vault-0", "unseal-sidecar"), []Level{OK}, "selects the pod"},
		"a monitor for another StatefulSet":        {"", monitorOf("bao-0", "unseal-sidecar"), []Level{Warning}, "the PodMonitor vault-unseal-sidecar does not select the pod"},
		"a monitor of a port that the pod lacks":   {"", monitorOf("vault-0", "metrics"), []Level{Warning}, "the port metrics, which no container of the pod has"},
		"both of them are for another StatefulSet": {policyOf(byOther), monitorOf("bao-0", "unseal-sidecar"), []Level{Warning, Warning}, "does not select the pod"},
	} {
		t.Run(sentence, func(t *testing.T) {
			served := map[schema.GroupVersionResource][]string{
				namespaces: {`{metadata: {name: eso, labels: {kubernetes.io/metadata.name: eso}}}`},
				kube.Pods:  {`{metadata: {name: eso-1, namespace: eso, labels: {app.kubernetes.io/name: external-secrets}}}`},
			}
			if row.policy != "" {
				served[networkPolicies] = []string{row.policy}
			}
			if row.monitor != "" {
				served[podMonitors] = []string{row.monitor}
			}
			pod := readPod(t, `{metadata: {name: vault-0, namespace: security, labels: {statefulset.kubernetes.io/pod-name: vault-0}},
				spec: {containers: [{name: vault}, {name: vault-unseal-sidecar, ports: [{name: unseal-sidecar, containerPort: 9810}]}]}}`)
			c := &Checker{api: selectorAPI(t, served), pod: pod, outside: true, Config: Config{Pod: "vault-0", Namespace: "security"}}
			out := findings(t, c, (*Checker).checkSelectors)
			assert.Equal(t, row.levels, levelsOf(out), "%v", out)
			for _, f := range out {
				assert.Contains(t, f.Text, row.text)
				assert.Equal(t, f.Level == Warning, f.Level > Unknown && f.Advice != "", "%v", f)
			}
			c.outside = false
			assert.Empty(t, findings(t, c, (*Checker).checkSelectors), "the sidecar has no right to look")
		})
	}
}

func TestServices_ThatSelectNoPodAreAWarning(t *testing.T) {
	const other = `{metadata: {name: vault, namespace: security}, spec: {selector: {app.kubernetes.io/name: vault}}}`
	for sentence, served := range map[string][]string{"none is there": nil, "other labels are selected": {other}} {
		t.Run(sentence, func(t *testing.T) {
			pod := readPod(t, `{metadata: {name: vault-0, namespace: security, labels: {app: vault}}}`)
			api := selectorAPI(t, map[schema.GroupVersionResource][]string{kube.Services: served})
			out := findings(t, &Checker{pod: pod, api: api, Config: Config{Gate: ourGate, ESO: eso.Config{Recovery: eso.RecoveryBoth}}}, (*Checker).checkServices)
			require.Len(t, out, 1)
			assert.Equal(t, Warning, out[0].Level)
			assert.Contains(t, out[0].Text, "no Service of security selects the pod")
			assert.Contains(t, out[0].Advice, "kubectl -n security get pod vault-0 --show-labels")
		})
	}
}

// patches/services goes by the names of Services.
func TestServices_AdviceFitsTheNameOfTheService(t *testing.T) {
	text, err := os.ReadFile("../../../patches/services/kustomization.yaml")
	require.NoError(t, err)
	assert.Contains(t, string(text), `name: "`+patchedServices+`"`)
	for name, patched := range map[string]bool{"vault": true, "openbao-active": true, "home-vault-ui": true, "bao": false, "vault-external": false} {
		t.Run(name, func(t *testing.T) {
			pod := readPod(t, `{metadata: {name: vault-0, namespace: security, labels: {app: vault}}, spec: {readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}]}}`)
			api := selectorAPI(t, map[schema.GroupVersionResource][]string{kube.Services: {
				`{metadata: {name: ` + name + `, namespace: security}, spec: {selector: {app: vault}, clusterIP: 10.0.0.1, publishNotReadyAddresses: true}}`}})
			out := findings(t, &Checker{pod: pod, api: api, Config: Config{Gate: ourGate}}, (*Checker).checkServices)
			require.Len(t, out, 1)
			want := "set publishNotReadyAddresses: false in the spec of the Service " + name
			if patched {
				want = "add the component patches/services to the kustomization that renders the Service " + name
			}
			assert.Contains(t, out[0].Advice, want)
		})
	}
}
