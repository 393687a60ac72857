package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/kube/kubetest"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/policy"
	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/unseal"
)

const ourGate = "vault-unseal-sidecar/unsealed"

func TestGate_LevelFollowsDeclarationAndCondition(t *testing.T) {
	const condition = `, status: {conditions: [{type: vault-unseal-sidecar/unsealed, status: "True", reason: Unsealed}]}}`
	for sentence, row := range map[string]struct {
		pod, gate string
		level     Level
		text      string
	}{
		"declared and written":          {`{spec: {readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}]}` + condition, ourGate, OK, "True, Unsealed"},
		"declared beside another's":     {`{spec: {readinessGates: [{conditionType: a/b}, {conditionType: vault-unseal-sidecar/unsealed}]}}`, ourGate, Warning, "not written"},
		"declared, and closed":          {`{spec: {readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}]}, status: {conditions: [{type: vault-unseal-sidecar/unsealed, status: "False", reason: HeldByOperator}]}}`, ourGate, Warning, "False, HeldByOperator"},
		"only another's is declared":    {`{spec: {readinessGates: [{conditionType: a/b}]}}`, ourGate, Warning, "not written; it is no readiness gate"},
		"none is declared":              {`{spec: {}}`, ourGate, Warning, "not written; it is no readiness gate"},
		"none is declared, but written": {`{spec: {containers: []}` + condition, ourGate, OK, "True, Unsealed; it is no readiness gate, as with Helm alone"},
		"none is declared, nor written": {`{spec: {}}`, "", OK, "declares none of ours"},
		"declared and never written":    {`{spec: {readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}]}}`, "", Failure, "never Ready"},
		"another of ours is declared":   {`{spec: {readinessGates: [{conditionType: vault-unseal-sidecar/other}]}}`, ourGate, Failure, "never Ready"},
		"one of another name, declared": {`{spec: {readinessGates: [{conditionType: example.com/open}]}, status: {conditions: [{type: example.com/open, status: "True"}]}}`, "example.com/open", OK, "example.com/open"},
	} {
		t.Run(sentence, func(t *testing.T) {
			out := findings(t, &Checker{pod: readPod(t, row.pod), Config: Config{Gate: row.gate}}, (*Checker).checkGate)
			require.Len(t, out, 1)
			assert.Equal(t, row.level, out[0].Level)
			assert.Contains(t, out[0].Text, row.text)
		})
	}
}

// abouts returns what the findings are about, each part once.
func abouts(all []Finding) (out []string) {
	for _, f := range all {
		out = append(out, f.About)
	}
	return slices.Compact(out)
}

func TestChecker_FindsInTheOrderOfTheTable(t *testing.T) {
	served := &kubetest.API{OnGet: func(kubetest.At, string) *unstructured.Unstructured {
		return read(t, `{metadata: {name: vault-0, namespace: security}, spec: {containers: [{name: vault}, {name: vault-unseal-sidecar}]}}`)
	}}
	away := &kubetest.API{}
	for sentence, row := range map[string]struct {
		api     *kubetest.API
		outside bool
		want    []string
		fails   bool
	}{
		"as the pod":                      {served, false, []string{AboutPod, AboutServices, AboutRights, AboutSecrets}, false},
		"from outside":                    {served, true, []string{"options", AboutPod, AboutServices, AboutRights, AboutSecrets}, false},
		"as the pod, without an API":      {away, false, []string{AboutAPI}, false},
		"from outside, and there is none": {away, true, nil, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // policies that seem to be missing are tried twice
				c := &Checker{api: row.api, outside: row.outside, Config: Config{Pod: "vault-0", Namespace: "security"}}
				c.resolve = func(Start) (Config, []Finding) { return c.Config, []Finding{{About: "options"}} }
				out, err := c.Check(t.Context())
				assert.Equal(t, row.fails, err != nil)
				assert.Equal(t, row.want, abouts(out))
			})
		})
	}
}

func TestChecker_RunsWhatHasItsNeed(t *testing.T) {
	for has, want := range map[need][]string{0: nil, usableKey: {AboutRecovery}, kubernetes: {AboutRights, AboutSecrets}} {
		c := &Checker{outside: true, Config: Config{KubernetesOff: true}}
		c.here.Prover = &unseal.Prover{} // the role is not tried then
		assert.Equal(t, want, abouts(c.run(t.Context(), has)))
	}
}

// Advice is a command with the pod's name in it, which a person runs as it stands.
func TestChecker_RejectsAnotherObjectThanItAskedFor(t *testing.T) {
	for _, metadata := range []string{`{"name": "$(reboot)", "namespace": "security"}`, `{"name": "vault-0", "namespace": "a;reboot"}`} {
		api := &kubetest.API{OnGet: func(kubetest.At, string) *unstructured.Unstructured {
			return kubetest.Object(t, `{"metadata": `+metadata+`}`)
		}}
		c := &Checker{api: api}
		_, err := c.get(t.Context(), kube.Pods, "security", "vault-0")
		assert.EqualError(t, err, "the API server answered with another object than security/vault-0")
	}
}

func TestPod_MalformedReadinessGatesAreAnError(t *testing.T) {
	_, err := podOf(read(t, `{spec: {readinessGates: [x, {conditionType: 1}]}}`))
	assert.Error(t, err)
}

func TestContainer_LevelFollowsItsPlaceInThePod(t *testing.T) {
	for sentence, row := range map[string]struct {
		spec    string
		outside bool
		level   Level
		text    string
	}{
		"after vault":                {`{containers: [{name: vault}, {name: vault-unseal-sidecar}]}`, false, OK, "beside Vault"},
		"by its image":               {`{containers: [{name: vault}, {name: helper, image: "home/vault-unseal-sidecar:1"}]}`, true, OK, "beside Vault"},
		"the first":                  {`{containers: [{name: vault-unseal-sidecar}, {name: vault}]}`, false, Warning, "first container"},
		"alone":                      {`{containers: [{name: vault-unseal-sidecar}]}`, false, Failure, "alone"},
		"a native one":               {`{initContainers: [{name: vault-unseal-sidecar, restartPolicy: Always}], containers: [{name: vault}]}`, false, OK, "native"},
		"an init container":          {`{initContainers: [{name: x}, {name: vault-unseal-sidecar}], containers: [{name: vault}]}`, false, Failure, "never starts"},
		"not there":                  {`{containers: [{name: vault}]}`, true, Failure, "no sidecar"},
		"there under another's name": {`{containers: [{name: vault}, {name: helper, image: "x:1"}]}`, false, Unknown, "cannot be identified"},
	} {
		t.Run(sentence, func(t *testing.T) {
			out := findings(t, &Checker{pod: readPod(t, `{spec: `+row.spec+`}`), outside: row.outside}, (*Checker).checkContainer)
			require.Len(t, out, 1)
			assert.Equal(t, row.level, out[0].Level)
			assert.Contains(t, out[0].Text, row.text)
		})
	}
}

func TestNetwork_FailsForPlainHTTPOnTheHostNetwork(t *testing.T) {
	for sentence, row := range map[string]struct {
		spec  string
		plain bool
		want  []Level
	}{
		"its own, plain HTTP":        {`{containers: []}`, true, nil},
		"said to be its own":         {`{hostNetwork: false}`, true, nil},
		"the node's, and TLS":        {`{hostNetwork: true}`, false, []Level{OK}},
		"the node's, and plain HTTP": {`{hostNetwork: true}`, true, []Level{Failure}},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{pod: readPod(t, `{spec: `+row.spec+`}`), Config: Config{PlainHTTP: row.plain}}
			assert.Equal(t, row.want, levelsOf(findings(t, c, (*Checker).checkNetwork)))
		})
	}
}

func TestUsers_WarnsOfContainersWithTheUIDOfVault(t *testing.T) {
	const ours = `{name: vault-unseal-sidecar, securityContext: {runAsUser: 100}}`
	for sentence, row := range map[string]struct {
		spec string
		text string
	}{
		"vault alone":                {`{securityContext: {runAsUser: 100}, containers: [{name: vault}, ` + ours + `]}`, ""},
		"another inherits it":        {`{securityContext: {runAsUser: 100}, containers: [{name: vault}, {name: logs}, ` + ours + `]}`, "vault, logs run as uid 100"},
		"another says its own":       {`{securityContext: {runAsUser: 100}, containers: [{name: vault}, {name: logs, securityContext: {runAsUser: 65533}}]}`, ""},
		"another says the same":      {`{containers: [{name: vault, securityContext: {runAsUser: 100}}, {name: logs, securityContext: {runAsUser: 100}}]}`, "vault, logs run as uid 100"},
		"nobody says":                {`{containers: [{name: vault}, {name: logs}]}`, ""},
		"one that has ended":         {`{securityContext: {runAsUser: 100}, initContainers: [{name: prepare}], containers: [{name: vault}]}`, ""},
		"a native one":               {`{securityContext: {runAsUser: 100}, initContainers: [{name: logs, restartPolicy: Always}], containers: [{name: vault}]}`, "vault, logs run as uid 100"},
		"one that somebody debugged": {`{securityContext: {runAsUser: 100}, containers: [{name: vault}], ephemeralContainers: [{name: debugger-x}]}`, "vault, debugger-x run as uid 100"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{pod: readPod(t, `{spec: `+row.spec+`}`)}
			assert.Empty(t, findings(t, c, (*Checker).checkUsers))
			c.VaultUID = new(uint32(100))
			found := findings(t, c, (*Checker).checkUsers)
			assertOneWarning(t, row.text, found)
		})
	}
}

// assertOneWarning wants one with a text, and none where that is "".
func assertOneWarning(t *testing.T, text string, found []Finding) {
	t.Helper()
	if text == "" {
		assert.Empty(t, found)
		return
	}
	require.Len(t, found, 1)
	assert.Equal(t, Warning, found[0].Level)
	assert.Contains(t, found[0].Text, text)
}

func TestCapture_WarnsOfContainersThatCanReadPlainHTTP(t *testing.T) {
	const root, raw = "may run as root and does not drop NET_RAW", "adds NET_RAW"
	beside := func(security string) string {
		return `{containers: [{name: vault}, {name: logs, securityContext: ` + security + `}, {name: vault-unseal-sidecar}]}`
	}
	for sentence, row := range map[string]struct {
		spec string
		text string
	}{
		"none but vault's and ours":      {`{containers: [{name: vault}, {name: vault-unseal-sidecar}]}`, ""},
		"vault's has another name":       {`{containers: [{name: server}, {name: vault-unseal-sidecar}]}`, ""},
		"ours comes first":               {`{containers: [{name: vault-unseal-sidecar}, {name: server}, {name: logs}]}`, ": logs (" + root + ")"},
		"no container":                   {`{}`, ""},
		"with what the runtime gives":    {`{containers: [{name: vault}, {name: logs}]}`, ": logs (" + root + ")"},
		"vault's is not the first":       {`{containers: [{name: logs}, {name: vault}]}`, ": logs (" + root + ")"},
		"OpenBao's is not the first":     {`{containers: [{name: logs}, {name: openbao}]}`, ": logs (" + root + ")"},
		"a native sidecar":               {`{initContainers: [{name: logs, restartPolicy: Always}], containers: [{name: vault}]}`, ": logs ("},
		"a native sidecar of that name":  {`{initContainers: [{name: logs, restartPolicy: Always}], containers: [{name: server}]}`, ": logs ("},
		"an init container":              {`{initContainers: [{name: prepare}], containers: [{name: vault}]}`, ""},
		"one that somebody debugs with":  {`{containers: [{name: vault}], ephemeralContainers: [{name: debugger-x}]}`, ": debugger-x ("},
		"several":                        {`{containers: [{name: vault}, {name: a}, {name: b, securityContext: {privileged: true}}]}`, ": a (" + root + "), b (is privileged)"},
		"drops all":                      {beside(`{capabilities: {drop: [ALL]}}`), ""},
		"drops all, in another spelling": {beside(`{capabilities: {drop: [all]}}`), ""},
		"drops that one":                 {beside(`{capabilities: {drop: [CAP_NET_RAW]}}`), ""},
		"drops another":                  {beside(`{capabilities: {drop: [CHOWN]}}`), root},
		"drops all and adds it":          {beside(`{runAsUser: 1, capabilities: {drop: [ALL], add: [NET_RAW]}}`), raw},
		"adds what leads traffic astray": {beside(`{capabilities: {drop: [ALL], add: [net_admin]}}`), "adds NET_ADMIN"},
		"adds all":                       {beside(`{runAsNonRoot: true, capabilities: {add: [ALL]}}`), "adds ALL"},
		"adds another":                   {beside(`{capabilities: {drop: [ALL], add: [IPC_LOCK]}}`), ""},
		"is privileged":                  {beside(`{privileged: true, runAsUser: 1, capabilities: {drop: [ALL]}}`), "is privileged"},
		"is not root":                    {beside(`{runAsUser: 1}`), ""},
		"is said not to be root":         {beside(`{runAsNonRoot: true}`), ""},
		"is root":                        {beside(`{runAsUser: 0, runAsNonRoot: false}`), root},
		"the pod is not root":            {`{securityContext: {runAsUser: 100}, containers: [{name: vault}, {name: logs}]}`, ""},
		"the pod is said not to be":      {`{securityContext: {runAsNonRoot: true}, containers: [{name: vault}, {name: logs}]}`, ""},
		"the pod is not, and it is": {`{securityContext: {runAsUser: 100, runAsNonRoot: true}, containers: [{name: vault},
			{name: logs, securityContext: {runAsUser: 0, runAsNonRoot: false}}]}`, root},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{pod: readPod(t, `{spec: `+row.spec+`}`)}
			assert.Empty(t, findings(t, c, (*Checker).checkCapture), "and no plain HTTP")
			c.PlainHTTP = true
			found := findings(t, c, (*Checker).checkCapture)
			assertOneWarning(t, row.text, found)
			for _, f := range found {
				assert.Contains(t, f.Advice, "NET_RAW")
			}
		})
	}
}

func TestProcesses_WarnsOfContainersThatReachTheSidecar(t *testing.T) {
	const ours = `{name: vault-unseal-sidecar, securityContext: {runAsUser: 65532}}`
	beside := func(security string) string {
		return `{shareProcessNamespace: true, containers: [{name: vault}, {name: logs, securityContext: ` + security + `}, ` + ours + `]}`
	}
	for sentence, row := range map[string]struct {
		spec string
		text string
	}{
		"each has its own":                {`{containers: [{name: vault}, {name: logs}, ` + ours + `]}`, ""},
		"none but vault's and ours":       {`{shareProcessNamespace: true, containers: [{name: vault}, ` + ours + `]}`, ""},
		"there is no sidecar":             {`{shareProcessNamespace: true, containers: [{name: vault}, {name: logs}]}`, ""},
		"another user":                    {beside(`{runAsUser: 1}`), ""},
		"the sidecar's user":              {beside(`{runAsUser: 65532, capabilities: {drop: [ALL]}}`), ": logs (has the sidecar's user)"},
		"the user of its image":           {beside(`{runAsNonRoot: true}`), ": logs (says no user)"},
		"root":                            {beside(`{runAsUser: 0}`), ": logs (is root, with capabilities)"},
		"root without capabilities":       {beside(`{runAsUser: 0, capabilities: {drop: [all]}}`), ""},
		"root without one of them":        {beside(`{runAsUser: 0, capabilities: {drop: [KILL]}}`), ": logs (is root, with capabilities)"},
		"root with one of them":           {beside(`{runAsUser: 0, capabilities: {drop: [ALL], add: [SETUID]}}`), ": logs (is root, with capabilities)"},
		"is privileged":                   {beside(`{runAsUser: 1, privileged: true}`), ": logs (is privileged)"},
		"not that of the sidecar's image": {`{shareProcessNamespace: true, containers: [{name: vault}, {name: logs, securityContext: {runAsUser: 1}}, {name: vault-unseal-sidecar}]}`, ""},
		"that of the sidecar's image":     {`{shareProcessNamespace: true, containers: [{name: vault}, {name: logs, securityContext: {runAsUser: 65532}}, {name: vault-unseal-sidecar}]}`, ": logs (has the sidecar's user)"},
		"the pod says it for both":        {`{shareProcessNamespace: true, securityContext: {runAsUser: 100}, containers: [{name: vault}, {name: logs}, {name: vault-unseal-sidecar}]}`, ": logs (has the sidecar's user)"},
		"those of the node":               {`{hostPID: true, containers: [{name: vault}, ` + ours + `]}`, "the processes of its node"},
		"those of the node, and no ours":  {`{hostPID: true, containers: [{name: vault}]}`, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			found := findings(t, &Checker{pod: readPod(t, `{spec: `+row.spec+`}`)}, (*Checker).checkProcesses)
			assertOneWarning(t, row.text, found)
		})
	}
}

func TestEphemeralContainer_IsIgnoredOnceTerminated(t *testing.T) {
	const spec = `{spec: {securityContext: {runAsUser: 0}, containers: [{name: vault}], ephemeralContainers: [{name: debugger-x}]}, `
	for state, found := range map[string]bool{`{running: {}}`: true, `{waiting: {}}`: true, `{terminated: {exitCode: 0}}`: false} {
		t.Run(state, func(t *testing.T) {
			pod := readPod(t, spec+`status: {ephemeralContainerStatuses: [{name: debugger-x, state: `+state+`}, {name: other, state: {terminated: {}}}]}}`)
			c := &Checker{pod: pod, Config: Config{PlainHTTP: true, VaultUID: new(uint32(0))}}
			assert.Equal(t, found, len(findings(t, c, (*Checker).checkCapture)) == 1)
			assert.Equal(t, found, len(findings(t, c, (*Checker).checkUsers)) == 1)
		})
	}
}

func TestContainer_FailsUnlessRunning(t *testing.T) {
	const spec = `{spec: {containers: [{name: vault}, {name: vault-unseal-sidecar}]}, status: {containerStatuses: [{name: vault, state: {running: {}}}, `
	for state, level := range map[string]Level{
		`{running: {startedAt: "2026-01-01T00:00:00Z"}}`:   OK,
		`{waiting: {reason: CrashLoopBackOff}}`:            Failure,
		`{waiting: {reason: ImagePullBackOff}}`:            Failure,
		`{terminated: {reason: OOMKilled, exitCode: 137}}`: Failure,
	} {
		t.Run(state, func(t *testing.T) {
			c := &Checker{pod: readPod(t, spec+`{name: vault-unseal-sidecar, state: `+state+`}]}}`), outside: true}
			assert.Equal(t, []Level{level}, levelsOf(findings(t, c, (*Checker).checkContainer)))
		})
	}
	c := &Checker{pod: readPod(t, spec+`]}}`), outside: true}
	assert.Equal(t, []Level{OK}, levelsOf(findings(t, c, (*Checker).checkContainer)), "a pod that does not tell yet")
}

func TestLiveness_FailsForAProbeThatKillsASealedVault(t *testing.T) {
	found := func(t *testing.T, pod string) []Finding {
		return findings(t, &Checker{pod: readPod(t, pod)}, (*Checker).checkLiveness)
	}
	for probe, why := range map[string]string{
		`{httpGet: {path: "/v1/sys/health", port: 8200}}`:                                              "sealedcode is 503",
		`{httpGet: {path: "/v1/sys/health?standbyok=true", port: 8200}}`:                               "sealedcode is 503",
		`{httpGet: {path: "/v1/sys/health/?sealedcode=204", port: 8200}}`:                              "uninitcode is 501",
		`{httpGet: {path: "/v1/sys/health?sealedcode=x&uninitcode=204", port: 8200}}`:                  "sealedcode is 0",
		`{httpGet: {path: "/v1/sys/health?standbyok=true&sealedcode=204&uninitcode=204", port: 8200}}`: "",
		`{httpGet: {path: "/v1/sys/seal-status", port: 8200}}`:                                         "",
		`{exec: {command: [/bin/sh, -ec, "vault status -tls-skip-verify"]}}`:                           "vault status",
		`{exec: {command: [vault, status]}}`:                                                           "vault status",
		`{exec: {command: [/bin/sh, -c, "wget -qO- 'http://127.0.0.1:8200/v1/sys/health'"]}}`:          "sealedcode is 503",
		`{tcpSocket: {port: 8200}}`:                                                                    "",
	} {
		t.Run(probe, func(t *testing.T) {
			out := found(t, `{spec: {containers: [{name: vault, livenessProbe: `+probe+`}, {name: other}]}}`)
			require.Len(t, out, 1)
			if why == "" {
				assert.Equal(t, OK, out[0].Level)
				return
			}
			assert.Equal(t, Failure, out[0].Level)
			assert.Contains(t, out[0].Text, why)
		})
	}
	own := found(t, `{spec: {containers: [{name: vault, livenessProbe: {exec: {command: [pgrep, vault]}}}]}}`)
	assert.Equal(t, Unknown, own[0].Level, "what somebody's own command does is not known")
	start := found(t, `{spec: {containers: [{name: vault, startupProbe: {httpGet: {path: "/v1/sys/health"}}}]}}`)
	assert.Equal(t, Failure, start[0].Level, "the kubelet kills for this one too")
	ours := `{spec: {containers: [{name: vault-unseal-sidecar, livenessProbe: {httpGet: {path: "/v1/sys/health"}}}]}}`
	assert.Equal(t, OK, found(t, ours)[0].Level, "our own is another matter")
}

func TestOwnProbe_IsAWarning(t *testing.T) {
	for spec, found := range map[string]bool{
		`{containers: [{name: vault, livenessProbe: {}}, {name: vault-unseal-sidecar}]}`:                                  false,
		`{containers: [{name: vault}, {name: vault-unseal-sidecar, livenessProbe: {httpGet: {path: /healthz}}}]}`:         true,
		`{containers: [{name: vault}], initContainers: [{name: vault-unseal-sidecar, startupProbe: {tcpSocket: {}}}]}`:    true,
		`{containers: [{name: vault}], initContainers: [{name: vault-unseal-sidecar}]}`:                                   false,
		`{containers: [{name: other, image: "r/vault-unseal-sidecar:v1", livenessProbe: {httpGet: {path: "/healthz"}}}]}`: true,
	} {
		t.Run(spec, func(t *testing.T) {
			out := findings(t, &Checker{pod: readPod(t, "{spec: "+spec+"}")}, (*Checker).checkOwnProbe)
			assert.Equal(t, found, len(out) == 1 && out[0].Level == Warning)
		})
	}
}

func TestStatefulSet_WarnsOfAPendingTemplate(t *testing.T) {
	pod := readPod(t, `{metadata: {name: vault-0, namespace: security, labels: {controller-revision-hash: vault-1},
		ownerReferences: [{kind: Node, name: n}, {kind: StatefulSet, name: vault}]}}`)
	set := func(spec, newest string) *unstructured.Unstructured {
		return read(t, `{metadata: {name: vault, namespace: security}, spec: {updateStrategy: `+spec+`, template: {spec: {containers: [{name: vault}, {name: vault-unseal-sidecar}]}}},
			status: {updateRevision: "`+newest+`"}}`)
	}
	const onDelete, rolling, parted = `{type: OnDelete}`, `{type: RollingUpdate, rollingUpdate: {partition: 0}}`, `{type: RollingUpdate, rollingUpdate: {partition: 1}}`
	for sentence, row := range map[string]struct {
		set    *unstructured.Unstructured
		level  Level
		advice string
	}{
		"the pod is of the newest":     {set(onDelete, "vault-1"), OK, ""},
		"one waits for a deletion":     {set(onDelete, "vault-2"), Warning, "kubectl -n security delete pod vault-0"},
		"one waits behind a partition": {set(parted, "vault-2"), Warning, "kubectl -n security delete pod vault-0"},
		"one is being rolled out":      {set(rolling, "vault-2"), Warning, "wait for the rollout"},
		"nothing is told":              {set(onDelete, ""), Unknown, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{pod: pod, api: &kubetest.API{OnGet: func(at kubetest.At, name string) *unstructured.Unstructured {
				assert.Equal(t, kubetest.At{Resource: statefulSets, Namespace: "security"}, at)
				assert.Equal(t, "vault", name)
				return row.set
			}}}
			c.checkStatefulSet(t.Context())
			require.Len(t, c.findings, 1)
			assert.Equal(t, row.level, c.findings[0].Level)
			assert.Contains(t, c.findings[0].Advice, row.advice)
		})
	}
}

func TestStatefulSet_PodWithoutOneIsAWarning(t *testing.T) {
	out := findings(t, &Checker{pod: readPod(t, `{metadata: {name: vault-0}}`)}, (*Checker).checkStatefulSet)
	assert.Equal(t, []Level{Warning}, levelsOf(out))
}

func TestServices_WarnOfNotReadyAddresses(t *testing.T) {
	pod := readPod(t, `{metadata: {name: vault-0, namespace: security, labels: {app: vault}}, spec: {readinessGates: [{conditionType: vault-unseal-sidecar/unsealed}]}}`)
	const ours = `selector: {app: vault}, `
	for sentence, row := range map[string]struct {
		spec string
		gate string
		want Level
		text string
	}{
		"published":              {ours + `clusterIP: 10.96.0.7, publishNotReadyAddresses: true`, ourGate, Warning, "published by the Service vault"},
		"not published":          {ours + `clusterIP: 10.96.0.7, publishNotReadyAddresses: false`, ourGate, OK, "none of 1"},
		"by default":             {ours + `clusterIP: 10.96.0.7`, ourGate, OK, "none of 1"},
		"of the headless one":    {ours + `clusterIP: None, publishNotReadyAddresses: true`, ourGate, OK, "none of 1"},
		"of another's pods":      {`selector: {app: other}, clusterIP: 10.96.0.7, publishNotReadyAddresses: true`, ourGate, Warning, "no Service of security selects the pod"},
		"published, and no gate": {ours + `clusterIP: 10.96.0.7, publishNotReadyAddresses: true`, "", OK, "1 select the pod; without the gate"},
	} {
		t.Run(sentence, func(t *testing.T) {
			api := &kubetest.API{OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
				assert.Equal(t, kubetest.At{Resource: kube.Services, Namespace: "security"}, at)
				return []unstructured.Unstructured{*read(t, `{metadata: {name: vault, namespace: security}, spec: {`+row.spec+`}}`)}, "", nil
			}}
			out := findings(t, &Checker{pod: pod, api: api, Config: Config{Gate: row.gate}}, (*Checker).checkServices)
			require.Len(t, out, 1)
			assert.Equal(t, row.want, out[0].Level)
			assert.Contains(t, out[0].Text, row.text)
		})
	}
}

func TestStores_LevelFollowsTheirReadiness(t *testing.T) {
	home, own := eso.StoreName{Namespace: "", Name: "home"}, eso.StoreName{Namespace: "app", Name: "own"}
	of := func(name eso.StoreName, status string) eso.Store {
		return eso.Store{StoreName: name, Vault: true, Status: status, Reason: "InvalidProviderConfig", Message: "it\nis sealed"}
	}
	for sentence, row := range map[string]struct {
		stores []eso.Store
		named  []eso.StoreName
		levels []Level
		text   string
	}{
		"none":                         {nil, nil, []Level{OK}, "no store uses Vault"},
		"all are Ready":                {[]eso.Store{of(home, kube.True), of(own, kube.True)}, nil, []Level{OK}, "2 of 2"},
		"one is not":                   {[]eso.Store{of(home, kube.True), of(own, kube.False)}, nil, []Level{Failure, OK}, "SecretStore/app/own is not Ready: InvalidProviderConfig: it is sealed"},
		"none is":                      {[]eso.Store{of(home, kube.False)}, nil, []Level{Failure}, "not Ready"},
		"one was not looked at":        {[]eso.Store{of(home, "")}, nil, []Level{Unknown}, "no External Secrets controller has validated it"},
		"one that was named is away":   {nil, []eso.StoreName{own}, []Level{Failure}, "SecretStore/app/own does not exist"},
		"one that was named is there":  {[]eso.Store{of(home, kube.True)}, []eso.StoreName{home}, []Level{OK}, "1 of 1"},
		"one of two that were is away": {[]eso.Store{of(home, kube.True)}, []eso.StoreName{home, own}, []Level{Failure, OK}, "does not exist"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{Config: Config{ESO: eso.Config{Stores: row.named}}}
			c.evaluateStores(row.stores, nil)
			all := ""
			for _, f := range c.findings {
				all += f.Text
			}
			assert.Equal(t, row.levels, levelsOf(c.findings))
			assert.Contains(t, all, row.text)
		})
	}
}

// A tenant makes as many stores as it may, and none of them works.
func TestStores_NameTheFirstAndCountTheRest(t *testing.T) {
	for sentence, row := range map[string]struct {
		status string
		away   bool
		level  Level
		rest   string
	}{
		"broken ones":           {kube.False, false, Failure, "more stores that are not Ready: 95"},
		"none has looked at":    {"", false, Unknown, "more stores without a Ready condition: 95"},
		"of another's Services": {kube.False, true, Unknown, "more stores that are ignored, of other namespaces' Services: 95"},
	} {
		t.Run(sentence, func(t *testing.T) {
			var stores, ignored []eso.Store
			for i := range 100 {
				s := eso.Store{StoreName: eso.StoreName{Namespace: "tenant", Name: fmt.Sprint("s", i)}, Status: row.status}
				if row.away {
					ignored = append(ignored, s)
				} else {
					stores = append(stores, s)
				}
			}
			c := &Checker{}
			c.evaluateStores(stores, ignored)
			require.Len(t, c.findings, maxNamedStores+1)
			assert.Contains(t, c.findings[0].Text, "SecretStore/tenant/s0 ")
			assert.Equal(t, row.rest, c.findings[maxNamedStores].Text)
			for _, f := range c.findings {
				assert.Equal(t, row.level, f.Level)
				assert.NotEmpty(t, f.Advice)
			}
		})
	}
}

func TestStores_ReportAnIgnoredStore(t *testing.T) {
	away := eso.Store{StoreName: eso.StoreName{Namespace: "", Name: "away"}, Vault: true, Server: "http://proxy.web.svc:8200", Status: kube.True}
	c := &Checker{Config: Config{ESO: eso.Config{Namespace: "security"}}}
	require.True(t, c.ESO.Ignores(away))
	c.evaluateStores(nil, []eso.Store{away})
	found := c.findings
	require.Len(t, found, 1, "and not that no store uses Vault")
	assert.Equal(t, Unknown, found[0].Level)
	assert.Contains(t, found[0].Text, "ClusterSecretStore/away is ignored")
	assert.Contains(t, found[0].Advice, "--eso-stores")
}

func TestStores_AreThoseThatAreManaged(t *testing.T) {
	const vault = `spec: {provider: {vault: {server: "http://vault.security.svc:8200"}}}}`
	served := map[schema.GroupVersionResource][]string{
		eso.ClusterStores: {`{metadata: {name: home}, ` + vault, `{metadata: {name: cloud}, spec: {provider: {aws: {}}}}`,
			`{metadata: {name: away}, spec: {provider: {vault: {server: "http://vault.test.svc:8200"}}}}`},
		eso.NamespaceStores: {`{metadata: {name: own, namespace: app}, ` + vault},
	}
	api := &kubetest.API{OnList: func(_ context.Context, at kubetest.At, _ metav1.ListOptions) (out []unstructured.Unstructured, _ string, _ error) {
		for _, text := range served[at.Resource] {
			out = append(out, *read(t, text))
		}
		return out, "", nil
	}}
	home, own := eso.StoreName{Name: "home"}, eso.StoreName{Namespace: "app", Name: "own"}
	cloud, away := eso.StoreName{Name: "cloud"}, eso.StoreName{Name: "away"}
	for sentence, row := range map[string]struct {
		named          []eso.StoreName
		found, ignored []eso.StoreName
	}{
		"none is named": {nil, []eso.StoreName{home, own}, []eso.StoreName{away}},
		"some are":      {[]eso.StoreName{cloud, own}, []eso.StoreName{cloud, own}, nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := &Checker{api: api, Config: Config{ESO: eso.Config{Namespace: "security", Stores: row.named}}}
			names := func(stores []eso.Store) (out []eso.StoreName) {
				for _, s := range stores {
					out = append(out, s.StoreName)
				}
				return out
			}
			found, ignored, err := c.stores(t.Context())
			require.NoError(t, err)
			assert.Equal(t, row.found, names(found))
			assert.Equal(t, row.ignored, names(ignored))
		})
	}
}

func TestPolicies_MissingIsAFailure(t *testing.T) {
	nudges := Config{Namespace: "vault-b", ESO: eso.Config{Recovery: eso.RecoveryNudge}}
	evaluate := func(n policy.Verdicts) []Finding {
		c := &Checker{Config: nudges}
		c.evaluatePolicies(n, "why")
		return c.findings
	}
	out := evaluate(policy.Verdicts{"gate": {State: policy.Enforced}, "more": {State: policy.Missing}, "stores": {State: policy.Enforced}})
	require.Len(t, out, 2)
	assert.Equal(t, Failure, out[0].Level)
	assert.Contains(t, out[0].Text, "restricts manifests/more: why")
	assert.Contains(t, out[0].Advice, "with the component more, and in settings.yaml namespace: vault-b, which takes Kubernetes 1.30")
	assert.Equal(t, OK, out[1].Level)
	assert.Contains(t, out[1].Text, "gate, stores")

	out = evaluate(policy.Verdicts{"eviction": {State: policy.Missing}})
	require.Len(t, out, 1)
	assert.Equal(t, Failure, out[0].Level)
	assert.Contains(t, out[0].Advice, "delete what manifests/eviction made", "nothing uses it")

	out = evaluate(policy.Verdicts{"gate": {State: policy.Missing}, "stores": {State: policy.Missing, Admitted: "secretstores a/one"}, "eviction": {State: policy.Missing}})
	require.Len(t, out, 2, "what is to be applied is one finding")
	assert.Contains(t, out[0].Text, "restricts manifests/gate, manifests/stores: why, on secretstores a/one")
	assert.Contains(t, out[0].Advice, "with the components gate, stores, and")
	assert.Contains(t, out[1].Text, "restricts manifests/eviction")

	out = evaluate(policy.Verdicts{"stores": {State: policy.Missing, Admitted: "secretstores a/one"}})
	assert.Contains(t, out[0].Text, "on secretstores a/one")

	unknown := policy.Verdict{State: policy.Unknown, Err: errors.New("no answer")}
	out = evaluate(policy.Verdicts{"gate": unknown, "eviction": unknown})
	require.Len(t, out, 1)
	assert.Equal(t, Unknown, out[0].Level)
	assert.Contains(t, out[0].Text, "gate, eviction is not known: no answer")

	assert.Empty(t, evaluate(policy.Verdicts{"stores": {State: policy.Untried}}), "there is nothing to spoil")
	assert.Empty(t, evaluate(policy.Verdicts{}), "what is not granted is not told")
}

func TestConfig_UsesWhatTheRecoveryOptionNeeds(t *testing.T) {
	for recovery, want := range map[eso.Recovery][]string{
		eso.RecoveryBoth:    {"gate", "stores", "externalsecrets", "more", "eviction"},
		eso.RecoveryNudge:   {"gate", "stores", "externalsecrets", "more"},
		eso.RecoveryRestart: {"gate", "stores", "eviction"},
		eso.RecoveryOff:     {"gate"},
	} {
		t.Run(string(recovery), func(t *testing.T) {
			c := Config{ESO: eso.Config{Recovery: recovery}}
			var used []string
			for _, component := range policy.Components {
				if c.uses(component) {
					used = append(used, component)
				}
			}
			assert.Equal(t, want, used)
		})
	}
	assert.False(t, Config{KubernetesOff: true, ESO: eso.Config{Recovery: eso.RecoveryOff}}.uses("gate"))
}

func TestPod_ListsTheSecretsThatItMounts(t *testing.T) {
	mounts := readPod(t, `{spec: {nodeName: shelf, volumes: [
		{name: a, secret: {secretName: the-key}}, {name: b, emptyDir: {}}, {name: c, secret: {secretName: the-key}},
		{name: d, projected: {sources: [{secret: {name: tls}}, {serviceAccountToken: {path: token}}]}}]}}`)
	at := func(p *pod, namespace, resource string) []string {
		return (&Checker{pod: p, Config: Config{Namespace: "security"}}).resourceNames(namespace, resource)
	}
	assert.Equal(t, []string{"the-key", "tls"}, at(mounts, "security", "secrets"))
	assert.Equal(t, []string{"shelf"}, at(mounts, "", "nodes/proxy"))
	assert.Equal(t, []string{keySecret}, at(readPod(t, `{spec: {}}`), "security", "secrets"))
	assert.Equal(t, []string{keySecret}, at(nil, "security", "secrets"))
}

func TestChecker_AdvisesAGrantOnlyIfUseful(t *testing.T) {
	refused := apierrors.NewForbidden(kube.Services.GroupResource(), "", errors.New("no"))
	advice := func(c Checker, component string) string {
		c.notVisible("it", component, refused)
		return c.findings[0].Advice
	}
	evicts, nudges := Config{Namespace: "vault-b", ESO: eso.Config{Recovery: eso.RecoveryBoth}}, Config{ESO: eso.Config{Recovery: eso.RecoveryNudge}}
	assert.Equal(t, "see the finding on rights", advice(Checker{Config: evicts}, "eviction"), "which has the command")
	assert.Contains(t, advice(Checker{Config: nudges}, "eviction"), "do not grant this to the sidecar")
	assert.Contains(t, advice(Checker{Config: evicts}, ""), "do not grant this to the sidecar", "no manifest grants it")
	assert.Empty(t, advice(Checker{Config: evicts, outside: true}, "eviction"), "a person's rights are another matter")
}

func TestStart_ReadsArgumentsAndEnvironment(t *testing.T) {
	for sentence, row := range map[string]struct {
		container string
		want      Start
	}{
		"with nothing":           {`{}`, Start{}},
		"with arguments":         {`{args: [run, --eso-recovery, nudge]}`, Start{Args: []string{"run", "--eso-recovery", "nudge"}}},
		"with a command":         {`{command: [/vault-unseal-sidecar, run], args: [--x]}`, Start{Args: []string{"run", "--x"}}},
		"by a shell":             {`{command: [/bin/sh, -c, "vault-unseal-sidecar --x"]}`, Start{Unclear: []string{"what its command starts"}}},
		"with variables in them": {`{args: ["--eso-namespace=$(NS)"]}`, Start{Unclear: []string{"which variables its arguments hold"}}},
		"with variables": {`{env: [{name: A, value: a}, {name: B, valueFrom: {configMapKeyRef: {name: c, key: k}}}, {name: C, value: "$(A)b"}, {name: D}]}`,
			Start{Env: map[string]string{"A": "a", "D": ""}, UnresolvedEnv: []string{"B", "C"}}},
		"with a whole map of them": {`{envFrom: [{configMapRef: {name: c}}]}`, Start{Unclear: []string{"what envFrom brings"}}},
	} {
		t.Run(sentence, func(t *testing.T) {
			container := read(t, row.container)
			container.Object["name"] = kube.Name
			for _, field := range []string{"containers", "initContainers"} {
				pod, err := podOf(&unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{field: []any{map[string]any{"name": "vault", "args": []any{"server"}}, container.Object}}}})
				require.NoError(t, err)
				got, found := pod.start()
				assert.True(t, found)
				if row.want.Env == nil {
					row.want.Env = map[string]string{}
				}
				assert.Equal(t, row.want, got)
			}
		})
	}
	_, found := readPod(t, `{spec: {containers: [{name: vault}]}}`).start()
	assert.False(t, found)
}
