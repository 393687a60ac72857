package check

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var house = Home{Namespace: "security", Pod: "vault-0", Node: "shelf", Secrets: []string{"vault-unseal-key"}, ESONamespace: "eso",
	Gated: true, Writes: true, Sees: true, Wakes: true, Evicts: true}

// granted answers as a Kubernetes that grants these and no more.
func granted(rights ...Right) map[Right]Answer {
	out := map[Right]Answer{}
	for _, r := range rights {
		out[r] = Answer{Allowed: true}
	}
	return out
}

func components(h Home) (out []string) {
	for _, n := range h.Needs() {
		out = append(out, n.Component)
	}
	return out
}

func TestWhatIsNeededFollowsWhatIsToBeDone(t *testing.T) {
	assert.Equal(t, []string{"gate", "gate", "stores", "externalsecrets", "more", "eviction"}, components(house))
	assert.Equal(t, []string{"gate", "gate", "stores", "externalsecrets", "more"}, components(Home{Wakes: true}))
	assert.Equal(t, []string{"gate", "gate", "stores", "eviction"}, components(Home{Sees: true, Evicts: true}))
	assert.Equal(t, []string{"gate", "gate"}, components(Home{}))
	assert.Empty(t, components(Home{Gated: true, Mute: true}))
	assert.Equal(t, components(house), components(Home{Mute: true}.Whole()))

	said := func(h Home) (out []string) {
		for _, n := range h.Needs() {
			for _, r := range n.Rights {
				out = append(out, r.String())
			}
		}
		return out
	}
	assert.Contains(t, said(Home{Pod: "vault-0", Writes: true}), "patch pods/status vault-0 everywhere")
	assert.NotContains(t, said(Home{Pod: "vault-0"}), "patch pods/status vault-0 everywhere", "with no condition to write")
	assert.NotContains(t, said(Home{Sees: true, Evicts: true}), "patch clustersecretstores everywhere", "where they are not woken")
}

func TestANeedThatIsNotMetNamesTheManifest(t *testing.T) {
	for _, need := range house.Needs() {
		one := []Need{need}
		assert.Equal(t, []Finding{{AboutRights, OK, "it has what is needed of " + need.Component, ""}}, JudgeNeeds(one, "it", granted(need.Rights...)))
		for i, missing := range need.Rights {
			others := append(append([]Right(nil), need.Rights[:i]...), need.Rights[i+1:]...)
			out := JudgeNeeds(one, "it", granted(others...))
			require.Len(t, out, 1)
			assert.Equal(t, need.Level, out[0].Level)
			assert.Contains(t, out[0].Text, missing.String())
			assert.Equal(t, "apply manifests/"+need.Component, out[0].Advice)
		}
		answers := granted(need.Rights...)
		answers[need.Rights[0]] = Answer{Err: errors.New("refused")}
		out := JudgeNeeds(one, "it", answers)
		require.Len(t, out, 1)
		assert.Equal(t, Unknown, out[0].Level)
		assert.Contains(t, out[0].Text, "refused")
	}
}

func TestWhatIsWholeIsToldInOneLine(t *testing.T) {
	needs := house.Needs()
	var rights []Right
	for _, n := range needs {
		rights = append(rights, n.Rights...)
	}
	out := JudgeNeeds(needs, "it", granted(rights...))
	require.Len(t, out, 1)
	assert.Equal(t, "it has what is needed of gate, stores, externalsecrets, more, eviction", out[0].Text)

	out = JudgeNeeds(needs, "it", granted(rights[:4]...)) // the gate without its Events
	assert.Equal(t, "apply manifests/gate", out[0].Advice)
	assert.Empty(t, Held(needs, granted(rights[:4]...)))
}

func TestTheGateIsAFailureOnlyWhereThePodWaitsForIt(t *testing.T) {
	assert.Equal(t, Failure, house.Needs()[0].Level)
	assert.Equal(t, Warning, Home{}.Needs()[0].Level)
}

func TestAReplicaIsToldOfItsOwnManifest(t *testing.T) {
	second := house
	second.Pod = "vault-1"
	out := JudgeNeeds(second.Needs(), "it", nil)
	assert.Contains(t, out[0].Advice, "manifests/replicas")
	assert.NotContains(t, JudgeNeeds(house.Needs(), "it", nil)[0].Advice, "replicas")
}

func TestRightsOfOneObjectAreSaidTogether(t *testing.T) {
	assert.Equal(t, "get/list pods vault-0 in security, patch pods/status vault-0 in security, list secrets everywhere", said([]Right{
		{Verb: "get", Resource: "pods", Namespace: "security", Name: "vault-0"},
		{Verb: "patch", Resource: "pods", Subresource: "status", Namespace: "security", Name: "vault-0"},
		{Verb: "list", Resource: "pods", Namespace: "security", Name: "vault-0"},
		{Verb: "list", Resource: "secrets"},
	}))
}

func TestNoneTooMany(t *testing.T) {
	var needed []Right
	for _, n := range house.Needs() {
		needed = append(needed, n.Rights...)
	}
	out := house.JudgeRisks("it", granted(needed...))
	require.Len(t, out, 1)
	assert.Equal(t, OK, out[0].Level)
	for _, r := range needed {
		assert.NotContains(t, house.Risks(), r, "what is needed is no risk")
	}
}

// A Role with resourceNames is not seen by a question that names nothing.
func TestARightForOneObjectIsAskedForByItsName(t *testing.T) {
	var all []string
	for _, r := range house.Risks() {
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
	assert.Less(t, len(unnamed.Risks()), len(house.Risks()), "a node that is not known is not asked for twice")
}

func TestEachRightTooManyIsAFailure(t *testing.T) {
	for _, r := range house.Risks() {
		out := house.JudgeRisks("it", granted(r))
		require.Len(t, out, 1, "%s", r)
		assert.Equal(t, Failure, out[0].Level)
		if r != everything {
			assert.Contains(t, out[0].Text, r.String())
		}
	}
}

func TestWhatIsHeldEverywhereIsToldOnce(t *testing.T) {
	out := house.JudgeRisks("it", granted(
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

	all := granted(house.Risks()...)
	out = house.JudgeRisks("it", all)
	require.Len(t, out, 1, "the administrator's rights are told as one")
	assert.Contains(t, out[0].Text, "everything")
}

func TestRisksThatCannotBeAskedForAreUnknown(t *testing.T) {
	answers := map[Right]Answer{}
	for _, r := range house.Risks() {
		answers[r] = Answer{Err: errors.New("refused")}
	}
	out := house.JudgeRisks("it", answers)
	require.Len(t, out, 1)
	assert.Equal(t, Unknown, out[0].Level)
	assert.Contains(t, out[0].Text, "refused")
}
