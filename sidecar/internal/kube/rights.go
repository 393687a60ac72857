package kube

import (
	"slices"
	"strings"
)

// The components of manifests/ that grant what is asked for.
const (
	GrantsGate     = "gate"
	GrantsStores   = "stores"
	GrantsSecrets  = "externalsecrets"
	GrantsEviction = "eviction"
	GrantsMore     = "more"

	grantsReplicas = "replicas" // what gate does, for all pods but the first
)

// Rights are the names that the rights are granted for; empty: not known.
type Rights struct {
	Namespace, Pod, Account     string // Vault's
	ESONamespace, ESODeployment string
}

// Apply is the advice to apply components of manifests/, in a clone of the repository. They
// cannot be applied one by one: the settings are beside them.
func (r Rights) Apply(components ...string) string {
	var all []string
	for _, component := range components {
		if !slices.Contains(all, component) {
			all = append(all, component)
		}
		if component == GrantsGate && r.Pod != "" && !strings.HasSuffix(r.Pod, "-0") && !slices.Contains(all, grantsReplicas) {
			all = append(all, grantsReplicas)
		}
	}
	advice := "run kubectl apply -k manifests with the component "
	if len(all) > 1 {
		advice = "run kubectl apply -k manifests with the components "
	}
	advice += strings.Join(all, ", ")
	if names := r.settings(); len(names) > 0 {
		advice += ", and in settings.yaml " + strings.Join(names, ", ")
	}
	return advice
}

// RefusedTo are the rights with the account that lacks one.
func (r Rights) RefusedTo(err error) Rights {
	if LacksRight(err) { // in the API server's own words
		_, account, _ := strings.Cut(err.Error(), `User "system:serviceaccount:`+r.Namespace+":")
		r.Account, _, _ = strings.Cut(account, `"`)
	}
	return r
}

// settings lists the names that are not those of manifests/settings.yaml, as they are
// written there.
func (r Rights) settings() (out []string) {
	for _, name := range []struct{ key, is, there string }{
		{"namespace", r.Namespace, "security"},
		{"statefulSet", r.Pod[:max(0, strings.LastIndex(r.Pod, "-"))], "vault"},
		{"serviceAccount", r.Account, "vault"},
		{"esoNamespace", r.ESONamespace, "external-secrets"},
		{"esoDeployment", r.ESODeployment, "external-secrets"},
	} {
		if name.is != "" && name.is != name.there {
			out = append(out, name.key+": "+name.is)
		}
	}
	return out
}
