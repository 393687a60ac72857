package kube

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func TestRights_AdviceHasTheCallersNames(t *testing.T) {
	ours := Rights{Namespace: "security", Pod: "vault-0", Account: "vault", ESONamespace: "external-secrets", ESODeployment: "external-secrets"}
	with := func(change func(*Rights)) Rights {
		r := ours
		change(&r)
		return r
	}
	const command = "run kubectl apply -k manifests with the component "
	for sentence, row := range map[string]struct {
		rights     Rights
		components []string
		want       string
	}{
		"those of the settings":    {ours, []string{"gate"}, command + "gate"},
		"of nothing that is known": {Rights{}, []string{"stores"}, command + "stores"},
		"several components": {ours, []string{"stores", "externalsecrets", "more"},
			"run kubectl apply -k manifests with the components stores, externalsecrets, more"},
		"each component once": {ours, []string{"gate", "gate"}, command + "gate"},
		"another namespace": {with(func(r *Rights) { r.Namespace = "vault-b" }), []string{"gate"},
			command + "gate, and in settings.yaml namespace: vault-b"},
		"all of them": {Rights{"vault-b", "open-bao-0", "bao", "eso", "eso-home"}, []string{"eviction"},
			command + "eviction, and in settings.yaml namespace: vault-b, statefulSet: open-bao, serviceAccount: bao, esoNamespace: eso, esoDeployment: eso-home"},
		"a further replica": {with(func(r *Rights) { r.Pod = "vault-2" }), []string{"gate", "stores"},
			"run kubectl apply -k manifests with the components gate, replicas, stores"},
		"a further replica, and not its pod": {with(func(r *Rights) { r.Pod = "vault-2" }), []string{"stores"}, command + "stores"},
	} {
		t.Run(sentence, func(t *testing.T) { assert.Equal(t, row.want, row.rights.Apply(row.components...)) })
	}
}

func TestRights_TheAccountIsTheOneThatWasRefused(t *testing.T) {
	refused := func(account, before string) error {
		return apierrors.NewForbidden(Pods.GroupResource(), "vault-0", errors.New(before+`User "system:serviceaccount:vault-b:`+account+`" cannot get resource`))
	}
	r := Rights{Namespace: "vault-b"}
	assert.Contains(t, r.RefusedTo(refused("bao", "")).Apply("gate"), "serviceAccount: bao")
	assert.NotContains(t, r.RefusedTo(refused("vault", "")).Apply("gate"), "serviceAccount")
	assert.Equal(t, r, r.RefusedTo(refused("bao", `webhook "x" denied the request: `)), "what a tenant wrote")
	assert.Equal(t, r, r.RefusedTo(errors.New("no answer")))
}

func TestRights_UnsaidNamesAreThoseOfTheSettings(t *testing.T) {
	text, err := os.ReadFile("../../../manifests/settings.yaml")
	require.NoError(t, err)
	var settings struct{ Data map[string]string }
	require.NoError(t, yaml.Unmarshal(text, &settings))
	d := settings.Data
	r := Rights{d["namespace"], d["statefulSet"] + "-0", d["serviceAccount"], d["esoNamespace"], d["esoDeployment"]}
	assert.NotContains(t, r.Apply("gate"), "settings.yaml")
	for _, name := range (Rights{"a", "b-0", "c", "d", "e"}).settings() {
		key, _, _ := strings.Cut(name, ": ")
		assert.Contains(t, d, key)
	}
}
