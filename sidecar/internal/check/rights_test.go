package check

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alybadawy/vault-unseal-sidecar/sidecar/internal/eso"
)

// String returns the right as people say it.
func (r Right) String() string { return describeRights([]Right{r}) }

// house is a sidecar that does everything.
func house() *Checker {
	pod, _ := podOf(&unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"nodeName": "shelf", "readinessGates": []any{map[string]any{"conditionType": ourGate}},
	}}})
	return &Checker{pod: pod, who: "it", Config: Config{Namespace: "security", Pod: "vault-0", Gate: ourGate,
		ESO: eso.Config{ControllerNamespace: "eso", Recovery: eso.RecoveryBoth}}}
}

// with is a sidecar of these options and nothing else.
func with(recovery eso.Recovery, gate string, off bool) *Checker {
	return &Checker{pod: &pod{}, Config: Config{Pod: "vault-0", Gate: gate, KubernetesOff: off, ESO: eso.Config{Recovery: recovery}}}
}

// granted answers as a Kubernetes that grants these and no more.
func granted(rights ...Right) map[Right]Answer {
	out := map[Right]Answer{}
	for _, r := range rights {
		out[r] = Answer{Allowed: true}
	}
	return out
}

// requirementsOf says which components are required, and which rights.
func requirementsOf(c *Checker) (components, rights []string) {
	for _, n := range c.requirements() {
		components = append(components, n.Component)
		for _, r := range n.Rights {
			rights = append(rights, r.String())
		}
	}
	return components, rights
}

func TestRequirements_FollowTheOptions(t *testing.T) {
	for sentence, row := range map[string]struct {
		checker *Checker
		want    []string
	}{
		"everything":      {house(), []string{"gate", "gate", "stores", "externalsecrets", "more", "eviction"}},
		"only nudges":     {with(eso.RecoveryNudge, "", false), []string{"gate", "gate", "stores", "externalsecrets", "more"}},
		"only restarts":   {with(eso.RecoveryRestart, "", false), []string{"gate", "gate", "stores", "eviction"}},
		"nothing of ESO":  {with(eso.RecoveryOff, "", false), []string{"gate", "gate"}},
		"no API requests": {with(eso.RecoveryOff, ourGate, true), nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			components, _ := requirementsOf(row.checker)
			assert.Equal(t, row.want, components)
		})
	}
	const condition = "patch pods/status vault-0 everywhere"
	_, rights := requirementsOf(with(eso.RecoveryOff, ourGate, false))
	assert.Contains(t, rights, condition)
	_, rights = requirementsOf(with(eso.RecoveryRestart, "", false))
	assert.Contains(t, rights, condition, "that of External Secrets")
	assert.NotContains(t, rights, "patch clustersecretstores everywhere", "where they are not resynced")
	_, rights = requirementsOf(with(eso.RecoveryOff, "", false))
	assert.NotContains(t, rights, condition, "with no condition to write")
}

// evaluated is what is found of some requirements.
func evaluated(c *Checker, needs []Requirement, answers map[Right]Answer) []Finding {
	c.about = AboutRights
	c.evaluateRequirements(needs, answers)
	return c.findings
}

// excessRights lists what this sidecar should not have.
func excessRights(c *Checker) []Right {
	all := []Right{administratorRight}
	for _, rights := range c.excessRights() {
		all = append(all, rights...)
	}
	return all
}

// excessOf is what is found of the house's excess rights.
func excessOf(answers map[Right]Answer) []Finding {
	c := house()
	c.evaluateExcess(answers)
	return c.findings
}

func TestRequirements_MissingRightNamesItsManifest(t *testing.T) {
	for _, need := range house().requirements() {
		one := []Requirement{need}
		assert.Equal(t, []Finding{{AboutRights, OK, "it has what is needed of " + need.Component, ""}}, evaluated(house(), one, granted(need.Rights...)))
		for i, missing := range need.Rights {
			others := append(append([]Right(nil), need.Rights[:i]...), need.Rights[i+1:]...)
			out := evaluated(house(), one, granted(others...))
			require.Len(t, out, 1)
			assert.Equal(t, need.Level, out[0].Level)
			assert.Contains(t, out[0].Text, missing.String())
			assert.Equal(t, "run kubectl apply -k manifests with the component "+need.Component+", and in settings.yaml serviceAccount: default, esoNamespace: eso", out[0].Advice)
		}
		answers := granted(need.Rights...)
		answers[need.Rights[0]] = Answer{Err: errors.New("refused")}
		out := evaluated(house(), one, answers)
		require.Len(t, out, 1)
		assert.Equal(t, Unknown, out[0].Level)
		assert.Contains(t, out[0].Text, "refused")
	}
}

func TestRequirements_SatisfiedComponentsAreOneFinding(t *testing.T) {
	needs := house().requirements()
	var rights []Right
	for _, n := range needs {
		rights = append(rights, n.Rights...)
	}
	out := evaluated(house(), needs, granted(rights...))
	require.Len(t, out, 1)
	assert.Equal(t, "it has what is needed of gate, stores, externalsecrets, more, eviction", out[0].Text)

	out = evaluated(house(), needs, granted(rights[:4]...)) // the gate without its Events
	assert.Contains(t, out[0].Advice, "with the components gate, stores")
	assert.Empty(t, satisfied(needs, granted(rights[:4]...)))
}

// Who has not applied the rights, or for another account, has made one mistake.
func TestRequirements_AllThatIsMissingIsOneFinding(t *testing.T) {
	out := evaluated(house(), house().requirements(), nil)
	require.Len(t, out, 1)
	assert.Equal(t, Failure, out[0].Level, "the worst")
	assert.True(t, strings.HasPrefix(out[0].Text, "it may not get/list/watch pods vault-0 in security, patch pods/status vault-0 in security: a pod that declares the readiness gate is then never Ready; "+
		"may not create events in security"), out[0].Text)
	assert.Contains(t, out[0].Text, "; may not list pods in eso")
	assert.Contains(t, out[0].Advice, "with the components gate, stores, externalsecrets, more, eviction")
}

// A namespace in a kustomization above moves the Role of eviction to Vault.
func TestRequirements_MovedEvictionRoleIsNamed(t *testing.T) {
	moved := spell("create", "", "pods/eviction", "security", "")
	c := house()
	assert.Equal(t, moved, c.movedRights())
	needs := slices.DeleteFunc(c.requirements(), func(n Requirement) bool { return n.Component != "eviction" })
	out := evaluated(c, needs, granted(append(moved, spell("list", "", "services", "security", "")...)...))
	require.Len(t, out, 1)
	assert.Equal(t, Warning, out[0].Level)
	assert.Contains(t, out[0].Text, "the Role of manifests/eviction lies in security, in the place of eso")
	assert.Contains(t, out[0].Advice, "take the namespace out of the kustomization above the rights (Flux: targetNamespace)")
	assert.Contains(t, out[0].Advice, "kubectl apply -k manifests with the component eviction")
	assert.Contains(t, out[0].Advice, "set ESO_NAMESPACE=security if External Secrets is there")

	assert.NotContains(t, evaluated(house(), needs, nil)[0].Text, "lies in", "it lies nowhere")
	beside := house()
	beside.ESO.ControllerNamespace = "security"
	assert.Empty(t, beside.movedRights(), "with External Secrets beside Vault it cannot be moved there")
}

func TestRequirements_MissingGateIsAFailureOnlyIfDeclared(t *testing.T) {
	assert.Equal(t, Failure, house().requirements()[0].Level)
	assert.Equal(t, Warning, with(eso.RecoveryOff, "", false).requirements()[0].Level)
}

func TestRequirements_ReplicaIsAdvisedItsOwnManifest(t *testing.T) {
	second := house()
	second.Pod = "vault-1"
	out := evaluated(second, second.requirements(), nil)
	assert.Contains(t, out[0].Advice, "with the components gate, replicas, stores, externalsecrets, more, eviction")
	assert.NotContains(t, evaluated(house(), house().requirements(), nil)[0].Advice, "replicas")
}

func TestDescribeRights_GroupsTheVerbsOfAnObject(t *testing.T) {
	assert.Equal(t, "get/list pods vault-0 in security, patch pods/status vault-0 in security, list secrets everywhere", describeRights([]Right{
		{Verb: "get", Resource: "pods", Namespace: "security", Name: "vault-0"},
		{Verb: "patch", Resource: "pods/status", Namespace: "security", Name: "vault-0"},
		{Verb: "list", Resource: "pods", Namespace: "security", Name: "vault-0"},
		{Verb: "list", Resource: "secrets"},
	}))
}

func TestExcess_RequiredRightsAreNoExcess(t *testing.T) {
	var needed []Right
	for _, n := range house().requirements() {
		needed = append(needed, n.Rights...)
	}
	out := excessOf(granted(needed...))
	require.Len(t, out, 1)
	assert.Equal(t, OK, out[0].Level)
	for _, r := range needed {
		assert.NotContains(t, excessRights(house()), r, "what is needed is no risk")
	}
}

// A Role with resourceNames is not seen by a question that names nothing.
func TestExcess_AsksForObjectsByName(t *testing.T) {
	var all []string
	for _, r := range excessRights(house()) {
		all = append(all, r.String())
	}
	for _, r := range []string{
		"get secrets vault-unseal-key in security", "patch secrets vault-unseal-key in security",
		"patch statefulsets vault in security", "delete statefulsets vault in security",
		"create pods/exec vault-0 in security", "get pods/portforward vault-0 in security", "patch pods/ephemeralcontainers vault-0 in security",
		"patch roles vault-unseal-sidecar in security", "bind clusterroles cluster-admin in security", "bind clusterroles cluster-admin everywhere",
		"patch deployments external-secrets in eso", "create serviceaccounts/token external-secrets in eso", "impersonate serviceaccounts external-secrets in eso",
		"impersonate groups system:masters everywhere", "create nodes/proxy shelf everywhere",
		"delete validatingadmissionpolicies vault-unseal-sidecar-eviction.security everywhere",
		"patch validatingadmissionpolicybindings vault-unseal-sidecar-gate.security everywhere",
	} {
		assert.Contains(t, all, r)
	}
	assert.NotContains(t, all, "patch pods vault-0 in security", "Vault's service registration may")

	unnamed := house()
	unnamed.pod = nil
	assert.Less(t, len(excessRights(unnamed)), len(excessRights(house())), "a node that is not known is not asked for twice")
}

func TestExcess_EachPermissionIsAFailure(t *testing.T) {
	for _, r := range excessRights(house()) {
		out := excessOf(granted(r))
		require.Len(t, out, 1, "%s", r)
		assert.Equal(t, Failure, out[0].Level)
		if r != administratorRight {
			assert.Contains(t, out[0].Text, r.String())
		}
	}
}

func TestExcess_ClusterWideRightIsReportedOnce(t *testing.T) {
	out := excessOf(granted(
		Right{Verb: "get", Resource: "secrets"},
		Right{Verb: "get", Resource: "secrets", Namespace: "security"},
		Right{Verb: "get", Resource: "secrets", Namespace: "eso"},
		Right{Verb: "list", Resource: "secrets", Namespace: "eso"},
		Right{Verb: "get", Resource: "secrets", Namespace: "security", Name: "vault-unseal-key"},
		Right{Verb: "bind", Group: rbacGroup, Resource: "clusterroles", Name: "cluster-admin"},
		Right{Verb: "bind", Group: rbacGroup, Resource: "clusterroles", Name: "cluster-admin", Namespace: "security"},
	))
	require.Len(t, out, 3)
	assert.Contains(t, out[0].Text, "get secrets everywhere")
	assert.Contains(t, out[1].Text, "may list secrets in eso:")
	assert.Contains(t, out[2].Text, "may bind clusterroles cluster-admin everywhere:")

	all := granted(excessRights(house())...)
	out = excessOf(all)
	require.Len(t, out, 1, "the administrator's rights are told as one")
	assert.Contains(t, out[0].Text, "everything")
}

func TestExcess_FailedReviewIsUnknown(t *testing.T) {
	answers := map[Right]Answer{}
	for _, r := range excessRights(house()) {
		answers[r] = Answer{Err: errors.New("refused")}
	}
	out := excessOf(answers)
	require.Len(t, out, 1)
	assert.Equal(t, Unknown, out[0].Level)
	assert.Contains(t, out[0].Text, "refused")
}

// Another account, or another Vault, has objects of its own.
func TestExcess_NamesAreThoseOfThisVault(t *testing.T) {
	c := house()
	c.Namespace, c.Pod, c.ESO.Deployment = "vault-b", "open-bao-0", "eso-home"
	var all []string
	for _, r := range excessRights(c) {
		all = append(all, r.String())
	}
	for _, r := range []string{
		"patch clusterroles vault-unseal-sidecar-stores.vault-b everywhere", "patch clusterrolebindings vault-unseal-sidecar-more.vault-b everywhere",
		"patch roles vault-unseal-sidecar-eviction.vault-b in eso", "patch rolebindings vault-unseal-sidecar-eviction.vault-b in eso",
		"patch roles vault-unseal-sidecar-services in vault-b", "patch rolebindings vault-unseal-sidecar-replicas in vault-b",
		"patch statefulsets open-bao in vault-b", "patch deployments eso-home in eso",
		"delete validatingadmissionpolicies vault-unseal-sidecar-gate.vault-b everywhere",
	} {
		assert.Contains(t, all, r)
	}
	assert.NotContains(t, strings.Join(all, "\n"), ".security")

	c.ESO.ControllerNamespace = "vault-b"
	for _, role := range []string{"vault-unseal-sidecar", "vault-unseal-sidecar-eviction.vault-b"} {
		assert.Contains(t, c.resourceNames("vault-b", "roles"), role, "with External Secrets beside Vault")
	}
}
