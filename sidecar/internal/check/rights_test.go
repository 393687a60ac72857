package check

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var house = Scope{Namespace: "security", Pod: "vault-0", Node: "shelf", Secrets: []string{"vault-unseal-key"}, ESONamespace: "eso",
	Gated: true, WritesConditions: true, WatchesStores: true, Resyncs: true, Evicts: true}

// granted answers as a Kubernetes that grants these and no more.
func granted(rights ...Right) map[Right]Answer {
	out := map[Right]Answer{}
	for _, r := range rights {
		out[r] = Answer{Allowed: true}
	}
	return out
}

func components(h Scope) (out []string) {
	for _, n := range h.requirements() {
		out = append(out, n.Component)
	}
	return out
}

func TestRequirements_FollowTheScope(t *testing.T) {
	assert.Equal(t, []string{"gate", "gate", "stores", "externalsecrets", "more", "eviction"}, components(house))
	assert.Equal(t, []string{"gate", "gate", "stores", "externalsecrets", "more"}, components(Scope{Resyncs: true}))
	assert.Equal(t, []string{"gate", "gate", "stores", "eviction"}, components(Scope{WatchesStores: true, Evicts: true}))
	assert.Equal(t, []string{"gate", "gate"}, components(Scope{}))
	assert.Empty(t, components(Scope{Gated: true, KubernetesOff: true}))
	assert.Equal(t, components(house), components(Scope{KubernetesOff: true}.everything()))

	said := func(h Scope) (out []string) {
		for _, n := range h.requirements() {
			for _, r := range n.Rights {
				out = append(out, r.String())
			}
		}
		return out
	}
	assert.Contains(t, said(Scope{Pod: "vault-0", WritesConditions: true}), "patch pods/status vault-0 everywhere")
	assert.NotContains(t, said(Scope{Pod: "vault-0"}), "patch pods/status vault-0 everywhere", "with no condition to write")
	assert.NotContains(t, said(Scope{WatchesStores: true, Evicts: true}), "patch clustersecretstores everywhere", "where they are not woken")
}

func TestRequirements_MissingRightNamesItsManifest(t *testing.T) {
	for _, need := range house.requirements() {
		one := []Requirement{need}
		assert.Equal(t, []Finding{{AboutRights, OK, "it has what is needed of " + need.Component, ""}}, evaluateRequirements(one, "it", granted(need.Rights...)))
		for i, missing := range need.Rights {
			others := append(append([]Right(nil), need.Rights[:i]...), need.Rights[i+1:]...)
			out := evaluateRequirements(one, "it", granted(others...))
			require.Len(t, out, 1)
			assert.Equal(t, need.Level, out[0].Level)
			assert.Contains(t, out[0].Text, missing.String())
			assert.Equal(t, "apply manifests/"+need.Component, out[0].Advice)
		}
		answers := granted(need.Rights...)
		answers[need.Rights[0]] = Answer{Err: errors.New("refused")}
		out := evaluateRequirements(one, "it", answers)
		require.Len(t, out, 1)
		assert.Equal(t, Unknown, out[0].Level)
		assert.Contains(t, out[0].Text, "refused")
	}
}

func TestRequirements_SatisfiedComponentsAreOneFinding(t *testing.T) {
	needs := house.requirements()
	var rights []Right
	for _, n := range needs {
		rights = append(rights, n.Rights...)
	}
	out := evaluateRequirements(needs, "it", granted(rights...))
	require.Len(t, out, 1)
	assert.Equal(t, "it has what is needed of gate, stores, externalsecrets, more, eviction", out[0].Text)

	out = evaluateRequirements(needs, "it", granted(rights[:4]...)) // the gate without its Events
	assert.Equal(t, "apply manifests/gate", out[0].Advice)
	assert.Empty(t, satisfied(needs, granted(rights[:4]...)))
}

func TestRequirements_MissingGateIsAFailureOnlyIfDeclared(t *testing.T) {
	assert.Equal(t, Failure, house.requirements()[0].Level)
	assert.Equal(t, Warning, Scope{}.requirements()[0].Level)
}

func TestRequirements_ReplicaIsAdvisedItsOwnManifest(t *testing.T) {
	second := house
	second.Pod = "vault-1"
	out := evaluateRequirements(second.requirements(), "it", nil)
	assert.Contains(t, out[0].Advice, "manifests/replicas")
	assert.NotContains(t, evaluateRequirements(house.requirements(), "it", nil)[0].Advice, "replicas")
}

func TestDescribeRights_GroupsTheVerbsOfAnObject(t *testing.T) {
	assert.Equal(t, "get/list pods vault-0 in security, patch pods/status vault-0 in security, list secrets everywhere", describeRights([]Right{
		{Verb: "get", Resource: "pods", Namespace: "security", Name: "vault-0"},
		{Verb: "patch", Resource: "pods", Subresource: "status", Namespace: "security", Name: "vault-0"},
		{Verb: "list", Resource: "pods", Namespace: "security", Name: "vault-0"},
		{Verb: "list", Resource: "secrets"},
	}))
}

func TestExcess_RequiredRightsAreNoExcess(t *testing.T) {
	var needed []Right
	for _, n := range house.requirements() {
		needed = append(needed, n.Rights...)
	}
	out := house.evaluateExcess("it", granted(needed...))
	require.Len(t, out, 1)
	assert.Equal(t, OK, out[0].Level)
	for _, r := range needed {
		assert.NotContains(t, house.excessPermissions(), r, "what is needed is no risk")
	}
}

// A Role with resourceNames is not seen by a question that names nothing.
func TestExcess_AsksForObjectsByName(t *testing.T) {
	var all []string
	for _, r := range house.excessPermissions() {
		all = append(all, r.String())
	}
	for _, r := range []string{
		"get secrets vault-unseal-key in security", "patch secrets vault-unseal-key in security",
		"patch statefulsets vault in security", "delete statefulsets vault in security",
		"create pods/exec vault-0 in security", "get pods/portforward vault-0 in security", "patch pods/ephemeralcontainers vault-0 in security",
		"patch roles vault-unseal-sidecar in security", "bind clusterroles cluster-admin in security", "bind clusterroles cluster-admin everywhere",
		"patch deployments external-secrets in eso", "create serviceaccounts/token external-secrets in eso", "impersonate serviceaccounts external-secrets in eso",
		"impersonate groups system:masters everywhere", "create nodes/proxy shelf everywhere",
		"delete validatingadmissionpolicies vault-unseal-sidecar-eviction everywhere",
		"patch validatingadmissionpolicybindings vault-unseal-sidecar-gate everywhere",
	} {
		assert.Contains(t, all, r)
	}
	assert.NotContains(t, all, "patch pods vault-0 in security", "Vault's service registration may")

	unnamed := house
	unnamed.Node = ""
	assert.Less(t, len(unnamed.excessPermissions()), len(house.excessPermissions()), "a node that is not known is not asked for twice")
}

func TestExcess_EachPermissionIsAFailure(t *testing.T) {
	for _, r := range house.excessPermissions() {
		out := house.evaluateExcess("it", granted(r))
		require.Len(t, out, 1, "%s", r)
		assert.Equal(t, Failure, out[0].Level)
		if r != administratorRight {
			assert.Contains(t, out[0].Text, r.String())
		}
	}
}

func TestExcess_ClusterWideRightIsReportedOnce(t *testing.T) {
	out := house.evaluateExcess("it", granted(
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

	all := granted(house.excessPermissions()...)
	out = house.evaluateExcess("it", all)
	require.Len(t, out, 1, "the administrator's rights are told as one")
	assert.Contains(t, out[0].Text, "everything")
}

func TestExcess_FailedReviewIsUnknown(t *testing.T) {
	answers := map[Right]Answer{}
	for _, r := range house.excessPermissions() {
		answers[r] = Answer{Err: errors.New("refused")}
	}
	out := house.evaluateExcess("it", answers)
	require.Len(t, out, 1)
	assert.Equal(t, Unknown, out[0].Level)
	assert.Contains(t, out[0].Text, "refused")
}
